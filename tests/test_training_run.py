"""A stage's run: it learns, goes on exactly where it was killed, and makes its batches of whatever fits into memory."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_blip import build_tiny_blip, build_tiny_blip2
from training_making import SHORT, TEXT_MODULES, movie_store, pixtral_recipe, plain_recipe, stage
from transformers import Trainer

from storage.store import Store
from tasks import trainables
from tasks.captioners import CaptionConfig
from tasks.errors import ConfigError, TransientError
from tasks.loaded_models import Models, Order, read_model
from tasks.token_labels import token_loss
from tasks.training import fitting, models
from tasks.training.fitting import LOG, SAMPLES, Job, micro_batch, train_stage
from tasks.training.recipes import LoraRecipe, Recipe
from tasks.training.samples import gather_samples
from tasks.training.watching import last_checkpoint


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return movie_store(tmp_path_factory.mktemp("movies"))


def job(recipe: Recipe, store: Store, folder: Path) -> Job:
    backend = trainables.load(recipe.caption.backend)
    reader = backend.reader(Path(recipe.caption.checkpoint))
    found = gather_samples(store, recipe, reader.length, folder / SAMPLES)
    return Job(folder, recipe, store, found.fingerprint)


def tensors(result: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in sorted(result.glob("*.safetensors")) for name, value in load_file(path).items()}


def same(one: Path, other: Path) -> bool:
    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def points(job: Job, name: str, index: int = 0) -> list[float]:
    said = json.loads((job.stage_folder(index) / LOG).read_text())
    return [point[name] for point in said["points"] if name in point]


class KilledError(Exception):
    """Stands for the end of a process."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ends the run in the middle of the micro-batch of so many; nothing is tidied up."""
    calls: list[int] = []
    step = Trainer.training_step

    def dying(self: Any, *args: Any, **kwargs: Any) -> Any:
        if calls:
            calls[0] -= 1
            if calls[0] == 0:
                calls.clear()
                raise KilledError
        return step(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", dying)
    return calls


def recipe_of(backend: str, folder: Path) -> Recipe:
    """One per backend, as the ready recipes are: adapter with features kept, all weights, adapter on the decoder."""
    if backend == "pixtral":
        return pixtral_recipe(stage("human", validate_steps=3, epochs=3, learning_rate=5e-3), reuse_features=True)
    learning = stage(SHORT, epochs=9, learning_rate=5e-2, warm_up=0.1, schedule="cosine")
    if backend == "blip":
        return plain_recipe("blip", build_tiny_blip(folder / "blip"), learning, gradient_checkpointing=True)
    lora = LoraRecipe(rank=8, alpha=8, dropout=0.05, targets=r".*language_model\.decoder\..*\.(q|k|v)")
    return plain_recipe("blip2", build_tiny_blip2(folder / "blip2"), learning, lora=lora, reuse_features=True)


@pytest.mark.parametrize("backend", trainables.available())
def test_the_loss_falls_and_a_resumed_run_equals_the_uninterrupted_one(
    backend: str, store: Store, tmp_path: Path, killed_at: list[int]
) -> None:
    recipe = recipe_of(backend, tmp_path)
    whole = job(recipe, store, tmp_path / "whole")
    result = train_stage(whole, 0)
    losses = points(whole, "loss")
    third = len(losses) // 3
    assert sum(losses[-third:]) < sum(losses[:third]) * 0.85, losses
    assert all(speed > 0 for speed in points(whole, "samples_per_second"))
    assert points(whole, "eval_validation")
    assert list((tmp_path / "whole" / "tensorboard").glob("*/events*"))

    cut = job(recipe, store, tmp_path / "cut")
    killed_at.append(8)
    with pytest.raises(KilledError):
        train_stage(cut, 0)
    assert last_checkpoint(cut.stage_folder(0))
    assert same(train_stage(cut, 0), result)
    assert points(cut, "loss") == losses
    assert points(cut, "learning_rate") == points(whole, "learning_rate")
    assert points(cut, "eval_validation") == points(whole, "eval_validation")
    assert train_stage(cut, 0) == cut.result(0)  # done is done


def test_a_run_that_is_killed_with_sigkill_goes_on(store: Store, tmp_path: Path) -> None:
    checkpoint = build_tiny_blip(tmp_path / "blip")
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from training_making import *
from test_training_run import job
from transformers import Trainer
from tasks.training.fitting import train_stage
calls, step = [], Trainer.training_step
def dying(self, *args, **kwargs):
    calls.append(1)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)
