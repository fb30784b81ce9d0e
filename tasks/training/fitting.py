"""One stage of a training: transformers' Trainer over a recipe's settings, none of its methods changed.

Killed at any moment, the same call goes on at the last checkpoint, with the optimizer, the schedule, the place in the
samples' order and the random numbers that it had there. A Trainer keeps those as torch files; it reads them with
weights_only, which builds tensors and plain values and runs nothing, and they are never from outside: see
docs/decisions/0008.
"""

import json
import logging
import math
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)

from storage.store import Store
from tasks import trainables
from tasks.accelerator import device_errors, pick_device, pick_dtype
from tasks.adapter_weights import no_peft_warnings
from tasks.checkpoints import Checkpoint, find_checkpoint
from tasks.errors import ConfigError, TransientError
from tasks.token_labels import token_loss
from tasks.training.dataset import Pictures, SampleFile, SampleSet, written_tokens
from tasks.training.features import Features, write_features
from tasks.training.models import build_model, save_result
from tasks.training.recipes import Recipe, StageRecipe
from tasks.training.splits import TRAIN, VALIDATION
from tasks.training.validation import choose_frames, validator
from tasks.training.watching import MarkWhole, Speed, Steps, Tell, Validation, last_checkpoint

SAMPLES, RESULT, LOG = "samples.arrow", "result", "log.json"
WAITING_SECONDS = 7 * 86_400
"""Until a process gives the others up: the first one computes features and writes validation captions for all."""
TRAINER: Any = Trainer
ARGUMENTS: Any = TrainingArguments
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A training on this machine."""

    folder: Path
    """Holds the samples, and a folder per stage. A run of another recipe or of other samples needs another one."""
    recipe: Recipe
    store: Store
    fingerprint: str
    """Of the samples."""

    def stage_folder(self, index: int) -> Path:
        """Of one stage."""
        return self.folder / f"stage-{index + 1}-{self.recipe.stage[index].name}"

    def result(self, index: int) -> Path:
        """What a stage leaves: an adapter or a checkpoint."""
        return self.stage_folder(index) / RESULT


def train_stage(job: Job, index: int, tell: Tell = lambda what, done, of: None) -> Path:
    """Train one stage, from where it stands, and give the folder of its result. `tell` hears how far it is.

    When memory does not suffice one process goes on with half as many samples at once, accumulated to the same batch.
    Raises TransientError when one sample alone is too much, or the share of one of several processes, CheckpointError
    and ConfigError as build_model does.
    """
    result, stage = job.result(index), job.recipe.stage[index]
    if result.exists():
        return result
    world = int(os.environ.get("WORLD_SIZE", "1"))
    micro = micro_batch(stage, world)
    while True:
        try:
            with device_errors():
                _fit(job, index, micro, world, tell)
            return result
        except MemoryError as error:
            if micro == 1 or world > 1:
                raise TransientError(
                    f"memory does not suffice for {micro} samples at once: {error}. Set a smaller micro_batch, "
                    "gradient_checkpointing = true, on a CPU cpu_processes = 1, or use a device with more."
                ) from error
        micro = micro_batch(stage, world, micro // 2)
        log.warning("memory did not suffice; going on with %d samples at once, %d a step", micro, stage.batch)


def micro_batch(stage: StageRecipe, world: int, most: int | None = None) -> int:
    """Samples at once on each of `world` devices: the most that makes whole batches. Raises ConfigError for none."""
    if stage.batch % world:
        raise ConfigError(f"a batch of {stage.batch} cannot be spread over {world} devices; use as many as divide it.")
    share = stage.batch // world
    return next(size for size in range(min(most or stage.micro_batch, share), 0, -1) if share % size == 0)


def processes_on_cpu(recipe: Recipe, stage: StageRecipe, cores: int) -> int:
    """How many train a stage together on so many cores."""
    most = min(recipe.cpu_processes or cores, cores, stage.batch)
    return next(number for number in range(most, 0, -1) if stage.batch % number == 0)


def _fit(job: Job, index: int, micro: int, world: int, tell: Tell) -> None:
    recipe, stage, folder = job.recipe, job.recipe.stage[index], job.stage_folder(index)
    base, device = find_checkpoint(recipe.caption.checkpoint, recipe.caption.revision), _device(recipe, world)
    backend = trainables.load(recipe.caption.backend)
    reader = backend.reader(base.folder)
    file, pictures = SampleFile(job.folder / SAMPLES), Pictures(job.store)
    tokens = written_tokens(file, reader, recipe.sources) if recipe.lora and recipe.lora.train_tokens else []
    model = build_model(recipe, base, device, job.result(index - 1) if index else None, tokens)
    features = None
    if recipe.reuse_features:
        state = PartialState(cpu=device.type == "cpu", timeout=timedelta(seconds=WAITING_SECONDS))
        with state.main_process_first():  # the others find the file
            features = _features(job, base, model, backend, file, reader)
    frames = choose_frames(job.store, file, pictures, stage.sources, recipe.validate)
    validation = Validation(validator(backend, reader, frames, recipe.caption, recipe.validate.metric))
    watching = [Speed(stage.batch), validation, Steps(stage.name, tell), MarkWhole(), *_patience(stage)]
    train = SampleSet(file, file.numbers(TRAIN, stage.sources), reader, pictures, features)
    held_out = SampleSet(file, _for_loss(file, stage, recipe), reader, pictures, features)
    last = last_checkpoint(folder)
    step = int(last.name.rpartition("-")[2]) if last else 0
    loss = partial(token_loss, shifted=reader.shifted, smoothing=reader.smoothing(model))
    trainer = TRAINER(
        model=model,
        args=_arguments(recipe, stage, folder, micro, world, len(train), device),
        train_dataset=train,
        eval_dataset=held_out,
        data_collator=reader.collate,
        compute_loss_func=loss,
        callbacks=[*watching, _tensorboard(job, index, step)],
    )
    trainer.model_accepts_loss_kwargs = False  # the loss is ours, not the model's
    for one in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(one)
    validation.log = trainer.log
    with no_peft_warnings():
        trainer.train(resume_from_checkpoint=str(last) if last else None)
    if trainer.is_world_process_zero():
        _write_log(folder / LOG, trainer.state, micro)
        save_result(trainer.model, recipe, base, job.result(index))


def _device(recipe: Recipe, world: int) -> torch.device:
    wanted = recipe.caption.device
    if world > 1 and wanted == "auto" and torch.cuda.is_available():
        wanted = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return pick_device(wanted)


def _for_loss(file: SampleFile, stage: StageRecipe, recipe: Recipe) -> Any:
    """Validation samples whose loss is told beside, as many as there are frames to caption, evenly spread."""
    numbers = file.numbers(VALIDATION, stage.sources)
    numbers = numbers if len(numbers) else file.numbers(VALIDATION)
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), recipe.validate.frames)).astype(np.int64)
    return numbers[places]


def _patience(stage: StageRecipe) -> list[Any]:
    return [EarlyStoppingCallback(early_stopping_patience=stage.patience)] if stage.patience else []


def _tensorboard(job: Job, index: int, step: int) -> Any:
    """Of the whole run in one folder; what stands there of steps that are done again is passed over."""
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations.integration_utils import TensorBoardCallback

    name = job.stage_folder(index).name
    return TensorBoardCallback(SummaryWriter(str(job.folder / "tensorboard" / name), purge_step=step))  # type: ignore[no-untyped-call]


def _arguments(
    recipe: Recipe, stage: StageRecipe, folder: Path, micro: int, world: int, samples: int, device: torch.device
) -> Any:
    steps = _steps(stage, samples)
    rhythm: dict[str, Any] = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    if stage.validate_steps:
        every = min(stage.validate_steps, steps)
        rhythm = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": every, "save_steps": every}
    arguments = ARGUMENTS(
        output_dir=str(folder),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=stage.batch // (micro * world),
        num_train_epochs=stage.epochs,
        max_steps=stage.most_steps or -1,
        learning_rate=stage.learning_rate,
        lr_scheduler_type=stage.schedule,
        warmup_steps=stage.warm_up,
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.most_norm,
        optim="adamw_torch",
        bf16=pick_dtype(recipe.caption.dtype, device) == torch.bfloat16 and device.type == "cuda",
        activation_checkpointing=recipe.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if recipe.gradient_checkpointing else None,
        logging_steps=min(stage.log_steps, steps),
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_total_limit=recipe.validate.keep,
        load_best_model_at_end=True,
        metric_for_best_model="validation",
        greater_is_better=True,
        restore_callback_states_from_checkpoint=True,
        prediction_loss_only=True,
        remove_unused_columns=False,
        seed=recipe.seed,
        data_seed=recipe.seed,
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=device.type == "cuda",
        use_cpu=device.type == "cpu",
        ddp_timeout=WAITING_SECONDS,
        report_to="none",
        disable_tqdm=True,
        **rhythm,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # several devices are several processes, never one with threads
    return arguments


def _steps(stage: StageRecipe, samples: int) -> int:
    steps = math.ceil(stage.epochs * math.ceil(samples / stage.batch))
    return min(steps, stage.most_steps) if stage.most_steps else steps


def _features(job: Job, base: Checkpoint, model: Any, backend: Any, file: SampleFile, reader: Any) -> Features:
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    numbers = np.concatenate([file.numbers(TRAIN), file.numbers(VALIDATION)]).tolist()
    pictures = Pictures(job.store)
    was = plain.training
    plain.eval()

    def compute(pixels: Tensor) -> Tensor:
        found: Tensor = backend.features(plain, pixels.to(plain.device))
        return found

    wanted = [
        (frame_id, partial(_pixels, reader, pictures, file, some[0])) for frame_id, some in file.frames(numbers).items()
    ]
    try:
        return write_features(
            job.folder / "features", f"{base.digest}/{job.fingerprint}/{plain.dtype}", plain.dtype, wanted, compute
        )
    finally:
        plain.train(was)


def _pixels(reader: Any, pictures: Pictures, file: SampleFile, number: int) -> Tensor:
    pixels: Tensor = reader.pixels(pictures(file[number]))
    return pixels


def _write_log(path: Path, state: Any, micro: int) -> None:
    """The Trainer's own log of the stage, from its first step on, whatever interrupted it."""
    said = {
        "points": state.log_history,
        "steps": state.global_step,
        "best_step": state.best_global_step,
        "best": state.best_metric,
        "micro_batch": micro,
    }
    draft = path.with_name(f".{path.name}.tmp")
    draft.write_text(json.dumps(said, indent=1), "utf-8")
    os.replace(draft, path)
