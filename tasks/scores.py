"""Captions -> scores, summaries. Per shard: each caption against its detections. Per captioner: sums, text metrics.

The metrics are tasks/metrics, a file each; this file only feeds them and writes their rows.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from storage.store import EXECUTION, Store, TableRef
from storage.tables import Caption, Detection, Reference, Row, Score, Summary, Verdict
from tasks import tags
from tasks.errors import ConfigError, StoreError
from tasks.metrics import CaptionMetric, Cited, Metric, Pair, TextMetric, available, load, signature
from tasks.object_naming import clean_label
from tasks.score_sheet import ScoreSheet

R = TypeVar("R", bound=Row)
VERSION = 1
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
) -> TableRef:
    """Score one shard of captions against its detections. A failed caption has rows too, with zeros.

    Raises StoreError where `checks` is not of these captions.
    """
    chosen = [metric for metric in config.chosen if isinstance(metric, CaptionMetric)]
    output = store.output(
        [Score],
        stage="score",
        shard=captions.shard,
        inputs=[captions.fingerprint, detections.fingerprint, checks.fingerprint],
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
    with output.writer() as write:
        for caption in store.read(captions, Caption):
            if (verdict := verdicts.get(caption.caption_id)) is None:
                raise StoreError(f"{checks.path} has no verdict on {caption.caption_id}. Check the captions again.")
            cited = Cited(
                parsed=tags.parse(caption.text),
                detections=found.get(caption.frame_id, []),
                labels=labels,
                consistent=verdict == "ok",
                failed=verdict == "failed",
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
    """Summarise all captions of a captioner, all together and by movie; text metrics where references exist."""
    live = _live(captioner, store)
    output = store.output(
        [Summary, Score],
        stage="summarise",
        shard=SHARD,
        inputs=[ref.fingerprint for ref in (*live.captions, *live.scores, *live.references)],
        config=config,
        version=VERSION,
        weights=_signatures(config.chosen),
        captioner=captioner,
    )
    if output.is_current() and not output.notes.get("again"):
        return output.ref
    texts = {caption.caption_id: caption for caption in _texts(live, store)}
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for score in _read(live.scores, Score, store):
        scores[score.caption_id][score.metric] = score.value
    movies = {caption_id: text.movie_id for caption_id, text in texts.items()}
    sheet = ScoreSheet(captioner, config.chosen, config.java_timeout_seconds, movies, scores)
    rows = [*sheet.grounding(), *sheet.texts(_pairs(texts, live, store))]
    with output.writer() as write:
        write.notes["again"] = sheet.broken  # what failed here and now may work the next time
        for row in rows:
            write(row)
    return output.ref


@dataclass(frozen=True)
class _Live:
    """The files of a captioner that stand in the store now."""

    captions: list[TableRef]
    scores: list[TableRef]
    references: list[TableRef]


def _live(captioner: str, store: Store) -> _Live:
    captions = _refs("captions", captioner, store)
    scores = []
    for ref in captions:
        score = store.ref("scores", ref.shard, captioner)
        footer = store.footer(score.path) if score else None
        if score and footer and ref.fingerprint in footer.inputs:  # else it is of captions that are gone
            scores.append(score)
    movies = {ref.shard.rpartition("/")[0] for ref in captions}
    references = [ref for ref in _refs("references", "", store) if ref.shard.rpartition("/")[0] in movies]
    return _Live(captions, scores, references)


def _refs(table: str, captioner: str, store: Store) -> list[TableRef]:
    """The files of a table by movie, in order."""
    folder = f"{table}/captioner={captioner}" if captioner else table
    refs = []
    for path in store.files.under(folder):
        movie, _, name = path.removeprefix(f"{folder}/").rpartition("/")
        ref = store.ref(table, f"{movie.removeprefix('movie_id=')}/{name.removesuffix('.parquet')}", captioner)
        refs += [ref] if ref else []
    return refs


def _read(refs: Iterable[TableRef], row: type[R], store: Store) -> Iterator[R]:
    for ref in refs:
        yield from store.read(ref, row)


@dataclass(frozen=True, slots=True)
class _Text:
    """What the text metrics need of one caption."""

    caption_id: str
    frame_id: str
    plain_text: str
    """Empty for a failed one."""

    @property
    def movie_id(self) -> str:
        return self.frame_id.rpartition("_")[0]


def _texts(live: _Live, store: Store) -> Iterator[_Text]:
    for caption in _read(live.captions, Caption, store):
        failed = caption.error is not None or caption.finish_reason == "error"
        yield _Text(caption.caption_id, caption.frame_id, "" if failed else caption.plain_text)


def _pairs(texts: Mapping[str, _Text], live: _Live, store: Store) -> list[Pair]:
    """The captions of frames that have references, with all of those, not yet tokenised."""
    references: dict[str, list[str]] = defaultdict(list)
    wanted = {text.frame_id for text in texts.values()}
    for reference in _read(live.references, Reference, store):
        if reference.frame_id in wanted:
            references[reference.frame_id].append(reference.plain_text)
    return [
        Pair(
            caption_id=text.caption_id,
            frame_id=text.frame_id,
            candidate=text.plain_text,
            references=tuple(references[text.frame_id]),
        )
        for text in texts.values()
        if text.frame_id in references
    ]
