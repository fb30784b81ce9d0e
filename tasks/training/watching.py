"""What looks on while a Trainer works: validation, speed, and a mark on checkpoints that are whole."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

CHECKPOINT = "checkpoint-"
WHOLE = "whole"
"""Written into a checkpoint's folder once everything else is there: a run that is killed may leave half of one."""
Validate = Callable[[Any], Mapping[str, float]]
Tell = Callable[[str, int, int], None]
"""Told what is being done, how many are done, of how many; 0 of 0 where that is not known."""


class Validation(TrainerCallback):
    """Adds what a model's own captions are worth to each evaluation, where a Trainer looks for its best checkpoint.

    It has to come before those that read the values, such as EarlyStoppingCallback.
    """

    def __init__(self, validate: Validate) -> None:
        self.validate = validate
        self.log: Callable[[dict[str, float]], None] = lambda values: None
        """Trainer.log."""

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Of several processes the first one writes the captions, and tells the others what they are worth."""
        told: list[dict[str, float]] = [{}]
        if state.is_world_process_zero:
            told[0] = {f"eval_{name}": float(value) for name, value in self.validate(model).items()}
        if torch.distributed.is_initialized():
            torch.distributed.broadcast_object_list(told)
        if metrics is not None:
            metrics |= told[0]
        self.log(told[0])


class Speed(TrainerCallback):
    """Adds samples per second to each point of the loss curve, validation not counted."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._seconds, self._since, self._step = 0.0, 0.0, 0

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """A step's clock starts."""
        self._since = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        """And stops."""
        self._seconds += time.monotonic() - self._since
        self._step += 1

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        """Into the state's log and what is sent on."""
        if logs and "loss" in logs and self._seconds:
            speed = {"samples_per_second": round(self._step * self.batch / self._seconds, 3)}
            logs |= speed
            state.log_history[-1] |= speed
            self._seconds, self._step = 0.0, 0


class Steps(TrainerCallback):
    """Tells how many of a stage's steps are done, and when captions are written to see what it is worth."""

    def __init__(self, stage: str, tell: Tell) -> None:
        self.stage, self.tell = stage, tell

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """With the steps that a run before has done."""
        self._told(state, control)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """One more."""
        self._told(state, control)

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Validation may follow."""
        self._told(state, control)

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """And is over."""
        self._tell(state)

    def _told(self, state: TrainerState, control: TrainerControl) -> None:
        if control.should_evaluate and state.is_world_process_zero:
            self.tell(f"stage {self.stage}, validated after {state.global_step} of {state.max_steps} steps", 0, 0)
        else:
            self._tell(state)

    def _tell(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            self.tell(f"stage {self.stage}, steps", state.global_step, state.max_steps)


class MarkWhole(TrainerCallback):
    """Marks a checkpoint when all of it is written."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The first process does."""
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"{CHECKPOINT}{state.global_step}" / WHOLE).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where there is none. What a killed run left of others is deleted."""
    found = []
    for path in folder.glob(f"{CHECKPOINT}*"):
        if (path / WHOLE).exists():
            found.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)  # processes that train together all come here
    return max(found, key=lambda path: int(path.name.removeprefix(CHECKPOINT)), default=None)
