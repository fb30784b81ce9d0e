"""CIDEr-D (Vedantam et al. 2015) as COCO's caption evaluation computes it, over arrays; 10 is a perfect match."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, missing
from tasks.metrics import Measured, Pair, TextMetric
from tasks.ngrams import Counts, Integers, count_ngrams, looked_up, words_of
from tasks.resampling import Numbers

LONGEST = 4
SIGMA = 6.0
"""Width of the penalty for lengths that differ."""


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Mean over captions. Word weights come from the references at hand, so single values depend on the corpus.

    A frame is one document however many candidates it has. Resamples keep the weights of the whole corpus.
    """
    if len({pair.frame_id for pair in pairs}) < 2:
        raise MetricUnavailableError(
            "CIDEr-D weighs words by how many frames use them: it needs references of two frames."
        )
    each = score(pairs)
    return Measured(corpus={"cider_d": float(np.mean(each))}, each={"cider_d": each.tolist()})


def score(pairs: Sequence[Pair]) -> Numbers:
    """CIDEr-D of each pair."""
    references = np.array([len(pair.references) for pair in pairs])
    words, lengths = words_of([*(pair.candidate for pair in pairs), *chain(*(pair.references for pair in pairs))])
    owners = np.repeat(np.arange(len(pairs)), references)
    frames = _frames(pairs)
    documents = frames[owners]
    delta = np.maximum(lengths[owners] - 1, 0) - np.maximum(lengths[len(pairs) :] - 1, 0)  # COCO counts bigrams
    penalty = np.exp(-(delta.astype(np.float64) ** 2) / (2 * SIGMA**2))
    total = np.zeros(len(owners))
    for grams in count_ngrams(words, lengths, LONGEST):
        total += _cosines(grams, len(pairs), owners, documents, int(frames.max()) + 1) * penalty
    scores = 10.0 * np.bincount(owners, weights=total / LONGEST, minlength=len(pairs)) / references
    return np.asarray(scores, dtype=np.float64)


def _frames(pairs: Sequence[Pair]) -> Integers:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(pair.frame_id, len(numbers)) for pair in pairs], dtype=np.int64)


def _cosines(grams: Counts, candidates: int, owners: Integers, documents: Integers, frames: int) -> Numbers:
    """Of each reference and its candidate: their clipped cosine in n-grams weighed by rarity."""
    theirs = grams.texts >= candidates
    seen = np.unique(grams.grams[theirs] * frames + documents[grams.texts[theirs] - candidates]) // frames
    frequency = np.bincount(seen, minlength=grams.different)
    weights = grams.counts * (np.log(float(frames)) - np.log(np.maximum(1.0, frequency)))[grams.grams]
    norms = np.sqrt(np.bincount(grams.texts, weights=weights**2, minlength=candidates + len(owners)))
    reference = grams.texts[theirs] - candidates
    told = looked_up(grams.keys[~theirs], weights[~theirs], owners[reference] * grams.different + grams.grams[theirs])
    clipped = np.minimum(told, weights[theirs]) * weights[theirs]
    products = np.bincount(reference, weights=clipped, minlength=len(owners))
    length = norms[owners] * norms[candidates:]
    cosines = np.divide(products, length, out=products.astype(np.float64), where=length != 0)
    return np.asarray(cosines, dtype=np.float64)


METRIC = TextMetric(
    name="cider",
    values={"cider_d": "agreement of weighted n-grams with the references, 0 to 10, mean over captions"},
    higher_is_better=True,
    highest=10.0,
    version="2",
    tokenizer=COCO_TOKENS,
    convention="sigma 6; document frequencies of these references, kept in resamples; as pycocoevalcap's",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap",),
)
