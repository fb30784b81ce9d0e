"""What keeps a long run as small as a short one is really in force."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps memory for each thread")


@pytest.mark.parametrize("module", ["flows.command_line", "flows.caption_movies"])
def test_arrow_takes_its_memory_from_glibc_and_torch_waits_for_who_needs_it(module: str) -> None:
    """Importing torch takes seconds: a run whose models are on a server, or on workers, has no use for it."""
    said = f"import {module}, pyarrow, sys; print(pyarrow.default_memory_pool().backend_name, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "system False"


def test_what_is_free_between_what_is_used_is_given_back() -> None:
    """Pieces of 200 MB are freed but for every hundredth, which lies in the way of glibc's own giving back."""
    said = """
from flows.keep_memory_small import give_back
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
before = resident()
held = [bytes(2000) for _ in range(100_000)]
held = held[::100]
kept = resident() - before
give_back()
print(kept, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", said], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 150e6  # what the measure is for
    assert left < 20e6
