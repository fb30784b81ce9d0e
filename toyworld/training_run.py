"""What the training scripts share: the loop, how far a run is, its learning rate, plan, log and options."""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from tasks.accelerator import pick_device

B = TypeVar("B")
NOTED_STEPS = 50
"""Steps whose losses are one line of the log."""


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    part: float = 0.0
    """Part of the run that is done, 0 to 1."""
    seconds: float = 0.0
    """Trained so far."""


class Clock:
    """Tells which part of a run is done: by `steps` where that is given, else by the seconds that are left."""

    def __init__(self, progress: Progress, steps: int | None, seconds_left: float | None) -> None:
        self.steps, self.seconds_left = steps, seconds_left
        self.start, self.first, self.before = time.monotonic(), progress.part, progress.seconds

    def tick(self, progress: Progress) -> None:
        """Bring a progress up to date."""
        gone = time.monotonic() - self.start
        progress.seconds = self.before + gone
        if self.steps is not None:
            progress.part = progress.step / self.steps
        elif self.seconds_left is not None:
            progress.part = min(1.0, self.first + (1 - self.first) * gone / max(self.seconds_left, 1e-9))


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often a run's state is written and its averaged weights are tried; both at its end in any case."""

    save_seconds: float = 120.0
    save_steps: int = 0
    """Also every so many steps, where that is not 0."""
    look_seconds: float = 300.0


STEADY = Rhythm()


def run_through(
    batches: Iterable[B],
    step: Callable[[B], Mapping[str, float]],
    progress: Progress,
    clock: Clock,
    log: Path,
    *,
    look: Callable[[], dict[str, Any]],
    save: Callable[[], None],
    rhythm: Rhythm,
) -> None:
    """Do `step` on one batch after the other until the run is done.

    A step gives its losses by name and counts itself in the progress. Their means, and what `look` measures, are lines
    of the log. Of a run that is done already nothing changes.
    """
    if progress.part >= 1:
        return
    saved, looked = time.monotonic(), time.monotonic()
    seen: list[Mapping[str, float]] = []
    with log.open("a", encoding="utf-8") as file:
        for batch in batches:
            seen.append(step(batch))
            clock.tick(progress)
            done = progress.part >= 1
            if progress.step % NOTED_STEPS == 0 or done:
                note(file, progress, means(seen))
                seen = []
            if done or time.monotonic() > looked + rhythm.look_seconds:
                note(file, progress, look())
                looked = time.monotonic()
            in_turn = rhythm.save_steps and progress.step % rhythm.save_steps == 0
            if done or in_turn or time.monotonic() > saved + rhythm.save_seconds:
                save()
                saved = time.monotonic()
            if done:
                break


def means(seen: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each name over the steps that have it, rounded to four places."""
    return {
        name: round(sum(values) / len(values), 4)
        for name in sorted({name for one in seen for name in one})
        if (values := [one[name] for one in seen if name in one])
    }


def schedule(progress: Progress, warm_up: int) -> float:
    """The learning rate's factor: up in a line for so many steps, then down along a cosine."""
    return min(1.0, (progress.step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress.part)))


def keep_plan(folder: Path, plan: Any) -> None:
    """Write the plan (a dataclass) beside a new run's state. Raises ValueError when a run of another plan is there."""
    folder.mkdir(parents=True, exist_ok=True)
    written, path = json.dumps(dataclasses.asdict(plan), indent=2) + "\n", folder / "plan.json"
    if path.exists() and path.read_text("utf-8") != written:
        raise ValueError(f"{folder} holds a run of another plan, see {path}. Give its settings, or another folder.")
    path.write_text(written, "utf-8")


def note(file: Any, progress: Progress, said: dict[str, Any]) -> None:
    """Add a line to the log."""
    line = {"step": progress.step, "seconds": round(progress.seconds, 1), "part": round(progress.part, 4)} | said
    file.write(json.dumps(line) + "\n")
    file.flush()


def cut_log(log: Path, step: int) -> None:
    """Take out lines of steps that will be done again, and a last one that was not written to its end."""
    if log.exists():
        whole = [line for line in log.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
        log.write_text("".join(line for line in whole if json.loads(line)["step"] <= step), "utf-8")


def options(description: str) -> argparse.ArgumentParser:
    """The options of every training script."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="the run's folder")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="train so long from now on")
    length.add_argument("--until", metavar="HH:MM", help="train until this time, UTC")
    length.add_argument("--steps", type=int, help="train so many steps in all; resumed runs give the same weights")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the checkpoint there in the end")
    return parser


def run_script(command: Callable[[], None]) -> None:
    """Do what a script is for; what is wrong with its options or folders ends it with a line that says so."""
    try:
        command()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def add_plan(parser: argparse.ArgumentParser, plan: Any, names: Sequence[str]) -> None:
    """Options for those fields of a plan (a dataclass's type), their defaults the plan's."""
    for name in names:
        default = getattr(plan, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)


def length_of(given: argparse.Namespace) -> dict[str, Any]:
    """How long and where the given options want to train: none of it when no length is given, only an export."""
    seconds = 60 * given.minutes if given.minutes else None
    seconds = seconds_until(given.until) if given.until else seconds
    if seconds is None and given.steps is None:
        return {}
    return {"seconds_left": seconds, "device": str(pick_device(given.device))}


def seconds_until(clock_time: str) -> float:
    """Seconds to the next HH:MM, UTC."""
    now = datetime.now(UTC)
    hour, minute = (int(part) for part in clock_time.split(":"))
    end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return ((end if end > now else end + timedelta(days=1)) - now).total_seconds()
