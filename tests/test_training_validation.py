"""What checkpoints are compared by, and the small things that look on while a run goes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rows import detection
from training_making import CAPTIONER, copy_of, movie_store, pixtral_recipe
from transformers import TrainerControl, TrainerState

from storage.store import Store
from storage.tables import Detection, Failure, Row
from storage.training_tables import Adapter, AdapterScore
from tasks import trainables
from tasks.errors import ConfigError
from tasks.training.dataset import Pictures, SampleFile
from tasks.training.features import Features, write_features
from tasks.training.model_card import model_card
from tasks.training.recipes import ValidateConfig
from tasks.training.samples import gather_samples
from tasks.training.validation import Asked, ValidationFrames, choose_frames, judge, validator
from tasks.training.watching import Speed, Steps, Validation, last_checkpoint


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return movie_store(tmp_path_factory.mktemp("movies"))


@pytest.fixture(scope="module")
def file(store: Store, tmp_path_factory: pytest.TempPathFactory) -> SampleFile:
    path = tmp_path_factory.mktemp("run") / "samples.arrow"
    gather_samples(store, pixtral_recipe(), trainables.load("pixtral").reader(CAPTIONER).length, path)
    return SampleFile(path)


def frames_of(references: list[tuple[str, ...]], file: SampleFile) -> ValidationFrames:
    asked = [Asked(number=0, detections=[detection("dog-0"), detection("cat-0")], references=one) for one in references]
    return ValidationFrames(file=file, pictures=Any, asked=asked, labels=frozenset({"dog", "cat"}))  # type: ignore[arg-type]


def test_captions_that_cite_and_say_what_is_there_are_worth_more(file: SampleFile) -> None:
    frames = frames_of([("a dog runs on the grass",), ("two cats sleep at home",)], file)
    good = [
        '<gdo class="dog" dog-0>a dog</gdo> runs on the grass',
        '<gdo class="cat" cat-0>two cats</gdo> sleep at home',
    ]
    bad = ['<gdo class="dog" dog-7>red houses</gdo>', ""]
    best, worst = (judge(frames, texts, "grounded") for texts in (good, bad))
    assert best["validation"] == pytest.approx(best["cider_d"] + best["grounding_f1"])
    assert best["cider_d"] == pytest.approx(10.0)
    assert best["grounding_f1"] == pytest.approx(2 / 3)  # one of two objects is cited
    assert best["faults_per_caption"] == 0 < worst["faults_per_caption"]
    assert worst["validation"] == worst["grounding_f1"] == 0
    assert judge(frames, good, "cider")["validation"] == pytest.approx(10.0)


def test_frames_of_which_nothing_is_known_are_none_in_which_nothing_is(
    store: Store, file: SampleFile, tmp_path: Path
) -> None:
    store = copy_of(store, tmp_path)
    every = ValidateConfig(frames=100)
    first, second, *others = choose_frames(store, file, Pictures(store), ["automatic"], every).asked
    assert all(one.detections for one in (first, second, *others))
    sample = file[first.number]
    shard = sample.path.removeprefix("frames/movie_id=").removesuffix(".parquet")
    frames = store.ref("frames", shard)
    assert frames
    found = [one for asked in (second, *others) for one in asked.detections or ()]
    lost = Failure(frame_id=sample.frame_id, stage="detect", error="no memory")
    _detect(store, shard, [*found, lost], frames.fingerprint)
    chosen = choose_frames(store, file, Pictures(store), ["automatic"], every)
    assert [one.detections for one in chosen.asked[:2]] == [None, second.detections]
    objects = [one.detections[0] if one.detections else None for one in chosen.asked]
    texts = [f'<gdo class="{one.label}" {one.object_id}>it</gdo>' if one else "" for one in objects]
    known = [len(one.detections) for one in chosen.asked if one.detections]
    f1 = sum(2 / (1 + number) for number in known) / len(known)  # one of so many is cited, rightly
    assert judge(chosen, texts, "grounded")["grounding_f1"] == pytest.approx(f1)
    _detect(store, shard, [*found], "frames that are gone")
    with pytest.raises(ConfigError, match=r"none of the validation frames as they are now\. Run `caption-movies"):
        choose_frames(store, file, Pictures(store), ["automatic"], every)
    assert not choose_frames(store, file, Pictures(store), ["automatic"], replace(every, metric="cider")).labels


def _detect(store: Store, shard: str, rows: list[Row], frames: str) -> None:
    """Put other detections in the place of those of a shard."""
    output = store.output([Detection, Failure], stage="detect", shard=shard, version=1, config=None, inputs=[frames])
    with output.writer() as write:
        for row in rows:
            write(row)


def test_sacrebleu_takes_frames_with_different_numbers_of_references(file: SampleFile) -> None:
    frames = frames_of([("a dog runs on the green grass", "it runs"), ("two cats sleep at home now",)], file)
    same = judge(frames, ["a dog runs on the green grass", "two cats sleep at home now"], "sacrebleu")
    assert same["validation"] == pytest.approx(100.0)
    assert judge(frames, ["no", "none"], "sacrebleu")["validation"] < 1


def test_validation_leaves_a_model_as_it_found_it_and_draws_no_random_numbers(store: Store, file: SampleFile) -> None:
    backend = trainables.load("pixtral")
    reader = backend.reader(CAPTIONER)
    frames = choose_frames(store, file, Pictures(store), ["automatic"], ValidateConfig(frames=2))
    assert len(frames.asked) == 2
    assert all(one.references and one.detections for one in frames.asked)
    model = backend.MODEL.from_pretrained(CAPTIONER, dtype=torch.float32, use_safetensors=True).train()
    model.model.vision_tower.eval()
    training = {name: module.training for name, module in model.named_modules()}
    before = torch.random.get_rng_state()
    values = validator(backend, reader, frames, pixtral_recipe().caption, "sacrebleu")(model)
    assert values["validation"] >= 0
    assert torch.equal(torch.random.get_rng_state(), before)
    assert {name: module.training for name, module in model.named_modules()} == training


def test_features_are_computed_once_and_read_back_exactly(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute(pixels: torch.Tensor) -> torch.Tensor:
        calls.append(len(pixels))
        return pixels.flatten(2).transpose(1, 2) * 2

    made = {f"f{number}": torch.randn(3, 2, 2 + number % 2) for number in range(20)}
    pictures = [(name, lambda name=name: made[name]) for name in made]
    for dtype in (torch.float32, torch.bfloat16):
        found = write_features(tmp_path, f"key/{dtype}", dtype, pictures, compute)
        for name, pixels in made.items():
            assert torch.equal(found.of(name), (pixels.flatten(1).T * 2).to(dtype))
        assert sum(calls) == 20
        write_features(tmp_path, f"key/{dtype}", dtype, pictures, compute)
        assert sum(calls) == 20
        calls.clear()
    assert Features.open(tmp_path, "another key") is None


def test_a_validation_is_told_to_the_trainer_and_to_its_log() -> None:
    told: list[dict[str, float]] = []
    watching, metrics = Validation(lambda model: {"validation": 2.0}), {"eval_loss": 1.0}
    watching.log = told.append
    watching.on_evaluate(None, TrainerState(is_world_process_zero=True), None, metrics=metrics)  # type: ignore[arg-type]
    assert metrics == {"eval_loss": 1.0, "eval_validation": 2.0}
    assert told == [{"eval_validation": 2.0}]


def test_speed_is_of_steps_only() -> None:
    speed, state = Speed(8), TrainerState(log_history=[{"loss": 1.0}])
    logs = {"loss": 1.0}
    speed.on_step_begin(None, state, None)
    speed.on_step_end(None, state, None)
    speed.on_log(None, state, None, logs)
    assert logs["samples_per_second"] > 0
    assert state.log_history[-1] == logs


def test_only_whole_checkpoints_are_gone_on_with(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step, whole in ((9, True), (10, True), (100, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if whole:
            (tmp_path / f"checkpoint-{step}" / "whole").touch()
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-10"
    assert not (tmp_path / "checkpoint-100").exists()


def test_the_card_says_what_was_measured_and_nothing_else() -> None:
    recipe = {"caption": {"checkpoint": "owner/base"}, "lora": {"rank": 4, "alpha": 8, "dropout": 0.1},
              "stage": [{"name": "a", "sources": ["human"], "epochs": 2.0, "learning_rate": 2e-4, "batch": 4,
                         "schedule": "linear"}]}  # fmt: skip
    row = Adapter(
        adapter="mine", kind="adapter", path="/x", digest="d", backend="pixtral", base="owner/base@1", base_digest="b",
        template="groundcap-card", recipe=json.dumps(recipe), data_fingerprint="f" * 64, samples='{"train/human": 3}',
        left_out="{}", movies='{"train": 2, "test": 1}', steps=7, test_frames=5,
    )  # fmt: skip
    score = AdapterScore(
        adapter="mine", metric="cider_d", higher_is_better=True, before=0.1, before_low=0.0, before_high=0.2, after=0.5,
        after_low=0.4, after_high=0.6, difference=0.4, low=0.3, high=0.5, p_value=0.01, frames=5, reason=None,
    )  # fmt: skip
    said = model_card(row, [score])
    assert "base_model: owner/base\n" in said
    assert "| cider_d | 0.100 [0.000, 0.200] | 0.500 [0.400, 0.600] | 0.400 [0.300, 0.500] |" in said
    assert "| a | human | 2 | 0.0002 | 4 | linear |" in said
    assert "On 5 frames with references" in said
    assert 'adapter = "mine"' in said


def test_steps_and_validations_of_a_stage_are_told() -> None:
    told: list[tuple[str, int, int]] = []
    steps = Steps("human", lambda *said: told.append(said))
    state, control = TrainerState(max_steps=4), TrainerControl()
    steps.on_train_begin(None, state, control)
    state.global_step = 2
    steps.on_step_end(None, state, control)
    control.should_evaluate = True
    steps.on_epoch_end(None, state, control)
    steps.on_evaluate(None, state, control)
    state.is_world_process_zero = False
    steps.on_step_end(None, state, control)
    assert told == [
        ("stage human, steps", 0, 4), ("stage human, steps", 2, 4), ("stage human, validated after 2 of 4 steps", 0, 0),
        ("stage human, steps", 2, 4),
    ]  # fmt: skip
