"""The summary of one captioner: values of captions added up, text metrics over the corpus. Numbers in, rows out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from storage.tables import Score, Summary
from tasks.errors import MetricUnavailableError
from tasks.java_metrics import tokenize
from tasks.metrics import ALL, CaptionMetric, DerivedMetric, Measured, Metric, Pair, TextMetric, signature

M = TypeVar("M", CaptionMetric, TextMetric, DerivedMetric)


@dataclass
class ScoreSheet:
    """What is known of a captioner's captions."""

    captioner: str
    metrics: Sequence[Metric]
    timeout_seconds: float
    """For each Java program."""
    movies: Mapping[str, str]
    """Caption id to movie id, of every caption."""
    scores: Mapping[str, Mapping[str, float]]
    """Caption id to metric to value."""
    broken: bool = field(default=False, init=False)
    """Whether a metric failed for a reason that may pass."""

    def grounding(self) -> Iterator[Summary]:
        """The metrics that read captions and detections: over all captions, then by movie."""
        groups: dict[str, list[str]] = defaultdict(list, {ALL: list(self.movies)})
        for caption_id, movie_id in self.movies.items():
            groups[f"movie={movie_id}"].append(caption_id)
        for group, caption_ids in groups.items():
            for metric in self._of(CaptionMetric):
                pooled, reason = self._pooled(metric, caption_ids)
                for name in metric.pooled:
                    yield self._summary(metric, name, pooled.get(name), reason, len(caption_ids), group)

    def _of(self, kind: type[M]) -> list[M]:
        return [metric for metric in self.metrics if isinstance(metric, kind)]

    def _pooled(self, metric: CaptionMetric, caption_ids: Sequence[str]) -> tuple[dict[str, float], str | None]:
        """Values over captions, or why there are none: a caption that was not scored may not leave the mean."""
        if not caption_ids:
            return {}, f"there are no captions by {self.captioner!r}"
        missing = [one for one in caption_ids if not metric.values.keys() <= self.scores.get(one, {}).keys()]
        if missing:
            return (
                {},
                f"{len(missing)} of {len(caption_ids)} captions are not scored yet, such as {missing[0]}; run again",
            )
        return metric.pool([self.scores[one] for one in caption_ids]), None

    def texts(self, pairs: Sequence[Pair]) -> Iterator[Summary | Score]:
        """The metrics that read references, and those derived of all; then the values of single captions."""
        values, reasons = self._known(pairs)
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
            for pair, value in zip(pairs, each, strict=True):
                yield Score(caption_id=pair.caption_id, metric=name, value=value)

    def _known(self, pairs: Sequence[Pair]) -> tuple[dict[str, float], dict[str, str | None]]:
        """Pooled values of the captions that have references, so that derived metrics compare like with like."""
        values: dict[str, float] = {}
        reasons: dict[str, str | None] = {}
        for metric in self._of(CaptionMetric):
            pooled, reason = self._pooled(metric, [pair.caption_id for pair in pairs])
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
        except MetricUnavailableError as error:
            self.broken = True
            return [], str(error)

    def _measured(self, metric: TextMetric, pairs: Sequence[Pair], problem: str | None) -> tuple[Measured, str | None]:
        if reason := problem or metric.missing():
            return Measured(corpus={}, each={}), reason
        try:
            return metric.measure(pairs, self.timeout_seconds), None
        except MetricUnavailableError as error:
            self.broken = True
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
    """All texts in one go: the tokenizer takes a second to start."""
    texts = [text for pair in pairs for text in (pair.candidate, *pair.references)]
    tokens = iter(tokenize(texts, timeout_seconds))
    return [
        replace(pair, candidate=next(tokens), references=tuple(next(tokens) for _ in pair.references)) for pair in pairs
    ]


def _derived(
    metric: DerivedMetric, values: Mapping[str, float], reasons: Mapping[str, str | None]
) -> tuple[dict[str, float], str | None]:
    for name in metric.reads:
        if name not in values:
            return {}, f"it needs {name}: {reasons.get(name) or 'which is not among the chosen metrics'}"
    return metric.derive(values), None
