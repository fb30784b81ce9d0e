"""Two captioners on the frames that both have: is one better, or is it chance?

Both are measured on the same frames against the same references, however many. The interval of the difference is from
frames drawn with repetition, the same ones for both (a paired bootstrap); the p-value from approximate randomisation,
which exchanges the two captions of a frame by a coin: how often does chance make a difference as large? See
tasks/resampling.py. p-values are of one metric each: of many metrics, some will be small by chance.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from storage.errors import ParametersError, UnknownNameError
from storage.store import Store, captioners_of
from storage.tables import Frame
from tasks.corpora import Corpus, Told
from tasks.counted_captions import corpus_of, counted, live_files, references_of, scores_of, words
from tasks.errors import StoreError
from tasks.measuring import Measuring, Outcome, statistics_of
from tasks.metrics import (
    CandidateMetric,
    CaptionMetric,
    CorpusMetric,
    DerivedMetric,
    Metric,
    Pair,
    TextMetric,
    better,
    names_in_summaries,
)
from tasks.paired_samples import Sampler, Samples, pooling
from tasks.resampling import Numbers, interval, p_value
from tasks.score_config import DEFAULT, ScoreConfig

NO_RESAMPLES = "resamples is 0: no interval of the difference, no p-value"
NO_SUMS = "it is no sum over captions: no interval of the difference, no p-value"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One value of both captioners. What cannot be said is None, and `reason` says why."""

    metric: str
    higher_is_better: bool | None
    one: float | None
    other: float | None
    difference: float | None
    """`one` less `other`."""
    low: float | None
    high: float | None
    """Bounds of the difference."""
    p_value: float | None
    frames: int
    reason: str | None


@dataclass
class Side:
    """One captioner on the shared frames, in their order."""

    told: list[Told] = field(default_factory=list)
    scores: list[dict[str, float]] = field(default_factory=list)


def compare_captioners(one: str, other: str, store: Store, config: ScoreConfig = DEFAULT) -> list[Comparison]:
    """Every value of the chosen metrics, for both.

    Raises ParametersError where both are the same, UnknownNameError for a captioner that the store does not have,
    StoreError where the two have no frame in common, or a captioner has no captions.
    """
    if not (known := captioners_of(store)):
        raise StoreError(f"{store.location} holds no captions to compare. Fill it with `caption-movies run`.")
    for captioner in (one, other):
        if captioner not in known:
            raise UnknownNameError("captioner", captioner, known)
    if one == other:
        raise ParametersError(f"{one} would be compared with itself. Name two captioners.")
    sides, corpora = _sides(one, other, store, config)
    frame_ids = [told.frame_id for told in sides[0].told]
    referenced = [place for place, told in enumerate(sides[0].told) if told.references]
    measuring = Measuring(config.java_timeout_seconds)
    found: dict[str, Samples] = {}
    reasons: dict[str, str] = {}
    sampler = Sampler(frame_ids, config.resamples, config.seed)
    for metric in config.chosen:
        if isinstance(metric, CaptionMetric):
            _add_caption_metric(metric, sides, sampler, found, reasons)
    with_references = [frame_ids[place] for place in referenced]
    over_references = Sampler(with_references, config.resamples, config.seed)
    _add_texts(config.chosen, sides, referenced, measuring, over_references, found, reasons)
    plain = _add_corpora(config.chosen, corpora, measuring, sampler, found, reasons)
    _add_derived(config.chosen, sides, referenced, over_references, found, reasons)
    return [
        _comparison(metric, name, found.get(name), plain.get(name), reasons.get(name), len(frame_ids), len(referenced))
        for metric in config.chosen
        for name in names_in_summaries(metric)
    ]


