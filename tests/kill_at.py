"""Run the command with a bomb in it: `python kill_at.py STAGE ROWS ARGUMENTS...`.

The process kills itself with SIGKILL when the stage is about to write its (ROWS + 1)th row, in the middle of a shard.
"""

import os
import signal
import sys
from typing import Any

from flows.command_line import main
from storage import store

stage, rows = sys.argv[1], int(sys.argv[2])
write = store.Writer.__call__
begin = store.Output.writer
state = {"left": rows}


def writer(self: store.Output) -> Any:
    """Arms the bomb while the stage's output is being written."""
    opened = begin(self)
    if self.footer.stage == stage:
        original = opened.__enter__

        def enter() -> store.Writer:
            made = original()
            made.armed = True  # type: ignore[attr-defined]
            return made

        opened.__enter__ = enter  # type: ignore[method-assign]
    return opened


def call(self: store.Writer, row: Any) -> None:
    """Counts down on rows of the armed stage."""
    if getattr(self, "armed", False):
        if state["left"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        state["left"] -= 1
    write(self, row)


store.Output.writer = writer  # type: ignore[method-assign]
store.Writer.__call__ = call  # type: ignore[method-assign]
sys.exit(main(sys.argv[3:]))
