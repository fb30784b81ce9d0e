"""The summary of one captioner: values of captions added up, text metrics over the corpus. Numbers in, rows out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from storage.tables import Score, Summary
from tasks.errors import MetricUnavailableError, TransientError
from tasks.java_metrics import tokenize
from tasks.metrics import ALL, CaptionMetric, DerivedMetric, Measured, Metric, Pair, TextMetric, signature

M = TypeVar("M", CaptionMetric, TextMetric, DerivedMetric)
REFERENCED = "referenced"
"""The group of the captions whose frame has references. It has no summaries of its own."""
WORDLESS = "-"
"""Stands for references without any word: the tokenizer drops dashes, so no caption has it."""


@dataclass
class Tally:
    """Scores of a group's captions, added up. Its size does not depend on how many captions there are."""

    captions: int = 0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Name of a value to its sum over the captions that have it."""
    unscored: dict[str, str] = field(default_factory=dict)
    """Metric to the first caption that it did not score, as id."""
    scored: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Metric to how many captions it scored."""

    def add(self, metrics: Sequence[CaptionMetric], caption_id: str, values: Mapping[str, float]) -> None:
        """One caption more, with its values by name; empty when it was not scored."""
        self.captions += 1
        for metric in metrics:
            if not metric.values.keys() <= values.keys():
                self.unscored.setdefault(metric.name, caption_id)
                continue
            self.scored[metric.name] += 1
            for name in metric.values:
                self.sums[name] += values[name]


@dataclass
class ScoreSheet:
    """What is known of a captioner's captions."""

    captioner: str
    metrics: Sequence[Metric]
    timeout_seconds: float
    """For each Java program."""
    groups: Mapping[str, Tally]
    """ALL, REFERENCED, and one per movie."""
    broken: bool = field(default=False, init=False)
    """Whether a metric failed for a reason that may pass: a program took too long, or died."""

    def grounding(self) -> Iterator[Summary]:
        """The metrics that read captions and detections: over all captions, then by movie."""
        for group, tally in self.groups.items():
            for metric in self._of(CaptionMetric) if group != REFERENCED else ():
                pooled, reason = self._pooled(metric, tally)
                for name in metric.pooled:
                    yield self._summary(metric, name, pooled.get(name), reason, tally.captions, group)

    def _of(self, kind: type[M]) -> list[M]:
        return [metric for metric in self.metrics if isinstance(metric, kind)]

    def _pooled(self, metric: CaptionMetric, tally: Tally) -> tuple[dict[str, float], str | None]:
        """Values over captions, or why there are none: a caption that was not scored may not leave the mean."""
        if not tally.captions:
            return {}, f"there are no captions by {self.captioner!r}"
        if missing := tally.captions - tally.scored[metric.name]:
            such = tally.unscored[metric.name]
            return {}, f"{missing} of {tally.captions} captions are not scored yet, such as {such}; run again"
        return metric.pool(tally.sums, tally.captions), None

    def texts(self, pairs: Sequence[Pair]) -> Iterator[Summary | Score]:
        """The metrics that read references, and those derived of all; then the values of single captions.

        A failed or empty caption has 0 in every metric, whatever the metric makes of it.
        """
        values, reasons = self._known()
        singles: dict[str, Sequence[float]] = {}
        tokenised, problem = self._tokenised(pairs)
        for metric in self._of(TextMetric):
            measured, reason = self._measured(metric, tokenised, problem)
            values |= measured.corpus
            singles |= measured.each
            for name in metric.values:
                reasons[name] = reason
                yield self._summary(metric, name, measured.corpus.get(name), reason, len(pairs))
        for derived in self._of(DerivedMetric):
            found, reason = _derived(derived, values, reasons)
            for name in derived.values:
                yield self._summary(derived, name, found.get(name), reason, len(pairs))
        for name, each in singles.items():
            for pair, value in zip(tokenised, each, strict=True):
                yield Score(caption_id=pair.caption_id, metric=name, value=value if pair.candidate else 0.0)

    def _known(self) -> tuple[dict[str, float], dict[str, str | None]]:
        """Pooled values of the captions that have references, so that derived metrics compare like with like."""
        values: dict[str, float] = {}
        reasons: dict[str, str | None] = {}
        for metric in self._of(CaptionMetric):
            pooled, reason = self._pooled(metric, self.groups[REFERENCED])
            values |= pooled
            reasons |= dict.fromkeys(metric.pooled, reason)
        return values, reasons

    def _tokenised(self, pairs: Sequence[Pair]) -> tuple[list[Pair], str | None]:
        """The pairs in tokens, or why there are none."""
        if not pairs:
            return [], "no frame with a caption has references; add them with `caption-movies references FILE`"
        wanted = [metric for metric in self._of(TextMetric) if metric.missing() is None]
        if not wanted:
            return [], None  # every metric has its own reason
        try:
            return _tokenise(pairs, self.timeout_seconds), None
        except (MetricUnavailableError, TransientError) as error:
            self.broken |= isinstance(error, TransientError)
            return [], str(error)

    def _measured(self, metric: TextMetric, pairs: Sequence[Pair], problem: str | None) -> tuple[Measured, str | None]:
        if reason := problem or metric.missing():
            return Measured(corpus={}, each={}), reason
        try:
            return metric.measure(pairs, self.timeout_seconds), None
        except (MetricUnavailableError, TransientError) as error:
            self.broken |= isinstance(error, TransientError)
            return Measured(corpus={}, each={}), str(error)

    def _summary(
        self, metric: Metric, name: str, value: float | None, reason: str | None, captions: int, group: str = ALL
    ) -> Summary:
        return Summary(
            captioner=self.captioner,
            metric=name,
            group=group,
            value=value,
            captions=captions,
            signature=signature(metric),
            reason=reason,
        )


def _tokenise(pairs: Sequence[Pair], timeout_seconds: float) -> list[Pair]:
    """All texts in one go: the tokenizer takes a second to start.

    References without a word are left out, for an empty caption would match them; where all are, nothing matches.
    """
    texts = [text for pair in pairs for text in (pair.candidate, *pair.references)]
    tokens = iter(tokenize(texts, timeout_seconds))
    tokenised = []
    for pair in pairs:
        candidate, references = next(tokens), [next(tokens) for _ in pair.references]
        worded = tuple(filter(None, references)) or (WORDLESS,)
        tokenised.append(replace(pair, candidate=candidate, references=worded))
    return tokenised


def _derived(
    metric: DerivedMetric, values: Mapping[str, float], reasons: Mapping[str, str | None]
) -> tuple[dict[str, float], str | None]:
    for name in metric.reads:
        if name not in values:
            return {}, f"it needs {name}: {reasons.get(name) or 'which is not among the chosen metrics'}"
    return metric.derive(values), None
