"""Run the main flow in this process, with a progress bar. Prefect brings its own server up where none is configured."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flows.show_progress import STAGES
from flows.show_progress import Progress as Counts

if TYPE_CHECKING:
    from flows.report_run import Report

QUIET = {"TQDM_DISABLE": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL", "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}
"""Left out with --verbose: other libraries' bars would break ours, and failures are said at the end."""
ALWAYS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def run_here(movies: Sequence[str], store: str, profile: str, *, verbose: bool = False) -> "Report":
    """Run `caption-movies` and give its report, also when steps failed."""
    for name, value in (ALWAYS | ({} if verbose else QUIET)).items():
        os.environ.setdefault(name, value)  # before Prefect is imported: it reads them then
    from flows.caption_movies import caption_movies
    from flows.read_configuration import read_configuration
    from flows.report_run import RunFailedError
    from flows.run_state import wanted_movies

    config = read_configuration(profile)  # what is wrong is said at once, not after a server has started
    wanted_movies(movies)
    with _bars() as listener, _patience():
        Counts.listeners.append(listener)
        try:
            return caption_movies(list(movies), store, config)
        except RunFailedError as error:
            return error.report
        finally:
            Counts.listeners.remove(listener)


@contextmanager
def _patience() -> Iterator[None]:
    """The first Ctrl-C waits for the pieces in work, and says so; the second one ends at once, which is safe too."""

    def first(_signal: int, _frame: object) -> None:
        print("\nstopping after the pieces in work; Ctrl-C again stops at once", file=sys.stderr, flush=True)
        signal.signal(signal.SIGINT, second)
        raise KeyboardInterrupt

    def second(_signal: int, _frame: object) -> None:
        os._exit(130)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _bars:  # noqa: N801  a context manager, used like a function
    """One bar per stage, in shards; on anything but a terminal, a line for each movie that is decoded."""

    def __enter__(self) -> "_bars":
        console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description:8}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} shards"),
            TextColumn("{task.fields[rows]} {task.fields[unit]}"), TimeElapsedColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        units = dict(zip(STAGES, ("frames", "objects", "captions", "verdicts", "scores"), strict=True))
        self.tasks: dict[str, TaskID] = {
            stage: self.bars.add_task(stage, total=0, rows=0, unit=units[stage]) for stage in STAGES
        }
        self.bars.start()
        self.movies_done = 0
        return self

    def __call__(self, counts: Counts) -> None:
        for stage, task in self.tasks.items():
            total = max(counts.shards["extract"], counts.shards[stage])
            self.bars.update(task, completed=counts.shards[stage], total=total, rows=counts.rows[stage])
        if self.bars.disable and len(counts.movies_done) > self.movies_done:
            self.movies_done = len(counts.movies_done)
            done = f"decoded {self.movies_done} of {counts.movies} movies, {counts.rows['extract']} frames"
            print(f"{done}; {counts.rows['check']} captions checked", file=sys.stderr, flush=True)

    def __exit__(self, *error: object) -> None:
        self.bars.stop()
