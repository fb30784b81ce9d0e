"""Metrics. One is one file with `METRIC`; its name is its configuration value, and nothing is registered elsewhere.

By what they read there are five kinds. `CaptionMetric`: one caption and its detections; counts are kept per caption
and added up, so ratios of a corpus are never means of ratios unless named so (`_macro`). `TextMetric`: plain captions
and references, tokenised; the value of a corpus is computed from the corpus, and is not the mean of `each`.
`CorpusMetric`: all captions in plain words, with references where there are some, and the frames' pictures.
`CandidateMetric`: single values of text metrics, over all candidates of a frame. `DerivedMetric`: other summaries.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Protocol

from storage.tables import Detection
from tasks import backends
from tasks.corpora import Corpus, Models
from tasks.resampling import Statistics
from tasks.tags import Parsed

ALL = "all"
"""The group of all captions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """One caption beside what was detected in its frame. `failed`: there is no caption."""

    parsed: Parsed
    detections: Sequence[Detection]
    labels: frozenset[str]
    """What the detector can detect, as ids write it."""
    consistent: bool
    failed: bool
    violations: int = 0
    """Faults of its tags."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One caption and the references of its frame, tokenised: words with one blank between. A failed one is empty."""

    caption_id: str
    frame_id: str
    candidate: str
    references: tuple[str, ...]
    counts: bool = True
    """Whether it is the caption of its frame that counts; the others are candidates too, for metrics over those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Values by name: of the corpus, and of each caption in order; NaN where a caption has none."""

    corpus: Mapping[str, float]
    each: Mapping[str, Sequence[float]]
    statistics: Statistics | None = None
    """What the corpus values are made of; None where each is the mean of `each`."""
    intervals: Mapping[str, tuple[float, float]] | None = None
    """Of a metric that is no sum over captions, and finds its intervals in another way; its convention says how."""
    reasons: Mapping[str, str] | None = None
    """Why a value is not in `corpus` though others are."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """What every metric says of itself."""

    name: str
    values: Mapping[str, str]
    """Names of the values, with their meaning."""
    higher_is_better: bool | None
    """None: neither is."""
    highest: float | Mapping[str, float] = 1.0
    """The largest value that is possible, of all or by name of value; the smallest is 0. Counts have none."""
    convention: str
    """Settings and rules: whatever another program would have to do alike for the same numbers."""
    version: str = "1"
    """Bump when its numbers change."""
    tokenizer: str = ""
    """How texts are cut into words; empty where they are not."""
    libraries: tuple[str, ...] = ()
    """Packages that compute it."""


@dataclass(frozen=True, kw_only=True)
class CaptionMetric(Declared):
    """Reads a caption and its detections. `pool` turns the sums of what `each` gives into summary values.

    `values` are those in `scores`.
    """

    pooled: Mapping[str, str]
    """Names of the values in `summaries`, with their meaning."""
    each: Callable[[Cited], dict[str, float]]
    pool: Callable[[Mapping[str, float], float], dict[str, float]]
    """(sum of each value over the captions, how many captions: at least one)"""


class Prepared(Protocol):
    """A text metric's program that was started early."""

    def measure(self, pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
        """As `TextMetric.measure`, with the program that is there."""

    def close(self) -> None:
        """End the program."""


@dataclass(frozen=True, kw_only=True)
class TextMetric(Declared):
    """Reads plain captions and references.

    `measure` raises MetricUnavailableError where it cannot be computed, TransientError where it may be the next time.
    """

    measure: Callable[[Sequence[Pair], float], Measured]
    """(pairs, seconds that a helper process may take)"""
    missing: Callable[[], str | None]
    """What is not installed here, and how to get it; None where the metric can be computed."""
    prepare: Callable[[float], Prepared] | None = None
    """Starts what takes seconds to start, while the texts are still being cut; (seconds it may take in all)."""


@dataclass(frozen=True, kw_only=True)
class CorpusMetric(Declared):
    """Reads all captions of a captioner, and the pictures of their frames. `measure` raises as that of a TextMetric."""

    reads: str = "captions"
    """Of captions, references, frames."""
    measure: Callable[[Corpus], Measured]
    """`each` is in the order of the corpus' captions."""
    missing: Callable[[Models], str | None]
    """What is not installed or not configured, and how to get it; None where the metric can be computed."""
    weights: Callable[[Models], dict[str, str]] = lambda models: {}
    """Digests of the models that it asks, by name. Raises CheckpointError, TransientError."""


@dataclass(frozen=True, kw_only=True)
class CandidateMetric(Declared):
    """Reads single values of text metrics, of all candidates of each frame."""

    reads: tuple[str, ...]
    """Names of the text metrics; the values that `combine` gets are named as theirs."""
    combine: Callable[[Sequence[Pair], Mapping[str, Sequence[float]]], Measured]


@dataclass(frozen=True, kw_only=True)
class DerivedMetric(Declared):
    """Reads other values of the same captions. `derive` gets them by name; those that are missing give no value."""

    reads: tuple[str, ...]
    derive: Callable[[Mapping[str, float]], dict[str, float]]


Metric = CaptionMetric | TextMetric | CorpusMetric | CandidateMetric | DerivedMetric


def available() -> list[str]:
    """Names of the metrics."""
    return backends.available(sys.modules[__name__])


def load(name: str) -> Metric:
    """One metric. Raises UnknownNameError with the list."""
    metric: Metric = backends.load(sys.modules[__name__], "metric", name).METRIC
    return metric


def signature(metric: Metric) -> str:
    """How it is computed: name, version, tokenizer, convention, and the versions of the libraries."""
    said = [f"{metric.name} {metric.version}", metric.tokenizer, metric.convention, versions(metric)]
    return "; ".join(filter(None, said))


def versions(metric: Metric) -> str:
    """The libraries that compute it, with their versions."""
    return ", ".join(f"{library} {_version(library)}" for library in metric.libraries)


def names_in_summaries(metric: Metric) -> Mapping[str, str]:
    """Names of a metric's values in `summaries`, with their meaning."""
    return metric.pooled if isinstance(metric, CaptionMetric) else metric.values


def highest(metric: Metric, name: str) -> float:
    """The largest value that a metric's value can have; infinity where there is none."""
    if name.endswith("_total"):
        return math.inf
    return metric.highest.get(name, 1.0) if isinstance(metric.highest, Mapping) else metric.highest


def better(metric: Metric, name: str) -> bool | None:
    """Whether a higher value is better; None where neither is, as of counts."""
    return None if name.endswith("_total") else metric.higher_is_better


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def harmonic_mean(one: float, other: float) -> float:
    """Of two ratios; 0 where both are 0."""
    return 2 * one * other / (one + other) if one + other else 0.0
