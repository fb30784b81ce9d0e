"""What keeps a long run as small as a short one is really in force."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import keep_memory_small

REPOSITORY = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(not keep_memory_small._libc(), reason="only glibc keeps memory for each thread")


@pytest.mark.parametrize("module", ["flows.command_line", "flows.caption_movies"])
def test_arrow_takes_its_memory_from_glibc(module: str) -> None:
    said = f"import {module}, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run([sys.executable, "-c", said], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "system"


def test_what_threads_free_is_given_back() -> None:
    """Eight threads hold 25 MB each in small pieces and free them: without the two measures most of it stays."""
    said = """
import threading
from flows.keep_memory_small import give_back, limit_arenas
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
limit_arenas()
before = resident()
barrier = threading.Barrier(8)
highest = []
def work():
    held = [bytes(2000) for _ in range(12500)]
    barrier.wait()
    highest.append(resident())
    barrier.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
[one.start() for one in threads]
[one.join() for one in threads]
give_back()
print(min(highest) - before, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", said], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    held, left = map(int, done.stdout.split())
    assert held > 150e6
    assert left < held / 10