def _sides(one: str, other: str, store: Store, config: ScoreConfig) -> tuple[tuple[Side, Side], list[Corpus]]:
    tables, corpora = [], []
    for captioner in (one, other):
        live = live_files(captioner, store)
        references = references_of(live, store)
        rows: dict[str, tuple[Told, dict[str, float]]] = {}
        for ref in live.captions:
            scores = scores_of(live.scores.get(ref.shard), store)
            for caption in counted(ref, live, store):
                told = Told(
                    caption_id=caption.caption_id,
                    frame_id=caption.frame_id,
                    text=words(caption),
                    references=tuple(references.get(caption.frame_id, ())),
                )
                rows.setdefault(caption.frame_id, (told, scores.get(caption.caption_id, {})))
        if not rows:
            raise StoreError(f"there are no captions by {captioner!r} in {store.location}.")
        tables.append(rows)
        corpora.append(corpus_of(live, store, config.models))
    shared = [frame_id for frame_id in tables[0] if frame_id in tables[1]]
    if not shared:
        raise StoreError(f"{one!r} and {other!r} have no frame in common: caption the same movies with both.")
    sides = [Side([rows[key][0] for key in shared], [rows[key][1] for key in shared]) for rows in tables]
    kept = frozenset(shared)
    return (sides[0], sides[1]), [_only(corpus, kept, side) for corpus, side in zip(corpora, sides, strict=True)]


def _only(corpus: Corpus, kept: frozenset[str], side: Side) -> Corpus:
    """A corpus of the shared frames."""

    def frames() -> Iterator[Frame]:
        return (frame for frame in corpus.frames() if frame.frame_id in kept)

    return replace(corpus, captions=lambda: iter(side.told), frames=frames, kept={})


def _add_caption_metric(
    metric: CaptionMetric,
    sides: Sequence[Side],
    sampler: Sampler,
    found: dict[str, Samples],
    reasons: dict[str, str],
    places: Sequence[int] | None = None,
) -> None:
    tables = []
    for side in sides:
        scores = side.scores if places is None else [side.scores[place] for place in places]
        if lost := sum(not metric.values.keys() <= row.keys() for row in scores):
            reasons |= dict.fromkeys(metric.pooled, f"{lost} captions are not scored yet; run again")
            return
        tables.append(np.array([[1.0, *(row[name] for name in metric.values)] for row in scores]))
    if len(tables[0]):
        found |= sampler.samples(tables[0], tables[1], pooling(metric))


def _add_texts(
    chosen: Sequence[Metric],
    sides: Sequence[Side],
    referenced: Sequence[int],
    measuring: Measuring,
    sampler: Sampler,
    found: dict[str, Samples],
    reasons: dict[str, str],
) -> None:
    """Text metrics of both sides, tokenised and measured in one go: a frame is one document to CIDEr-D."""
    texts = [metric for metric in chosen if isinstance(metric, TextMetric)]
    over = [metric for metric in chosen if isinstance(metric, CandidateMetric)]
    pairs = [_pair(side.told[place]) for side in sides for place in referenced]
    tokenised, problem = measuring.tokenised(pairs, texts)
    outcomes = measuring.texts(texts, tokenised, problem)
    for metric in texts:
        _add_halves(metric, outcomes[metric.name], tokenised, sampler, found, reasons)
    half = len(referenced)
    for one in over:
        lacking = [name for name in one.reads if name not in outcomes or outcomes[name].reason]
        if lacking or not tokenised:
            why = outcomes[lacking[0]].reason if lacking and lacking[0] in outcomes else "it is not among the metrics"
            reasons |= dict.fromkeys(one.values, problem or f"it needs {', '.join(lacking)}: {why}")
            continue
        each = {key: values for name in one.reads for key, values in outcomes[name].measured.each.items()}
        parts = [
            one.combine(tokenised[part], {key: values[part] for key, values in each.items()}).statistics
            for part in (slice(0, half), slice(half, None))
        ]
        if parts[0] and parts[1]:
            found |= sampler.samples(parts[0].rows, parts[1].rows, parts[0].values)


def _pair(told: Told) -> Pair:
    return Pair(caption_id=told.caption_id, frame_id=told.frame_id, candidate=told.text, references=told.references)


def _add_halves(
    metric: Metric,
    outcome: Outcome,
    pairs: Sequence[Pair],
    sampler: Sampler,
    found: dict[str, Samples],
    reasons: dict[str, str],
) -> None:
    statistics = statistics_of(outcome.measured)
    if outcome.reason or statistics is None:
        reasons |= {name: why for name in metric.values if (why := outcome.why(name))}
        return
    half = len(pairs) // 2
    found |= sampler.samples(statistics.rows[:half], statistics.rows[half:], statistics.values)


