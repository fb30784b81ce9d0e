"""ROUGE-L (Lin 2004) as COCO's caption evaluation computes it."""

from collections.abc import Sequence

import numpy as np

from tasks.java_metrics import COCO_TOKENS, missing
from tasks.metrics import Measured, Pair, TextMetric

BETA = 1.2


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """F-measure of the longest common subsequence; the corpus value is the mean."""
    each = [rouge_l(pair.candidate, pair.references) for pair in pairs]
    return Measured(corpus={"rouge_l": float(np.mean(each))}, each={"rouge_l": each})


def rouge_l(candidate: str, references: Sequence[str]) -> float:
    """Of one caption: the best precision and the best recall over its references."""
    told = candidate.split(" ")
    places: dict[str, int] = {}
    for place, word in enumerate(told):
        places[word] = places.get(word, 0) | 1 << place
    precision = recall = 0.0
    for reference in references:
        words = reference.split(" ")
        common = _common(places, len(told), words)
        precision, recall = max(precision, common / len(told)), max(recall, common / len(words))
    if precision == 0 or recall == 0:
        return 0.0
    return ((1 + BETA**2) * precision * recall) / (recall + BETA**2 * precision)


def _common(places: dict[str, int], length: int, words: Sequence[str]) -> int:
    """Length of the longest common subsequence: a row of the usual table as bits [Hyyro 2004]."""
    full = (1 << length) - 1
    row = full
    for word in words:
        if here := row & places.get(word, 0):
            row = (row + here | row - here) & full
    return length - row.bit_count()


METRIC = TextMetric(
    name="rouge_l",
    values={"rouge_l": "longest common subsequence with a reference, beta 1.2, mean over captions"},
    higher_is_better=True,
    version="2",
    tokenizer=COCO_TOKENS,
    convention="best precision and best recall over the references; as pycocoevalcap's",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap",),
)
