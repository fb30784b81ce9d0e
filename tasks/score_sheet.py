"""The summary of one captioner: values of captions added up, text metrics over the corpus. Numbers in, rows out."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypeVar

import numpy as np

from storage.tables import Alarm, Score, Summary
from storage.tables import Metric as MetricRow
from tasks.alarms import Equals, alarms
from tasks.corpora import Corpus
from tasks.errors import CheckpointError, ConfigError, TransientError
from tasks.measuring import Measuring, Outcome, is_a_number
from tasks.metrics import (
    ALL,
    CandidateMetric,
    CaptionMetric,
    CorpusMetric,
    DerivedMetric,
    Metric,
    Pair,
    TextMetric,
    better,
    load,
    names_in_summaries,
    signature,
    versions,
)
from tasks.metrics.length import WORD
from tasks.resampling import SAID, Numbers, interval
from tasks.tally import Tally

M = TypeVar("M", CaptionMetric, TextMetric, CorpusMetric, CandidateMetric, DerivedMetric)
REFERENCED = "referenced"
"""The group of the captions whose frame has references. It has no summaries of its own."""
DIGEST_DIGITS = 16


@dataclass
class ScoreSheet:
    """What is known of a captioner's captions."""

    captioner: str
    metrics: Sequence[Metric]
    measuring: Measuring
    groups: Mapping[str, Tally]
    """ALL, REFERENCED, and one per movie."""
    corpus: Corpus
    references: str = field(default="", init=False)
    """Digest of the references that were used."""
    equals: Equals = field(default=Equals(), init=False)
    """How many captions are a reference, once the texts were measured."""

    @property
    def broken(self) -> bool:
        """Whether a metric failed for a reason that may pass."""
        return self.measuring.broken

    def rows(self, pairs: Sequence[Pair]) -> Iterator[Summary | Score | MetricRow | Alarm]:
        """Everything: `pairs` are the captions of frames with references, not yet tokenised."""
        self.references = references_digest(pairs)
        values: dict[str, float] = {}
        for row in chain(self.grounding(), self.texts(pairs), self.corpora()):
            if isinstance(row, Summary) and row.group == ALL and row.value is not None:
                values[row.metric] = row.value
            yield row
        yield from self.declared()
        yield from alarms(self.captioner, values, self.metrics, self.equals)

    def grounding(self) -> Iterator[Summary]:
        """The metrics that read captions and detections: over all captions, then by movie."""
        for group, tally in self.groups.items():
            for metric in self._of(CaptionMetric) if group != REFERENCED else ():
                pooled, reason = tally.pooled(metric, self.captioner)
                bounds = tally.bounds(metric) if pooled else {}
                for name in metric.pooled:
                    yield self._summary(metric, name, pooled.get(name), bounds.get(name), reason, tally.captions, group)

    def texts(self, pairs: Sequence[Pair]) -> Iterator[Summary | Score]:
        """The metrics that read references, and those derived of all; then the values of single captions.

        A failed or empty caption has 0 in every metric, whatever the metric makes of it.
        """
        read = [load(name) for one in self._of(CandidateMetric) for name in one.reads]
        asked = {one.name: one for one in (*self.metrics, *read) if isinstance(one, TextMetric)}
        tokenised, problem = self.measuring.tokenised(pairs, asked.values())
        self.equals = Equals.among(tokenised or map(_in_words, pairs))
        counted = [pair for pair in tokenised if pair.counts]
        outcomes = self.measuring.texts(self._of(TextMetric), counted, problem)
        over_all = self.measuring.candidates(self._of(CandidateMetric), tokenised, problem, outcomes)
        self.measuring.resample(outcomes.values())
        self.measuring.resample(over_all.values())
        number = sum(pair.counts for pair in pairs)
        for one in self._of(TextMetric):
            yield from self._summaries(one, outcomes[one.name], number)
        for metric in self._of(CandidateMetric):
            yield from self._summaries(metric, over_all[metric.name], number)
        yield from self._derived(outcomes | over_all, number)
        told = {pair.caption_id for pair in tokenised if pair.candidate}
        for outcome in (*outcomes.values(), *over_all.values()):
            yield from _scores(outcome, told)

    def corpora(self) -> Iterator[Summary | Score]:
        """The metrics over all captions, referenced or not."""
        metrics = self._of(CorpusMetric)
        outcomes = self.measuring.corpora(metrics, self.corpus)
        self.measuring.resample(outcomes.values())
        for metric in metrics:
            outcome = outcomes[metric.name]
            yield from self._summaries(metric, outcome, len(outcome.caption_ids))
            yield from _scores(outcome)

    def declared(self) -> Iterator[MetricRow]:
        """What each value is, and how it was computed."""
        for metric in self.metrics:
            for name, meaning in names_in_summaries(metric).items():
                yield MetricRow(
                    captioner=self.captioner,
                    metric=name,
                    family=metric.name,
                    meaning=meaning,
                    higher_is_better=better(metric, name),
                    reads=_reads(metric),
                    version=metric.version,
                    tokenizer=metric.tokenizer,
                    settings=metric.convention,
                    libraries=versions(metric),
                    models=json.dumps(self._weights(metric), sort_keys=True),
                    references_digest=self.references if "references" in _reads(metric) else "",
                    resamples=self.measuring.resamples,
                )

    def _derived(self, outcomes: Mapping[str, Outcome], captions: int) -> Iterator[Summary]:
        values, reasons, drawn = self._known()
        for outcome in outcomes.values():
            values |= outcome.measured.corpus
            drawn |= outcome.resampled
        reasons |= {
            name: outcomes[metric.name].why(name)
            for metric in self.metrics
            if metric.name in outcomes
            for name in metric.values
        }
        for metric in self._of(DerivedMetric):
            found, reason = _derive(metric, values, reasons)
            samples = _derived_samples(metric, drawn)
            for name in metric.values:
                bounds = interval(samples[name]) if name in samples and name in found and captions > 1 else None
                yield self._summary(metric, name, found.get(name), bounds, reason, captions)

    def _known(self) -> tuple[dict[str, float], dict[str, str | None], dict[str, Numbers]]:
        """Pooled values of the captions that have references, so that derived metrics compare like with like."""
        values: dict[str, float] = {}
        reasons: dict[str, str | None] = {}
        drawn: dict[str, Numbers] = {}
        wanted = {name for metric in self._of(DerivedMetric) for name in metric.reads}
        tally = self.groups[REFERENCED]
        for metric in self._of(CaptionMetric):
            pooled, reason = tally.pooled(metric, self.captioner)
            values |= pooled
            reasons |= dict.fromkeys(metric.pooled, reason)
            if wanted & metric.pooled.keys() and pooled:
                drawn |= tally.resampled(metric)
        return values, reasons, drawn

    def _of(self, kind: type[M]) -> list[M]:
        return [metric for metric in self.metrics if isinstance(metric, kind)]

    def _weights(self, metric: Metric) -> dict[str, str]:
        return weights_of(metric, self.corpus) if isinstance(metric, CorpusMetric) else {}

    def _summaries(self, metric: Metric, outcome: Outcome, captions: int) -> Iterator[Summary]:
        for name in metric.values:
            value, why = outcome.measured.corpus.get(name), outcome.why(name)
            yield self._summary(metric, name, value, outcome.bounds(name), why, captions)

    def _summary(
        self,
        metric: Metric,
        name: str,
        value: float | None,
        bounds: tuple[float, float] | None,
        reason: str | None,
        captions: int,
        group: str = ALL,
    ) -> Summary:
        said = [signature(metric), *(f"{what} {digest[:12]}" for what, digest in self._weights(metric).items())]
        if "references" in _reads(metric) and self.references:
            said.append(f"references {self.references}")
        if bounds and SAID:
            resampled = f"interval: {SAID}, {self.measuring.resamples} resamples, seed {self.measuring.seed}"
            said += [resampled] if "interval:" not in metric.convention else []
        return Summary(
            captioner=self.captioner,
            metric=name,
            group=group,
            value=value,
            low=bounds[0] if bounds else None,
            high=bounds[1] if bounds else None,
            captions=captions,
            signature="; ".join(said),
            reason=reason,
        )


