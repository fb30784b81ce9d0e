"""What the training scripts have in common: how far a run is, its learning rate, its plan and its log."""

import dataclasses
import json
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


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
    """Take out lines of steps that will be done again."""
    if log.exists():
        lines = [line for line in log.read_text("utf-8").splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def seconds_until(clock_time: str) -> float:
    """Seconds to the next HH:MM, UTC."""
    now = datetime.now(UTC)
    hour, minute = (int(part) for part in clock_time.split(":"))
    end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return ((end if end > now else end + timedelta(days=1)) - now).total_seconds()
