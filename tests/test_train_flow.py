"""train-captioner from a store's references to an adapter that caption-movies takes by its name."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect_help import Api
from training_making import CAPTIONER, copy_of, movie_store, stage

from flows.bring_data import LEFT_OUT
from flows.command_line import main
from flows.read_configuration import PipelineConfig
from flows.read_recipe import read_recipe, recipes
from flows.run_state import with_named
from flows.train_captioner import TrainingReport, bring, named_recipe, train_captioner
from flows.train_here import print_report
from storage import catalog
from storage.checks import check_store
from storage.store import Store
from storage.training_tables import AdapterScore
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
    store: Store, tmp_path: Path, written: Path, on_server: None, prefect_environment: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    dataset, fresh = tmp_path / "dataset", str(tmp_path / "fresh")
    export(store, "groundcap", str(dataset), Wanted(references=("automatic",)))
    _add_row_of_no_movie(next(dataset.rglob("*.parquet")))
    one_stage = written.read_text().rpartition("[[stage]]")[0]
    written.write_text(one_stage.replace("epochs = 1", "epochs = 1\nmost_steps = 1"))
    assert main(["train", "--recipe", str(written), "--references", str(dataset), "--store", fresh]) == LEFT_OUT
    said = capsys.readouterr()
    assert "samples   3 test/automatic, 9 train/automatic, 3 validation/automatic\nleft out  none\n" in said.out
    assert "caption-movies: 1 row of --references could not be used:\n    " in said.err
    assert " row 16: column id is 'x', not <movie>_<rest>" in said.err
    found = Api(prefect_environment).ask("artifacts/filter", artifacts={"key": {"any_": ["train-captioner-unused"]}})
    ((row,),) = (json.loads(one["data"]) for one in found if fresh in one["description"])
    assert (row["what"], row["number"]) == ("row of the references", 1)
    assert "column id is 'x', not <movie>_<rest>" in row["reason"]
    with catalog.connect(fresh) as connection:
        movies = connection.sql("select count(*) from movies where movie_id like 'groundcap%'").fetchall()
        frames = connection.sql("select frames from adapter_scores where metric = 'cider_d'").fetchall()
    assert (movies, frames) == ([(5,)], [(3,)])
    assert check_store(fresh) == []


def _add_row_of_no_movie(file: Path) -> None:
    table = pq.read_table(file)
    bad = table.to_pylist()[0] | {"id": "x"}
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([bad], table.schema)]), file)


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


def test_without_an_adapter_there_is_nothing_to_merge(
    store: Store, written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write_text(RECIPE.replace(RECIPE[RECIPE.index("[lora]") : RECIPE.index("[data]")], ""))
    new = tmp_path / "new"
    assert main(["train", "--recipe", str(written), "--store", str(new), "--merge"]) == 2
    assert "the recipe of 'tiny' trains none: it has no [lora]. Leave --merge out" in capsys.readouterr().err
    assert not new.exists()


def test_a_metric_without_a_difference_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    both = AdapterScore(
        adapter="tiny", metric="spice", higher_is_better=True, before=0.25, before_low=None, before_high=None,
        after=None, after_low=None, after_high=None, difference=None, low=None, high=None, p_value=None, frames=3,
        reason="spice needs the CoreNLP models",
    )  # fmt: skip
    print_report(TrainingReport("tiny", "s", "f", "p", {}, {}, {}, [both]))
    assert re.search(r"^spice +0\.250 +- +- +spice needs the CoreNLP models$", capsys.readouterr().out, re.MULTILINE)


def test_references_that_are_no_dataset_name_the_command_for_them(tmp_path: Path) -> None:
    with pytest.raises(ReferencesError, match=r"caption-movies references captions\.csv --store"):
        bring(["captions.csv"], Store(str(tmp_path)))


def test_a_store_without_captions_is_told_before_the_hub_is_asked(tmp_path: Path) -> None:
    recipe = read_recipe("groundcap")
    assert not Path(recipe.caption.checkpoint).exists()  # 24 GB on the hub, which is not reached here
    with pytest.raises(ReferencesError, match=r"has no references by .*caption-movies import"):
        prepare(recipe, Store(str(tmp_path / "store")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_and_sources_can_be_given(written: Path) -> None:
    changed: Any = named_recipe(read_recipe(str(written)), "other", ["mine", "yours"])
    assert changed.caption.name == "other"
    assert [one.sources for one in changed.stage] == [("mine", "yours")] * 2


def test_a_flow_that_a_thread_holds_at_the_end_holds_nothing_of_duckdb() -> None:
    """Prefect's thread for logs and events is never joined, and holds the first run's context: its flow, whose module
    is then not cleared. What that reaches of DuckDB's classes is printed as dozens of leaks when the process ends."""
    program = """
from threading import Event, Thread
from flows.caption_movies import caption_movies
from flows.caption_store import caption_store
from flows.score_captions import score_captions
from flows.train_captioner import train_captioner
from storage import catalog
flows = caption_movies, caption_store, score_captions, train_captioner
Thread(target=lambda _: Event().wait(), args=(flows,), daemon=True).start()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert "leaked" not in ended.stderr
