"""Metrics. One is one file with `METRIC`; its name is its configuration value, and nothing is registered elsewhere.

There are three kinds, by what they read. `CaptionMetric`: one caption and its detections; counts are kept per caption
and added up, so ratios of a corpus are never means of ratios unless named so (`_macro`). `TextMetric`: plain captions
and references, tokenised; the value of a corpus is computed from the corpus, and is not the mean of `each`.
`DerivedMetric`: other summaries.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from storage.tables import Detection
from tasks import backends
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One caption and the references of its frame, tokenised: words with one blank between. A failed one is empty."""

    caption_id: str
    frame_id: str
    candidate: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Values of a text metric by name: of the corpus, and of each pair in order."""

    corpus: Mapping[str, float]
    each: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class CaptionMetric:
    """Reads a caption and its detections. `pool` turns the sums of what `each` gives into summary values."""

    name: str
    values: Mapping[str, str]
    """Names of the values in `scores`, with their meaning."""
    pooled: Mapping[str, str]
    """Names of the values in `summaries`, with their meaning."""
    higher_is_better: bool
    convention: str
    each: Callable[[Cited], dict[str, float]]
    pool: Callable[[Mapping[str, float], int], dict[str, float]]
    """(sum of each value over the captions, how many captions: at least one)"""
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TextMetric:
    """Reads plain captions and references.

    `measure` raises MetricUnavailableError where it cannot be computed, TransientError where it may be the next time.
    """

    name: str
    values: Mapping[str, str]
    higher_is_better: bool
    convention: str
    measure: Callable[[Sequence[Pair], float], Measured]
    """(pairs, seconds that a helper process may take)"""
    missing: Callable[[], str | None]
    """What is not installed here, and how to get it; None where the metric can be computed."""
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DerivedMetric:
    """Reads other values of the same captions. `derive` gets them by name; those that are missing give no value."""

    name: str
    values: Mapping[str, str]
    higher_is_better: bool
    convention: str
    reads: tuple[str, ...]
    derive: Callable[[Mapping[str, float]], dict[str, float]]
    libraries: tuple[str, ...] = ()


Metric = CaptionMetric | TextMetric | DerivedMetric


def available() -> list[str]:
    """Names of the metrics."""
    return backends.available(sys.modules[__name__])


def load(name: str) -> Metric:
    """One metric. Raises UnknownNameError with the list."""
    metric: Metric = backends.load(sys.modules[__name__], "metric", name).METRIC
    return metric


def signature(metric: Metric) -> str:
    """How it is computed: convention, and the versions of the libraries."""
    return "; ".join([metric.convention, *(f"{library} {_version(library)}" for library in metric.libraries)])


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "not installed"


def harmonic_mean(one: float, other: float) -> float:
    """Of two ratios; 0 where both are 0."""
    return 2 * one * other / (one + other) if one + other else 0.0


_PREFACE = """\
# Metrics

Made by `python -m docs.generate` from tasks/metrics; do not edit. `scores` holds the values of single captions,
`summaries` those of a captioner; `signature` there says how a value was computed, `reason` why there is none.

A failed caption scores zero and stays in every mean: its grounding ratios are 0, and as text it is the empty string,
which has 0 in every text metric. In ratios of pooled counts (`_micro`) a failed caption is one mention that is wrong,
so it costs precision, and what was detected in its frame is not found, so it costs recall. A reference without any
word is left out.
"""


def metrics_markdown() -> str:
    """The page docs/metrics.md."""
    parts = [_PREFACE]
    for metric in map(load, available()):
        better = "higher is better" if metric.higher_is_better else "lower is better"
        parts += [f"\n## {metric.name}\n", f"{metric.convention}. {better.capitalize()}.\n"]
        tables = {"values": metric.values}
        if isinstance(metric, CaptionMetric):
            tables = {"per caption": metric.values, "per captioner, and per movie": metric.pooled}
        for title, values in tables.items():
            parts.append(f"| {title} | meaning |\n|---|---|")
            parts += [f"| `{name}` | {meaning} |" for name, meaning in values.items()]
            parts.append("")
    return "\n".join(parts).rstrip() + "\n"
