"""train-captioner from a store's references to an adapter that caption-movies takes by its name."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_making import CAPTIONER, copy_of, movie_store, stage

from flows.command_line import main
from flows.read_configuration import PipelineConfig
from flows.read_recipe import read_recipe, recipes
from flows.run_state import with_named
from flows.train_captioner import bring, named_recipe, train_captioner
from flows.train_here import print_report
from storage import catalog
from storage.checks import check_store
from storage.store import Store
from tasks.captioners import CaptionConfig, identify
from tasks.errors import CheckpointError, ConfigError, ReferencesError, UnknownNameError
from tasks.export_selection import Wanted
from tasks.exports import export
from tasks.training.recipes import LoraRecipe, Recipe
from tasks.training.runs import prepare

RECIPE = f"""
[caption]
name = "tiny"
backend = "pixtral"
checkpoint = "{CAPTIONER}"
template = "groundcap-story"
max_new_tokens = 24

[lora]
rank = 4
alpha = 8
targets = ["self_attn.q_proj", "mlp.up_proj"]

[data]
validation = 0.2
test = 0.2

[validate]
frames = 3

[score]
metrics = ["cider", "grounding", "violation_rate"]
resamples = 20

[[stage]]
name = "automatic"
sources = ["automatic"]
epochs = 1
learning_rate = 1e-3
batch = 4

[[stage]]
name = "human"
sources = ["human"]
epochs = 1
learning_rate = 1e-3
batch = 4
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return movie_store(tmp_path_factory.mktemp("movies"))


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def test_the_flow_leaves_an_adapter_that_is_taken_by_its_name(
    store: Store, tmp_path: Path, written: Path, on_server: None, capsys: pytest.CaptureFixture[str]
) -> None:
    store = copy_of(store, tmp_path)
    report = train_captioner(store.location, str(written), merge=True)
    product = Path(report.product)
    assert sorted(path.name for path in product.iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors", "curve.png"
    ]  # fmt: skip
    with catalog.connect(store.location) as connection:
        ((name, steps, movies, frames),) = connection.sql(
            "select adapter, steps, movies, test_frames from adapters"
        ).fetchall()
        stages = connection.sql(
            "select stage, count(*) filter (name = 'loss'), count(*) filter (name = 'learning_rate'),"
            " count(*) filter (name = 'samples_per_second'), count(*) filter (name = 'eval_validation')"
            " from training_log group by 1 order by 1"
        ).fetchall()
        (scores,) = connection.sql(
            "select difference, after - before, low, high, frames from adapter_scores where metric = 'cider_d'"
        ).fetchall()
    assert name == "tiny"
    assert steps > 1
    assert json.loads(movies) == {"train": 3, "validation": 1, "test": 1} == report.movies
    assert [stage for stage, *_ in stages] == ["automatic", "human"]
    assert all(min(numbers) > 0 for _, *numbers in stages)
    assert scores[0] == pytest.approx(scores[1])
    assert scores[2] <= scores[0] <= scores[3]
    assert scores[4] == frames == 3
    assert check_store(store.location) == []
    before = next(one.before for one in report.scores if one.metric == "cider_d")
    assert f"| cider_d | {before:.3f}" in (product / "README.md").read_text()
    told = json.loads((product.parent / "metrics.json").read_text())
    assert told["frames"] == 3
    assert told["before"] == {"CIDEr": before}  # of COCO's metrics the recipe asks for this one alone
    assert told["after"]["CIDEr"] - before == pytest.approx(scores[0])
    _taken_by_name(store, product)
    assert (Path(report.merged or "") / "model.safetensors").exists()
    stamps = {path: path.stat().st_mtime_ns for path in product.iterdir()}
    again = train_captioner(store.location, str(written))
    assert again.scores == report.scores
    assert {path: path.stat().st_mtime_ns for path in product.iterdir()} == stamps  # nothing was done anew
    print_report(again)
    assert re.search(r"cider_d .* \[.*\]", capsys.readouterr().out)


def _taken_by_name(store: Store, product: Path) -> None:
    caption = CaptionConfig(name="x", backend="pixtral", checkpoint=str(CAPTIONER), adapter="tiny",
                            template="groundcap-story")  # fmt: skip
    named = with_named(PipelineConfig(caption=caption), store).caption
    assert named.adapter == str(product)
    assert (identify(named).adapter or "").startswith("tiny@")
    of_the_hub = with_named(PipelineConfig(caption=replace(caption, adapter="owner/tiny")), store).caption
    assert of_the_hub.adapter == "owner/tiny"
    weights = product / "adapter_config.json"
    before = weights.read_text()
    weights.write_text(before + " ")
    with pytest.raises(CheckpointError, match="is not what was trained as 'tiny'"):
        with_named(PipelineConfig(caption=caption), store)
    weights.write_text(before)


def test_a_dataset_given_as_references_is_brought_in_and_learnt_from(
    store: Store, tmp_path: Path, written: Path, on_server: None
) -> None:
    export(store, "groundcap", str(tmp_path / "dataset"), Wanted(references=("automatic",)))
    one_stage = written.read_text().rpartition("[[stage]]")[0]
    written.write_text(one_stage.replace("epochs = 1", "epochs = 1\nmost_steps = 1"))
    report = train_captioner(str(tmp_path / "fresh"), str(written), [str(tmp_path / "dataset")])
    assert report.samples == {"train/automatic": 9, "validation/automatic": 3, "test/automatic": 3}
    assert report.left_out == {}
    with catalog.connect(report.store) as connection:
        movies = connection.sql("select count(*) from movies where movie_id like 'groundcap%'").fetchall()
        frames = connection.sql("select frames from adapter_scores where metric = 'cider_d'").fetchall()
    assert (movies, frames) == ([(5,)], [(3,)])
    assert check_store(report.store) == []


