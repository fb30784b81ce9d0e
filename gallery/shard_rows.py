"""The rows of one shard, by frame and by caption. Memory: one shard, without its pictures."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from gallery.shards import Selection, Shard
from storage.partial_reads import FrameFacts, frame_facts, rows_with
from storage.store import MENDING, Store, TableRef, path_of
from storage.tables import Caption, Choice, Detection, Failure, Mention, Reference, Row, Score, Verdict, Violation

R = TypeVar("R", bound=Row)
V = TypeVar("V")
K = TypeVar("K", bound=Hashable)
NOT_CHECKED, OUTDATED = "not checked", "outdated"
"""What is said of a caption without a verdict, and of one whose verdict was about rows that are not there any more."""


@dataclass(frozen=True)
class Captioned:
    """What stands in the store of one captioner and one shard."""

    captions: dict[str, list[Caption]]
    """By frame: the chosen one first, then by rank; without ranks in the captioner's own order."""
    choices: dict[str, Choice]
    mentions: dict[str, list[Mention]]
    violations: dict[str, list[Violation]]
    verdicts: dict[str, str]
    """verdicts.verdict, or NOT_CHECKED, or OUTDATED: 'ok' are those in captions_ok."""
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class ShardRows:
    """What is shown of one shard."""

    shard: Shard
    positions: list[int]
    """Place of each frame in the shard's file."""
    frames: list[FrameFacts]
    detections: dict[str, list[Detection]]
    failures: dict[str, list[Failure]]
    references: dict[str, list[Reference]]
    captioned: dict[str, Captioned]
    """By captioner."""


def read_shard(shard: Shard, selection: Selection) -> ShardRows:
    """Everything that stands in the store of the frames of a shard that are shown. Raises StoreError."""
    store = selection.store
    positions = selection.positions(shard)
    everything = frame_facts(store.files, shard.frames_path)
    frames = [everything[place] for place in positions]
    ids = {frame.frame_id for frame in frames}
    found, pictures = store.ref("detections", shard.name), store.ref("frames", shard.name)
    seen = found.fingerprint if found and pictures and store.is_made_of(found, pictures) else ""
    return ShardRows(
        shard,
        positions,
        frames,
        detections=_by(_read(store, found, Detection), lambda row: row.frame_id, ids),
        failures=_failures(shard, store, ids),
        references=_references(shard, store, ids),
        captioned={name: _captioned(name, shard, seen, store, ids) for name in selection.captioners},
    )


def _read(store: Store, ref: TableRef | None, row: type[R]) -> Iterable[R]:
    return store.read(ref, row) if ref else ()


def _by(rows: Iterable[V], key: Callable[[V], K], wanted: Iterable[K]) -> dict[K, list[V]]:
    found: dict[K, list[V]] = defaultdict(list)
    keys = frozenset(wanted)
    for row in rows:
        if key(row) in keys:
            found[key(row)].append(row)
    return dict(found)


def _failures(shard: Shard, store: Store, ids: set[str]) -> dict[str, list[Failure]]:
    stages = [folder.removeprefix("stage=") for folder in store.files.folders("failures")]
    paths = [path_of("failures", shard.name, stage=stage) for stage in stages]
    rows = [row for path in paths for row in rows_with(store.files, path, Failure, "frame_id", ids)]
    return _by(rows, lambda row: row.frame_id, ids)


def _references(shard: Shard, store: Store, ids: set[str]) -> dict[str, list[Reference]]:
    paths = store.files.under(f"references/movie_id={shard.movie_id}")
    rows = [row for path in paths for row in rows_with(store.files, path, Reference, "frame_id", ids)]
    return _by(rows, lambda row: row.frame_id, ids)


def _captioned(name: str, shard: Shard, seen: str, store: Store, ids: set[str]) -> Captioned:
    """`seen` is the fingerprint of the detections that stand there, of the frames that do."""
    first, mended = (store.ref("captions", shard.name, name, stage) for stage in ("", MENDING))
    refs = [ref for ref in (first, mended) if ref]
    captions = [one for ref in refs for one in store.read(ref, Caption) if one.frame_id in ids]
    known = {caption.caption_id for caption in captions}

    def of_captions(table: str, row: type[R]) -> Iterable[R]:
        return _read(store, store.ref(table, shard.name, name), row)

    choices = {one.caption_id: one for one in of_captions("choices", Choice) if one.caption_id in known}
    order = {one.caption_id: place for place, one in enumerate(captions)}
    last = len(captions)
    captions.sort(key=lambda one: (choices[one.caption_id].rank if one.caption_id in choices else last,
                                   order[one.caption_id]))  # fmt: skip
    live = {ref.fingerprint for ref in refs if ref is first or (first and store.is_made_of(ref, first))}
    return Captioned(
        captions=_by(captions, lambda one: one.frame_id, ids),
        choices=choices,
        mentions=_by(of_captions("mentions", Mention), lambda one: one.caption_id, known),
        violations=_by(of_captions("violations", Violation), lambda one: one.caption_id, known),
        verdicts=dict.fromkeys(known, NOT_CHECKED)
        | {
            one.caption_id: one.verdict
            if one.captions_fingerprint in live and one.detections_fingerprint == seen
            else OUTDATED
            for one in of_captions("verdicts", Verdict)
            if one.caption_id in known
        },
        scores=_scores(name, shard, store, known),
    )


def _scores(name: str, shard: Shard, store: Store, known: set[str]) -> dict[str, dict[str, float]]:
    """Scores of the shard's own file, and of the one that is about all captions of the captioner."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for path in (path_of("scores", "all", name), path_of("scores", shard.name, name)):
        for row in rows_with(store.files, path, Score, "caption_id", known):
            found[row.caption_id][row.metric] = row.value
    return dict(found)
