"""Progress on stderr: a bar per stage in a terminal, a line now and then in a log, a file or a pipe."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flows.show_progress import UNITS
from flows.show_progress import Progress as Counts


@contextmanager
def shown_progress(*, verbose: bool) -> Iterator[None]:
    """Show the progress of the runs begun inside. With `verbose` the lines stand in Prefect's log, and not twice."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bars(console):
            yield
    elif verbose:
        yield
    else:
        with _lines():
            yield


@contextmanager
def _lines() -> Iterator[None]:
    def say(line: str) -> None:
        try:
            print(line, file=sys.stderr, flush=True)
        except BrokenPipeError:  # the reader is gone; the run is not
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    Counts.lines.append(say)
    try:
        yield
    finally:
        for counts in list(Counts.running.values()):  # a run that came to its end has finished itself
            counts.finish("stopped")
        Counts.lines.remove(say)


@contextmanager
def _bars(console: Console) -> Iterator[None]:
    columns = (
        TextColumn("{task.description:8}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f} shards"),
        TextColumn("{task.fields[rows]} {task.fields[unit]}"), TimeElapsedColumn(), TextColumn("{task.fields[speed]}"),
    )  # fmt: skip
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def listen(counts: Counts) -> None:
            for stage in counts.stages:
                if stage not in tasks:  # as the run begins, before any other thread tells of it
                    tasks[stage] = bars.add_task(stage, total=0, rows=0, unit=UNITS[stage], speed="")
                total = max(counts.shards["extract"], counts.shards[stage])
                bars.update(tasks[stage], completed=counts.shards[stage], total=total, rows=counts.rows[stage])
            if "caption" in tasks:
                bars.update(tasks["caption"], speed="; ".join(filter(None, [counts.rate(), counts.time_left()])))

        Counts.listeners.append(listen)
        try:
            yield
        finally:
            Counts.listeners.remove(listen)
