"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as COCO's caption evaluation computes them, over arrays."""

import math
from collections.abc import Sequence
from itertools import chain

import numpy as np

from tasks.java_metrics import COCO_TOKENS, missing
from tasks.metrics import Measured, Pair, TextMetric
from tasks.ngrams import count_ngrams, looked_up, words_of
from tasks.resampling import Numbers, Statistics

LONGEST = 4
NAMES = tuple(f"bleu{n}" for n in range(1, LONGEST + 1))
SMALL, TINY = 1e-9, 1e-15
"""What COCO's code adds to denominators and numerators, so that 0 / 0 is next to nothing."""


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Corpus BLEU; `each` is sentence BLEU, whose mean it is not."""
    counts = count(pairs)
    each = np.array([_bleu(row) for row in counts.tolist()])
    corpus = _bleu(counts.sum(axis=0).tolist())
    return Measured(
        corpus=dict(zip(NAMES, corpus, strict=True)),
        each={name: each[:, place].tolist() for place, name in enumerate(NAMES)},
        statistics=Statistics(counts, _of_sums),
    )


def count(pairs: Sequence[Pair]) -> Numbers:
    """(pairs, 10): n-grams that agree, n-grams, of n = 1 to 4 each; words, words of the reference closest in length."""
    references = [len(pair.references) for pair in pairs]
    words, lengths = words_of([*(pair.candidate for pair in pairs), *chain(*(pair.references for pair in pairs))])
    owners = np.concatenate([np.arange(len(pairs)), np.repeat(np.arange(len(pairs)), references)])
    told, rest = lengths[: len(pairs)], lengths[len(pairs) :]
    columns = []
    for grams in count_ngrams(words, lengths, LONGEST):
        ours = grams.texts < len(pairs)
        keys = owners[grams.texts] * grams.different + grams.grams
        theirs, place = np.unique(keys[~ours], return_inverse=True)
        most = np.zeros(len(theirs), dtype=np.float64)
        np.maximum.at(most, place, grams.counts[~ours])
        agree = np.minimum(grams.counts[ours], looked_up(theirs, most, keys[ours]))
        columns.append(np.bincount(grams.texts[ours], weights=agree, minlength=len(pairs)))
    columns += [np.maximum(told - n, 0) for n in range(LONGEST)]
    return np.column_stack([*columns, told, _closest(told.tolist(), rest.tolist(), references)]).astype(np.float64)


def _closest(lengths: list[int], references: list[int], counts: list[int]) -> list[int]:
    """Of each candidate, the length of the reference closest to its own; the shorter of two."""
    found, start = [], 0
    for length, number in zip(lengths, counts, strict=True):
        found.append(min((abs(one - length), one) for one in references[start : start + number])[1])
        start += number
    return found


def _bleu(counts: list[float]) -> list[float]:
    """BLEU-1 to 4 of one row of counts, in the very steps of COCO's code, so that every digit is the same."""
    agree, there, (told, reference) = counts[:LONGEST], counts[LONGEST : 2 * LONGEST], counts[2 * LONGEST :]
    product, values = 1.0, []
    for n in range(LONGEST):
        product *= (agree[n] + TINY) / (there[n] + SMALL)
        values.append(product ** (1.0 / (n + 1)))
    ratio = (told + TINY) / (reference + SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [value * penalty for value in values]


def _of_sums(sums: Numbers) -> dict[str, Numbers]:
    precisions = np.cumprod((sums[:, :LONGEST] + TINY) / (sums[:, LONGEST : 2 * LONGEST] + SMALL), axis=1)
    ratio = (sums[:, -2] + TINY) / (sums[:, -1] + SMALL)
    penalty = np.exp(np.minimum(0, 1 - 1 / ratio))
    empty = np.where(sums[:, -1] > 0, 1.0, np.nan)  # a resample that drew no caption
    return {name: precisions[:, n] ** (1 / (n + 1)) * penalty * empty for n, name in enumerate(NAMES)}


METRIC = TextMetric(
    name="bleu",
    values={f"bleu{n}": f"n-gram precision up to {n} words, with brevity penalty, of the corpus" for n in range(1, 5)},
    higher_is_better=True,
    version="2",
    tokenizer=COCO_TOKENS,
    convention="corpus level; the reference closest in length counts; as pycocoevalcap's",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap",),
)