Trainer.training_step = dying
recipe = plain_recipe("blip", Path({str(checkpoint)!r}), stage(SHORT, epochs=2))
train_stage(job(recipe, Store({store.location!r}), Path({str(tmp_path / "cut")!r})), 0)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]
    recipe = plain_recipe("blip", checkpoint, stage(SHORT, epochs=2))
    cut, whole = (job(recipe, store, tmp_path / name) for name in ("cut", "whole"))
    left = last_checkpoint(cut.stage_folder(0))
    assert left is not None
    assert left.name == "checkpoint-3"
    (cut.stage_folder(0) / "checkpoint-99").mkdir()  # half of one, without its mark
    assert same(train_stage(cut, 0), train_stage(whole, 0))
    assert not (cut.stage_folder(0) / "checkpoint-99").exists()


def test_a_batch_is_the_same_however_little_fits_into_memory(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Memory for one sample at once, and from the second epoch on only: it goes on at the first one's end."""
    checkpoint = build_tiny_blip(tmp_path / "blip")
    learning = stage(SHORT, epochs=2, batch=4, micro_batch=4)
    recipe = plain_recipe("blip", checkpoint, learning)
    whole = train_stage(job(recipe, store, tmp_path / "whole"), 0)
    step = Trainer.training_step

    def small(self: Any, model: Any, inputs: Any, *args: Any) -> Any:
        if self.state.global_step >= 3 and len(inputs["input_ids"]) > 1:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return step(self, model, inputs, *args)

    monkeypatch.setattr(Trainer, "training_step", small)
    halved = job(recipe, store, tmp_path / "halved")
    found, wanted = tensors(train_stage(halved, 0)), tensors(whole)
    assert json.loads((halved.stage_folder(0) / LOG).read_text())["micro_batch"] == 1
    assert "going on with 2 samples at once, 4 a step" in caplog.text
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(Trainer, "training_step", lambda *_: small_for_all())
    with pytest.raises(TransientError, match="does not suffice for 1 samples at once"):
        train_stage(job(recipe, store, tmp_path / "none"), 0)


def small_for_all() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("batch", "most", "world", "found"), [(64, 8, 1, 8), (64, 5, 1, 4), (6, 4, 2, 3), (7, 4, 1, 1)]
)
def test_micro_batches_make_whole_batches(batch: int, most: int, world: int, found: int) -> None:
    assert micro_batch(stage(batch=batch, micro_batch=most), world) == found


def test_a_batch_that_devices_cannot_share_is_said() -> None:
    with pytest.raises(ConfigError, match="a batch of 5 cannot be spread over 2 devices"):
        micro_batch(stage(batch=5), 2)