def _add_corpora(
    chosen: Sequence[Metric],
    corpora: Sequence[Corpus],
    measuring: Measuring,
    sampler: Sampler,
    found: dict[str, Samples],
    reasons: dict[str, str],
) -> dict[str, tuple[float, float]]:
    """Metrics over whole corpora; gives the values of those that are no sums."""
    metrics = [metric for metric in chosen if isinstance(metric, CorpusMetric)]
    one, other = (measuring.corpora(metrics, corpus) for corpus in corpora)
    plain: dict[str, tuple[float, float]] = {}
    for metric in metrics:
        outcomes = (one[metric.name], other[metric.name])
        statistics = [statistics_of(outcome.measured) for outcome in outcomes]
        for name in metric.values:
            why = next((why for outcome in outcomes if (why := outcome.why(name))), None)
            if why:
                reasons[name] = why
            elif not all(statistics):
                plain[name] = (outcomes[0].measured.corpus[name], outcomes[1].measured.corpus[name])
                reasons[name] = NO_SUMS
        if statistics[0] and statistics[1]:
            samples = sampler.samples(statistics[0].rows, statistics[1].rows, statistics[0].values)
            found |= {name: sample for name, sample in samples.items() if name not in reasons}
    return plain


def _add_derived(
    chosen: Sequence[Metric],
    sides: Sequence[Side],
    referenced: Sequence[int],
    sampler: Sampler,
    found: dict[str, Samples],
    reasons: dict[str, str],
) -> None:
    """Derived metrics, of values of the frames that have references."""
    known = dict(found)
    for metric in chosen:
        if isinstance(metric, CaptionMetric):
            _add_caption_metric(metric, sides, sampler, known, {}, referenced)
    for metric in chosen:
        if not isinstance(metric, DerivedMetric):
            continue
        if lacking := [name for name in metric.reads if name not in known]:
            why = reasons.get(lacking[0], "it is not among the metrics")
            reasons |= dict.fromkeys(metric.values, f"it needs {lacking[0]}: {why}")
            continue
        read = [known[name] for name in metric.reads]
        parts = [
            [_derived(metric, [np.atleast_1d(getattr(one, what)[side]) for one in read]) for side in (0, 1)]
            for what in ("values", "resampled", "exchanged")
        ]
        for name in metric.values:
            found[name] = Samples(
                values=(float(parts[0][0][name][0]), float(parts[0][1][name][0])),
                resampled=(parts[1][0][name], parts[1][1][name]),
                exchanged=(parts[2][0][name], parts[2][1][name]),
            )


def _derived(metric: DerivedMetric, columns: Sequence[Numbers]) -> dict[str, Numbers]:
    rows = [metric.derive(dict(zip(metric.reads, row, strict=True))) for row in np.column_stack(list(columns)).tolist()]
    return {name: np.array([row[name] for row in rows]) for name in metric.values}


def _comparison(
    metric: Metric,
    name: str,
    samples: Samples | None,
    plain: tuple[float, float] | None,
    reason: str | None,
    frames: int,
    referenced: int,
) -> Comparison:
    values = samples.values if samples else plain
    difference = values[0] - values[1] if values else None
    bounds = interval(samples.resampled[0] - samples.resampled[1]) if samples else None
    by_chance = samples.exchanged[0] - samples.exchanged[1] if samples else None
    chance = p_value(difference, by_chance) if difference is not None and by_chance is not None else None
    if samples and chance is None:
        reason = NO_RESAMPLES
    reads_references = not isinstance(metric, CaptionMetric | CorpusMetric)
    return Comparison(
        metric=name,
        higher_is_better=better(metric, name),
        one=values[0] if values else None,
        other=values[1] if values else None,
        difference=difference,
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        p_value=chance,
        frames=referenced if reads_references else frames,
        reason=None if chance is not None else reason or "no frame that both have has references",
    )
