"""Run the command with a bomb in it: `python kill_at.py STAGE ROWS ARGUMENTS...`.

The process kills itself with SIGKILL when it has finished some piece of work, of whatever stage, and STAGE is then
about to write its (ROWS + 1)th row, amid a shard. With `publish` as the stage: when the (ROWS + 1)th file is about to
take its place, between two files that belong together.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline_help import is_main

from flows.command_line import main
from storage import files, store

stage, rows = sys.argv[1], int(sys.argv[2])
write, begin = store.Writer.__call__, store.Output.writer
written = finished = 0
armed: set[int] = set()


@contextmanager
def writer(self: store.Output) -> Iterator[store.Writer]:
    """Arms the writers of the stage."""
    with begin(self) as made:
        if self.footer.stage == stage:
            armed.add(id(made))
        yield made
        armed.discard(id(made))


def call(self: store.Writer, row: Any) -> None:
    """Counts the rows of armed writers, once something is finished."""
    global written
    if id(self) in armed and finished:
        if written == rows:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
    write(self, row)


def publish(self: files.Files, draft: Any, path: str) -> None:
    """Counts the files that take their place, the run log not among them."""
    global written, finished
    if stage == "publish" and not path.startswith("stage_runs"):
        if written == rows:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
    place(self, draft, path)
    finished += is_main(path)


place = files.Files._publish
files.Files._publish = publish  # type: ignore[method-assign]
store.Output.writer = writer  # type: ignore[method-assign,assignment]
store.Writer.__call__ = call  # type: ignore[method-assign]
sys.exit(main(sys.argv[3:]))
