"""How far a command is that is no flow: a bar with rate and time left in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Lock, Thread

from rich.console import Console

from flows.show_progress import EVERY_SECONDS, SILENT_ROUNDS

FIRST_SECONDS = 2.5
"""What takes less is over before a line of it is read."""
Tell = Callable[[str, int, int], None]
"""Told what is being done, how many are done, of how many; 0 of 0 where that is not known."""


@contextmanager
def shown_steps() -> Iterator[Tell]:
    """Gives what has to be told of each step; nothing of it is on stdout."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console) as tell:
            yield tell
    else:
        with told_steps() as tell:
            yield tell


@contextmanager
def _bar(console: Console) -> Iterator[Tell]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None, rate="")
        steps = _Steps()

        def tell(what: str, done: int, of: int) -> None:
            if steps.note(what, done, of):
                bars.reset(task, total=of or None, description=what, rate="")
            bars.update(task, completed=done, total=of or None, rate=steps.rate())

        yield tell


@contextmanager
def told_steps() -> Iterator[Tell]:
    """The same in lines, which may stand above the bars of a run."""
    steps, ended = _Steps(), Event()

    def say_now_and_then() -> None:
        while not ended.wait(FIRST_SECONDS):
            if line := steps.due():
                print(line, file=sys.stderr, flush=True)

    def tell(what: str, done: int, of: int) -> None:
        steps.note(what, done, of)

    thread = Thread(target=say_now_and_then, daemon=True)
    thread.start()
    try:
        yield tell
    finally:
        ended.set()
        thread.join()


class _Steps:
    """What was told last, and since when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.lock = clock, Lock()
        self.what, self.done, self.of = "", 0, 0
        self.begun = self.began_with = 0.0
        self.said: tuple[str, int] | None = None
        self.said_at = clock()

    def note(self, what: str, done: int, of: int) -> bool:
        """Keep it; whether another thing is being done than before."""
        with self.lock:
            new = what != self.what
            if new:
                self.begun, self.began_with = self.clock(), done
            self.what, self.done, self.of = what, done, of
        return new

    def a_second(self) -> float:
        """Things done a second since this began; 0 while none is."""
        seconds = self.clock() - self.begun
        return (self.done - self.began_with) / seconds if seconds > 0 else 0.0

    def rate(self) -> str:
        """The same for people."""
        rate = self.a_second()
        return "" if not rate else f"{rate:.1f} a second" if rate >= 1 else f"{60 * rate:.1f} a minute"

    def due(self) -> str:
        """A line, when something else is being done, when more is done since, and at times anyway; else nothing."""
        with self.lock:
            silent = self.clock() - self.said_at
            moved = self.said != (self.what, self.done)
            new = not self.said or self.said[0] != self.what
            if not self.what or not (new or silent >= (EVERY_SECONDS if moved else SILENT_ROUNDS * EVERY_SECONDS)):
                return ""
            self.said, self.said_at = (self.what, self.done), self.clock()
        return self.line()

    def line(self) -> str:
        """What is being done, how fast, how long it will take."""
        parts = [": ".join(filter(None, [self.what, _counted(self.done, self.of)]))]
        if rate := self.rate():
            parts.append(rate)
            if self.of:
                left = timedelta(seconds=round((self.of - self.done) / self.a_second()))
                parts.append(f"about {left} left")
        return "; ".join(parts)


def _counted(done: int, of: int) -> str:
    return f"{done} of {of}" if of else str(done or "")