def _in_words(pair: Pair) -> Pair:
    """For a copy to be told where no metric has the texts cut, or Java is not there."""
    candidate, *references = (" ".join(WORD.findall(text.lower())) for text in (pair.candidate, *pair.references))
    return replace(pair, candidate=candidate, references=tuple(references))


def _scores(outcome: Outcome, told: Iterable[str] | None = None) -> Iterator[Score]:
    for name, each in outcome.measured.each.items():
        for caption_id, value in zip(outcome.caption_ids, each, strict=True):
            if is_a_number(value):
                yield Score(
                    caption_id=caption_id, metric=name, value=value if told is None or caption_id in told else 0.0
                )


def references_digest(pairs: Iterable[Pair]) -> str:
    """Of all frames' references, as they were imported: equal digests are equal sets. Empty without references."""
    found = sorted({pair.frame_id: sorted(pair.references) for pair in pairs}.items())
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:DIGEST_DIGITS] if found else ""


def weights_of(metric: CorpusMetric, corpus: Corpus) -> dict[str, str]:
    """Digests of the models a metric asks; empty where they cannot be had, which the metric's reason tells."""
    try:
        return metric.weights(corpus.models)
    except (CheckpointError, ConfigError, TransientError):
        return {}


def _reads(metric: Metric) -> str:
    if isinstance(metric, CaptionMetric):
        return "captions, detections"
    if isinstance(metric, TextMetric):
        return "captions, references"
    if isinstance(metric, CorpusMetric):
        return metric.reads
    return "captions, references: " + ", ".join(metric.reads)


def _derive(
    metric: DerivedMetric, values: Mapping[str, float], reasons: Mapping[str, str | None]
) -> tuple[dict[str, float], str | None]:
    for name in metric.reads:
        if name not in values:
            return {}, f"it needs {name}: {reasons.get(name) or 'which is not among the chosen metrics'}"
    return metric.derive(values), None


def _derived_samples(metric: DerivedMetric, drawn: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """A derived metric over the resamples; empty where one that it reads was not resampled."""
    if not set(metric.reads) <= drawn.keys():
        return {}
    columns = np.column_stack([drawn[name] for name in metric.reads])
    rows = [metric.derive(dict(zip(metric.reads, row, strict=True))) for row in columns.tolist()]
    return {name: np.array([row[name] for row in rows]) for name in metric.values}
