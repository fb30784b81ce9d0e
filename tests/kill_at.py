"""Run the command with a bomb in it: `python kill_at.py STAGE ROWS ARGUMENTS...`.

The process kills itself with SIGKILL when the stage is about to write its (ROWS + 1)th row, in the middle of a shard.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.command_line import main
from storage import store

stage, rows = sys.argv[1], int(sys.argv[2])
write, begin = store.Writer.__call__, store.Output.writer
written = 0
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
    """Counts the rows of armed writers."""
    global written
    if id(self) in armed:
        if written == rows:
            os.kill(os.getpid(), signal.SIGKILL)
        written += 1
    write(self, row)


store.Output.writer = writer  # type: ignore[method-assign,assignment]
store.Writer.__call__ = call  # type: ignore[method-assign]
sys.exit(main(sys.argv[3:]))
