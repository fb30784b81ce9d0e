"""Which processes run, as Linux shows them, and waiting until something holds of them."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes as Linux does")


def running(pattern: str) -> list[str]:
    """Command lines with this argument, or of the process with this number; none of one that ended."""
    found = []
    for path in Path("/proc").glob(f"{pattern if pattern.isdigit() else '[0-9]*'}/cmdline"):
        with suppress(OSError):  # ended since
            found.append(path.read_bytes().decode(errors="replace"))
    return [said for said in found if said and (pattern.isdigit() or f"{pattern}\0" in said)]


def wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(1200):
        if holds():
            return
        time.sleep(0.1)
    pytest.fail("did not come about in two minutes")