def test_a_folder_is_gone_on_with_only_by_what_it_began_with(store: Store, tmp_path: Path, written: Path) -> None:
    recipe = read_recipe(str(written))
    first = prepare(recipe, store, tmp_path / "run")
    assert prepare(recipe, store, tmp_path / "run").gathered == first.gathered
    how = replace(recipe, workers=1, stage=tuple(replace(one, micro_batch=1) for one in recipe.stage))
    assert prepare(how, store, tmp_path / "run").gathered == first.gathered
    other = replace(recipe, lora=LoraRecipe(rank=2, alpha=8, targets=("self_attn.q_proj",)))
    with pytest.raises(ConfigError, match="holds a training with another recipe"):
        prepare(other, store, tmp_path / "run")
    with pytest.raises(ConfigError, match="holds a training with another recipe and samples"):
        prepare(named_recipe(recipe, "", ["human"]), store, tmp_path / "run")
    (tmp_path / "strange" / "stage-1-automatic" / "checkpoint-9").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is of no training of this project"):
        prepare(recipe, store, tmp_path / "strange")


class TestRecipes:
    @pytest.mark.parametrize("name", recipes())
    def test_every_ready_recipe_can_be_read(self, name: str) -> None:
        recipe = read_recipe(name)
        assert all(one.batch % one.micro_batch == 0 for one in recipe.stage)

    def test_groundcap_is_the_cards(self) -> None:
        recipe = read_recipe("groundcap")
        assert recipe.lora == LoraRecipe(
            rank=16, alpha=32,
            targets=tuple(f"self_attn.{one}_proj" for one in "qkvo")
            + tuple(f"mlp.{one}_proj" for one in ("gate", "up", "down")),
        )  # fmt: skip
        told = [(one.learning_rate, one.epochs, one.batch, one.weight_decay, one.sources) for one in recipe.stage]
        assert told == [(2e-4, 2, 64, 0.01, ("automatic",)), (2e-6, 2, 32, 0.01, ("human",))]
        assert (recipe.caption.template, recipe.caption.dtype) == ("groundcap-card", "bfloat16")

    @pytest.mark.parametrize(
        ("old", "new", "error", "said"),
        [
            ("[lora]", "[loras]", UnknownNameError, "unknown key in recipe.toml 'loras'. Did you mean 'lora'"),
            ("rank = 4", "rnak = 4", UnknownNameError, r"unknown key in \[lora\] of recipe.toml 'rnak'"),
            ("batch = 4", "bacth = 4", UnknownNameError, r"unknown key in \[stage\] of recipe.toml 'bacth'"),
            ("rank = 4", "rank = 0", ConfigError, "lora: rank and alpha have to be at least 1"),
            ("epochs = 1", "epochs = 0", ConfigError, "stage.0: stage 'automatic': epochs is 0"),
            ('backend = "pixtral"', 'backend = "scripted"', ConfigError, "'scripted' cannot be trained here"),
            ('name = "human"', 'name = "automatic"', ConfigError, "two stages have one name"),
            ("[[stage]]", "[stage]", ConfigError, "is not TOML"),
            ("frames = 3", 'metric = "luck"', UnknownNameError, "unknown validation metric 'luck'"),
            (str(CAPTIONER), "./nowhere", ConfigError, "is a path, and nothing is at"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_is_said_with_its_place(
        self, written: Path, old: str, new: str, error: type[Exception], said: str
    ) -> None:
        written.write_text(RECIPE.replace(old, new))
        with pytest.raises(error, match=said):
            read_recipe(str(written))

    def test_no_such_recipe(self) -> None:
        with pytest.raises(UnknownNameError, match="Did you mean 'groundcap'"):
            read_recipe("groundcab")

    def test_stages_and_frozen_parts_have_to_fit(self) -> None:
        caption = CaptionConfig(name="x", backend="blip", checkpoint="owner/blip", template="plain")
        with pytest.raises(ConfigError, match="needs a frozen vision encoder"):
            Recipe(caption=caption, stage=(stage(),), reuse_features=True)
        with pytest.raises(ConfigError, match="needs a name"):
            Recipe(caption=replace(caption, name=""), stage=(stage(),))


def test_the_command_says_what_is_wrong_at_once(
    store: Store, written: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--recipe", "groundcab", "--store", store.location]) == 2
    assert "Did you mean 'groundcap'" in capsys.readouterr().err


def test_references_that_are_no_dataset_name_the_command_for_them(tmp_path: Path) -> None:
    with pytest.raises(ReferencesError, match=r"caption-movies references captions\.csv --store"):
        bring(["captions.csv"], Store(str(tmp_path)))


def test_names_and_sources_can_be_given(written: Path) -> None:
    changed: Any = named_recipe(read_recipe(str(written)), "other", ["mine", "yours"])
    assert changed.caption.name == "other"
    assert [one.sources for one in changed.stage] == [("mine", "yours")] * 2