def test_the_loss_of_a_step_does_not_hang_on_its_micro_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, 9, generator=generator)
    labels = torch.randint(0, 9, (4, 6), generator=generator)
    labels[:, 0] = labels[2:, 3:] = -100
    count = labels.ne(-100).sum()
    whole = token_loss({"logits": logits}, labels, shifted=True, smoothing=0.0)
    parts = [
        token_loss({"logits": logits[some]}, labels[some], count, shifted=True, smoothing=0.0)
        for some in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.fixture(scope="module")
def trained(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Two stages; the second one learns next to nothing, and stops when it gets no better."""
    first = stage(epochs=1, learning_rate=5e-3, validate_steps=9)
    second = stage("human", epochs=4, learning_rate=1e-12, patience=1)
    made = job(pixtral_recipe(first, second), store, tmp_path_factory.mktemp("trained"))
    for index in range(2):
        train_stage(made, index)
    return made


class TestTheAdapter:
    def test_the_second_stage_goes_on_from_the_first(self, trained: Job) -> None:
        first, second = (tensors(trained.result(index)) for index in range(2))
        assert all(value.abs().max() > 0 for name, value in first.items() if "lora_B" in name)
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=1e-6, atol=1e-6)

    def test_it_stops_when_its_captions_get_no_better(self, trained: Job) -> None:
        said = json.loads((trained.stage_folder(1) / LOG).read_text())
        assert said["steps"] == 6  # two of four epochs: the first, and one that was no better
        assert said["best_step"] == 3

    def test_the_captioner_takes_it_as_peft_saved_it(self, trained: Job) -> None:
        caption = replace(trained.recipe.caption, adapter=str(trained.result(1)))
        _, notes = read_with_adapter(caption)
        assert notes["adapter"]["applied"] == notes["adapter"]["present"] > 0
        assert notes["adapter"]["outside_text_model"] == 0
        said = json.loads((trained.result(1) / "adapter_config.json").read_text())
        assert said["base_model_name_or_path"] == "captioner"
        assert set(said["target_modules"]) == set(TEXT_MODULES)
        inputs = trainables.load("pixtral").reader(Path(trained.recipe.caption.checkpoint)).inputs
        words = {inputs.tokenizer.decode([one]) for one in said["trainable_token_indices"]}
        assert words >= {"</s>", "</gdo>", "</gda>", "."}  # of the captions,
        assert not words & {"[INST]", "[IMG]"}  # and not of the prompts
        assert not (trained.result(1) / "README.md").exists()

    def test_merged_it_writes_the_same_checkpoint_files(self, trained: Job, tmp_path: Path) -> None:
        base = fitting.find_checkpoint(trained.recipe.caption.checkpoint)
        loss = models.export_merged(trained.recipe, base, trained.result(1), tmp_path / "merged", torch.device("cpu"))
        assert loss == 0.0
        names = [{path.name for path in folder.iterdir()} for folder in (base.folder, tmp_path / "merged")]
        assert names[0] - names[1] == {"README.md"}
        caption = trained.recipe.caption
        beside, _ = read_with_adapter(replace(caption, adapter=str(trained.result(1))))
        merged, _ = read_with_adapter(replace(caption, checkpoint=str(tmp_path / "merged")))
        asked = {"input_ids": torch.tensor([[1, 40, 50, 60, 70]])}
        with torch.no_grad():
            assert torch.allclose(merged(**asked).logits, beside(**asked).logits, atol=1e-4)

    def test_it_may_not_reach_beyond_the_text_model(self, trained: Job, tmp_path: Path) -> None:
        lora = LoraRecipe(rank=2, alpha=2, targets=("q_proj",))
        base = fitting.find_checkpoint(trained.recipe.caption.checkpoint)
        with pytest.raises(ConfigError, match=r"also match 4 modules .*vision_tower"):
            models.build_model(replace(trained.recipe, lora=lora), base, torch.device("cpu"), None)
        lora = LoraRecipe(rank=2, alpha=2, targets=("nothing_proj",))
        with pytest.raises(ConfigError, match="nothing_proj"):
            models.build_model(replace(trained.recipe, lora=lora), base, torch.device("cpu"), None)


def read_with_adapter(caption: CaptionConfig) -> tuple[Any, dict[str, Any]]:
    backend = trainables.load(caption.backend)

    def read(order: Order) -> tuple[Any, dict[str, Any]]:
        return read_model(backend.MODEL, backend.NAME, order)

    return Models(read).get(caption)
