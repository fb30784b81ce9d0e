"""The Frechet distance between captions and references as a sentence encoder sees them: two clouds of vectors, taken
for normal distributions [Heusel et al. 2017, for texts Semeniuta et al. 2018]. 0 is the same cloud.

A covariance needs more vectors than dimensions, and the distance falls as their number grows: below twice the
dimension no value is given, and values of different numbers of captions do not compare.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.corpora import Corpus, Models, batches, digest
from tasks.errors import MetricUnavailableError
from tasks.metrics import CorpusMetric, Measured
from tasks.metrics.clipscore import NO_REFERENCES
from tasks.resampling import GROUPS, Numbers, groups_of, jackknife_interval

TIMES = 2
"""Vectors per dimension that a covariance has to be from, at least."""


@dataclass
class Moments:
    """Sums of vectors and of their products, by the jackknife's group."""

    counts: Numbers
    sums: Numbers
    products: Numbers

    @classmethod
    def empty(cls, dimensions: int) -> "Moments":
        """Of no vectors."""
        return cls(np.zeros(GROUPS), np.zeros((GROUPS, dimensions)), np.zeros((GROUPS, dimensions, dimensions)))

    def add(self, group: int, vectors: NDArray[np.float32]) -> None:
        """More vectors of a group."""
        found = vectors.astype(np.float64)
        self.counts[group] += len(found)
        self.sums[group] += found.sum(axis=0)
        self.products[group] += found.T @ found

    def normal(self, without: int | None = None) -> tuple[Numbers, Numbers]:
        """Mean and covariance of all vectors, or of all but those of a group."""
        kept = [group for group in range(GROUPS) if group != without]
        number, total = self.counts[kept].sum(), self.sums[kept].sum(axis=0)
        mean = total / number
        return mean, (self.products[kept].sum(axis=0) - number * np.outer(mean, mean)) / (number - 1)


def measure(corpus: Corpus) -> Measured:
    """Of the captions of frames with references, failed ones as empty texts, and all references."""
    from tasks.encoders import SentenceEncoder  # brings torch

    told = [one for one in corpus.captions() if one.references]
    if not told:
        raise MetricUnavailableError(NO_REFERENCES)
    assert corpus.models.sentence_encoder
    encoder = SentenceEncoder.load(corpus.models.sentence_encoder, corpus.models.device)
    dimensions = encoder.of_texts(["a"]).shape[1]
    references = sum(len(one.references) for one in told)
    if min(len(told), references) < TIMES * dimensions:
        raise MetricUnavailableError(
            f"{len(told)} captions and {references} references are too few: covariances of {dimensions} dimensions "
            f"need {TIMES * dimensions} of each. Score more captions, or choose an encoder of fewer dimensions."
        )
    groups = groups_of([one.frame_id for one in told], corpus.models.seed).tolist()
    ours, theirs = Moments.empty(dimensions), Moments.empty(dimensions)
    for batch in batches(list(zip(groups, told, strict=True))):
        _add(ours, [group for group, _ in batch], encoder.of_texts([one.text for _, one in batch]))
        texts = [(group, text) for group, one in batch for text in one.references]
        for part in batches(texts):
            _add(theirs, [group for group, _ in part], encoder.of_texts([text for _, text in part]))
    value = distance(*ours.normal(), *theirs.normal())
    used = [group for group in range(GROUPS) if ours.counts[group]]
    without = [distance(*ours.normal(group), *theirs.normal(group)) for group in used] if len(used) > 1 else []
    bounds = jackknife_interval(value, without)
    intervals = {"frechet_distance": (max(0.0, bounds[0]), bounds[1])} if bounds else {}
    return Measured(corpus={"frechet_distance": value}, each={}, intervals=intervals)


def _add(moments: Moments, groups: list[int], vectors: NDArray[np.float32]) -> None:
    owner = np.array(groups)
    for group in set(groups):
        moments.add(group, vectors[owner == group])


def distance(mean: Numbers, covariance: Numbers, other_mean: Numbers, other: Numbers) -> float:
    """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)) of two normal distributions.

    The root's trace is that of C^(1/2) C' C^(1/2), which is symmetric: its eigenvalues are real and not negative.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ other @ root)
    trace = np.trace(covariance) + np.trace(other) - 2 * np.sqrt(np.maximum(inner, 0)).sum()
    return float(max(0.0, np.sum((mean - other_mean) ** 2) + trace))


def missing(models: Models) -> str | None:
    """What is not configured."""
    if models.sentence_encoder:
        return None
    return "no sentence encoder is chosen: set score.sentence_encoder to a hub id (thenlper/gte-small) or a folder"


def weights(models: Models) -> dict[str, str]:
    """Digest of the sentence encoder."""
    return digest(models.sentence_encoder)


METRIC = CorpusMetric(
    name="frechet",
    values={"frechet_distance": "Frechet distance of the embeddings of captions and of references; 0 is the best"},
    higher_is_better=False,
    highest=math.inf,
    convention=(
        f"captions of frames with references, failed ones as empty texts; refused below {TIMES} texts per dimension; "
        f"interval: jackknife over {GROUPS} groups of frames"
    ),
    reads="captions, references",
    measure=measure,
    missing=missing,
    weights=weights,
    libraries=("transformers",),
)
