"""Captions -> scores, summaries. Per shard: each caption against its detections. Per captioner: sums, text metrics.

The metrics are tasks/metrics, a file each; this file only feeds them and writes their rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from storage.store import EXECUTION, MENDED, MENDING, Store, TableRef
from storage.tables import Caption, Choice, Detection, Reference, Score, Summary, Verdict
from tasks import tags
from tasks.errors import ConfigError, StoreError
from tasks.metrics import ALL, CaptionMetric, Cited, Metric, Pair, TextMetric, available, load, signature
from tasks.object_naming import clean_label
from tasks.score_sheet import REFERENCED, ScoreSheet, Tally

VERSION = 2
SHARD = "all"
"""The one shard of what is made of all captions of a captioner."""


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Which metrics are computed, and how long the Java programs behind some may take."""

    metrics: Sequence[str] | None = None
    """File names in tasks/metrics; all there are by default."""
    java_timeout_seconds: float = field(default=1800.0, metadata=EXECUTION)
    """For each of PTB tokenizer, METEOR and SPICE. METEOR takes about 3 ms per caption."""

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError, and UnknownNameError for a metric that is not there."""
        if not self.java_timeout_seconds > 0:
            raise ConfigError(f"java_timeout_seconds is {self.java_timeout_seconds}; it has to be above 0.")
        if isinstance(self.metrics, str):
            raise ConfigError(f"metrics is the text {self.metrics!r}; it has to be a list of names.")
        if self.metrics is not None:
            object.__setattr__(self, "metrics", tuple(self.metrics))  # a list of a profile would not be hashable
        for name in self.metrics or ():
            load(name)

    @property
    def chosen(self) -> list[Metric]:
        """The metrics, loaded."""
        return [load(name) for name in (available() if self.metrics is None else self.metrics)]


def score_captions(
    captions: TableRef,
    detections: TableRef,
    checks: TableRef,
    store: Store,
    config: ScoreConfig = ScoreConfig(),
    mended: TableRef | None = None,
    choices: TableRef | None = None,
) -> TableRef:
    """Score one shard of captions against its detections, and those of `mended`: the chosen and the others.

    A failed caption has rows too, with zeros; so has one that `choices` puts first in its frame and does not choose: it
    is quarantined, as if it were not there. Raises StoreError where `checks` is not of these captions.
    """
    chosen = [metric for metric in config.chosen if isinstance(metric, CaptionMetric)]
    output = store.output(
        [Score],
        stage="score",
        shard=captions.shard,
        inputs=[ref.fingerprint for ref in (captions, detections, checks, mended, choices) if ref],
        config=config,
        version=VERSION,
        weights=_signatures(chosen),
        captioner=captions.captioner,
    )
    if output.is_current():
        return output.ref
    found: dict[str, list[Detection]] = defaultdict(list)
    for detection in store.read(detections, Detection, batch_size=256):
        found[detection.frame_id].append(_without_mask(detection))
    labels = _detectable(store, detections, found)
    verdicts = {verdict.caption_id: verdict.verdict for verdict in store.read(checks, Verdict)}
    ranked = store.read(choices, Choice) if choices else ()
    quarantined = {one.caption_id for one in ranked if one.rank == 0 and not one.chosen}
    with output.writer() as write:
        for caption in chain.from_iterable(store.read(ref, Caption) for ref in (captions, mended) if ref):
            if (verdict := verdicts.get(caption.caption_id)) is None:
                raise StoreError(f"{checks.path} has no verdict on {caption.caption_id}. Check the captions again.")
            cited = Cited(
                parsed=tags.parse(caption.text),
                detections=found.get(caption.frame_id, []),
                labels=labels,
                consistent=verdict == "ok",
                failed=verdict == "failed" or caption.caption_id in quarantined,
            )
            for metric in chosen:
                for name, value in metric.each(cited).items():
                    write(Score(caption_id=caption.caption_id, metric=name, value=value))
    return output.ref


def _signatures(chosen: Iterable[Metric]) -> dict[str, str]:
    """Hashed like weights: another version of a metric, or one that can be computed by now, makes new files."""
    lacking = {metric.name for metric in chosen if isinstance(metric, TextMetric) and metric.missing()}
    return {
        metric.name: signature(metric) + (" (not installed)" if metric.name in lacking else "") for metric in chosen
    }


def _without_mask(detection: Detection) -> Detection:
    return replace(detection, mask=None)


def _detectable(store: Store, detections: TableRef, found: Mapping[str, Sequence[Detection]]) -> frozenset[str]:
    """Labels the detector can give, as its file says; of a file that says nothing, those that were given."""
    footer = store.footer(detections.path)
    if footer and (labels := footer.notes.get("labels")):
        return frozenset(map(clean_label, labels))
    return frozenset(one.label for rows in found.values() for one in rows)


def summarise_captions(
    captioner: str,
    store: Store,
    config: ScoreConfig = ScoreConfig(),
) -> TableRef:
    """Summarise the captions of a captioner, all together and by movie; text metrics where references exist.

    One caption per frame counts: the first in rank, the chosen one where one is. A shard without choices counts as it
    was captioned.
    """
    live = _live(captioner, store)
    output = store.output(
        [Summary, Score],
        stage="summarise",
        shard=SHARD,
        inputs=live.inputs,
        config=config,
        version=VERSION,
        weights=_signatures(config.chosen),
        captioner=captioner,
    )
    if output.is_current() and not output.notes.get("again"):
        return output.ref
    groups, pairs = _add_up(live, [one for one in config.chosen if isinstance(one, CaptionMetric)], store)
    sheet = ScoreSheet(captioner, config.chosen, config.java_timeout_seconds, groups)
    with output.writer() as write:
        for row in chain(sheet.grounding(), sheet.texts(pairs)):
            write(row)
        write.notes["again"] = sheet.broken  # what failed here and now may work the next time
    return output.ref


@dataclass(frozen=True)
class _Live:
    """The files of a captioner that stand in the store now."""

    captions: list[TableRef]
    scores: dict[str, TableRef]
    """By shard."""
    references: list[TableRef]
    mended: dict[str, TableRef]
    """By shard."""
    choices: dict[str, TableRef]
    """By shard."""

    @property
    def inputs(self) -> list[str]:
        """Fingerprints of all."""
        by_shard = (self.scores, self.mended, self.choices)
        refs = chain(self.captions, *(refs.values() for refs in by_shard), self.references)
        return [ref.fingerprint for ref in refs]


def _live(captioner: str, store: Store) -> _Live:
    captions = [ref for ref in _refs("captions", captioner, store) if not ref.shard.endswith(MENDED)]
    movies = set(map(_movie_of, captions))
    references = [ref for ref in _refs("references", "", store) if _movie_of(ref) in movies]
    made = [_made_of(captions, table, store) for table in ("scores", "captions", "choices")]
    return _Live(captions, made[0], references, mended=made[1], choices=made[2])


def _made_of(captions: Sequence[TableRef], table: str, store: Store) -> dict[str, TableRef]:
    """By shard the files that were made of these captions; what was made of captions that are gone is left out."""
    made = {}
    for ref in captions:
        stage = MENDING if table == "captions" else ""
        one = store.ref(table, ref.shard, ref.captioner, stage)
        footer = store.footer(one.path) if one else None
        if one and footer and ref.fingerprint in footer.inputs:
            made[ref.shard] = one
    return made


def _movie_of(ref: TableRef) -> str:
    return ref.shard.rpartition("/")[0]


def _refs(table: str, captioner: str, store: Store) -> list[TableRef]:
    """The files of a table by movie, in order."""
    folder = f"{table}/captioner={captioner}" if captioner else table
    refs = []
    for path in store.files.under(folder):
        movie, _, name = path.removeprefix(f"{folder}/").rpartition("/")
        ref = store.ref(table, f"{movie.removeprefix('movie_id=')}/{name.removesuffix('.parquet')}", captioner)
        refs += [ref] if ref else []
    return refs


def _add_up(live: _Live, metrics: Sequence[CaptionMetric], store: Store) -> tuple[dict[str, Tally], list[Pair]]:
    """Scores added up by group, and the captions of frames that have references, with all of those, not yet tokenised.

    Shard by shard: of a caption without references nothing is kept but its share of the sums.
    """
    references: dict[str, list[str]] = defaultdict(list)
    for ref in live.references:
        for reference in store.read(ref, Reference):
            references[reference.frame_id].append(reference.plain_text)
    groups, pairs = {ALL: Tally(), REFERENCED: Tally()}, []
    for captions in live.captions:
        scores = _scores(live.scores.get(captions.shard), store)
        movie = groups.setdefault(f"movie={_movie_of(captions)}", Tally())
        for caption in _counted(captions, live, store):
            told = references.get(caption.frame_id)
            for tally in (groups[ALL], movie, *([groups[REFERENCED]] if told else [])):
                tally.add(metrics, caption.caption_id, scores.get(caption.caption_id, {}))
            if told:
                failed = caption.error is not None or caption.finish_reason == "error"
                text = "" if failed else caption.plain_text
                pairs.append(
                    Pair(
                        caption_id=caption.caption_id, frame_id=caption.frame_id, candidate=text, references=tuple(told)
                    )
                )
    return groups, pairs


def _counted(captions: TableRef, live: _Live, store: Store) -> Iterator[Caption]:
    """The captions of one shard that count: one per frame; a quarantined one without its words."""
    mended, choices = live.mended.get(captions.shard), live.choices.get(captions.shard)
    if not choices:
        yield from store.read(captions, Caption, batch_size=256)
        return
    first = {one.caption_id: one.chosen for one in store.read(choices, Choice) if one.rank == 0}
    for ref in (captions, *([mended] if mended else [])):
        for caption in store.read(ref, Caption, batch_size=256):
            if caption.caption_id in first:
                yield caption if first[caption.caption_id] else replace(caption, plain_text="")


def _scores(ref: TableRef | None, store: Store) -> dict[str, dict[str, float]]:
    """Caption id to metric to value, of one shard."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for score in store.read(ref, Score) if ref else ():
        scores[score.caption_id][score.metric] = score.value
    return scores
