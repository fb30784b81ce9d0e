"""Running SPICE: how much memory it may have, and what is done when that does not suffice.

CoreNLP parses with memory that grows with the square of a sentence's length, and skips a sentence for which it does not
suffice: the score would be of another caption, without a word. So its messages are read, and a run in which a sentence
was skipped, or that died of memory, is split in two; a pair alone is tried with one thread. What fails then is said.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks import machine
from tasks.errors import MetricUnavailableError, TransientError
from tasks.java_metrics import coco_folder, jvm
from tasks.metrics import Pair

CHILD = Path(__file__).with_name("spice_in_java.py")
MOST_MB = 8192
"""pycocoevalcap's own limit."""
LEAST_MB = 2048
"""The English models alone take more than 1 GB."""
SHARE = 0.75
"""Of the free memory: Java needs some beside its heap."""
NO_MEMORY = ("OutOfMemoryError", "out of memory", "Java heap space", "GC overhead limit")


class OutOfMemoryError(Exception):
    """Java's memory did not suffice for a run. Never leaves this file."""


def scores(pairs: Sequence[Pair], jars: Sequence[Path], timeout_seconds: float) -> list[float]:
    """SPICE's F-score of each pair, in order; a caption without a scene graph has 0.

    Raises TransientError when a caption is too long for the free memory, there is too little of it, or SPICE fails or
    takes longer than it may: another time, or on a larger machine, it may not.
    """
    heap = heap_mb()
    threads = max(1, min(os.cpu_count() or 1, heap // 1024))
    waiting, done = [list(pairs)] if pairs else [], []
    while waiting:
        batch = waiting.pop()
        try:
            done += _run(batch, jars, heap, threads if len(batch) > 1 else 1, timeout_seconds)
        except OutOfMemoryError as error:
            if len(batch) == 1:
                raise TransientError(
                    f"{heap:,} MB do not suffice for the scene graphs of {batch[0].caption_id} and its references, "
                    f"the longest text of which has {_longest(batch[0])} words. Run again with more free memory."
                ) from error
            half = len(batch) // 2
            waiting += [batch[half:], batch[:half]]
    return done


def _longest(pair: Pair) -> int:
    return max(len(text.split()) for text in (pair.candidate, *pair.references))


def heap_mb(free: int | None = None) -> int:
    """Megabytes that Java may take. Raises TransientError when there is too little memory free."""
    free = free_mb() if free is None else free
    if free * SHARE < LEAST_MB:
        raise TransientError(
            f"SPICE needs {LEAST_MB / SHARE:,.0f} MB of free memory, and {free:,} are free. "
            "End what else takes memory, then run again."
        )
    return min(MOST_MB, int(free * SHARE))


def free_mb() -> int:
    """Megabytes of memory that are free, inside a container those it may still take."""
    return machine.memory_bytes()[1] >> 20


def _run(batch: Sequence[Pair], jars: Sequence[Path], heap: int, threads: int, timeout_seconds: float) -> list[float]:
    """One Java process. Raises OutOfMemoryError, TransientError."""
    spice = coco_folder() / "spice"
    classes = [spice / "spice-1.0.jar", *jars, *sorted(set((spice / "lib").glob("*.jar")) - set(jars))]
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch, "in.json"), Path(scratch, "out.json")
        asked = [{"test": pair.candidate, "refs": list(pair.references)} for pair in batch]
        given.write_text(json.dumps(asked), encoding="utf-8")
        values = [jvm(), heap, threads, given, answer, *classes]
        command = [sys.executable, "-P", str(CHILD), *map(str, values)]
        try:
            said = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_seconds, cwd=scratch
            )
        except subprocess.TimeoutExpired as error:
            raise TransientError(
                f"SPICE did not answer within {timeout_seconds:g} seconds. Raise score.java_timeout_seconds."
            ) from error
        words = said.stderr.decode(errors="replace")
        if any(sign in words for sign in NO_MEMORY) or said.returncode == -9:  # 9: killed by the system, for memory
            raise OutOfMemoryError
        if said.returncode:
            last = words.strip()[-500:] or "no message"
            raise TransientError(f"SPICE ended with exit code {said.returncode}: {last}")
        return _read(answer, len(batch))


def _read(answer: Path, expected: int) -> list[float]:
    """The F-scores in order. A pair of captions without a scene graph has none, which counts as 0."""
    try:
        found: list[Any] = json.loads(answer.read_text("utf-8"))
        if len(found) != expected:
            raise ValueError(f"{len(found)} scores for {expected} captions")
        return [float(one["All"]["f"] or 0.0) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricUnavailableError(f"SPICE's answer cannot be read: {error!r}.") from error
