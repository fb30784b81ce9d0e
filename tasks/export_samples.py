"""Frames on their way out of a store: picture, detections and captions together, one at a time."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from storage.partial_reads import frame_facts
from storage.store import Store, TableRef
from storage.tables import Detection, Failure, Frame
from tasks.errors import StoreError
from tasks.export_selection import CaptionRow, Chosen, Selection

PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class Sample:
    """One frame as it leaves the store."""

    frame: Frame
    title: str
    """Of its movie."""
    captions: tuple[CaptionRow, ...]
    """Empty only where frames without captions are wanted."""
    detections: tuple[Detection, ...]
    """In prompt order."""
    detected: bool
    """Whether the detector worked on this frame: if not, that there are no detections says nothing."""

    @property
    def picture_name(self) -> str:
        """A file name for the picture, unique in the store: the frame's id, and the ending its bytes ask for."""
        return f"{self.frame.frame_id}.{picture_kind(self.frame.image.bytes)}"


def picture_kind(picture: bytes) -> str:
    """The ending of a picture's file name, by its first bytes; jpg where they say nothing else."""
    if picture.startswith(b"\x89PNG"):
        return "png"
    return "webp" if picture[:4] == b"RIFF" and picture[8:12] == b"WEBP" else "jpg"


def samples(store: Store, selection: Selection, *, all_frames: bool) -> Iterator[Sample]:
    """The selection's frames in order of movie and frame. Memory: detections of one shard, a few pictures.

    Raises StoreError when frames of the selection are not found: the store was written meanwhile.
    """
    rows = _by_frame(selection.rows(all_frames=all_frames))
    waiting = next(rows, None)
    for movie_id, shard in _shards(store):
        if waiting is None:
            return
        if waiting[0].movie_id != movie_id:
            continue
        ref = store.ref("frames", shard)
        if ref is None or waiting[0].frame_id not in {one.frame_id for one in frame_facts(store.files, ref.path)}:
            continue
        detected = _detections(store, shard, ref)
        failed = _failed(store, shard)
        for frame in store.read(ref, Frame, batch_size=PICTURES_AT_ONCE):
            if waiting is None or waiting[0].frame_id != frame.frame_id:
                continue
            found = () if detected is None else tuple(detected.get(frame.frame_id, ()))
            works = detected is not None and frame.frame_id not in failed
            yield Sample(frame, waiting[0].title, waiting[1], found, works)
            waiting = next(rows, None)
    if waiting is not None:
        raise StoreError(f"frame {waiting[0].frame_id} is gone from {store.location}: it is being written. Try again.")


def _by_frame(rows: Iterator[Chosen]) -> Iterator[tuple[Chosen, tuple[CaptionRow, ...]]]:
    """(a row of the frame, its captions), frame by frame."""
    first: Chosen | None = None
    captions: list[CaptionRow] = []
    for row in rows:
        if first is not None and row.frame_id != first.frame_id:
            yield first, tuple(captions)
            captions = []
        first = row
        captions += [row.caption] if row.caption else []
    if first is not None:
        yield first, tuple(captions)


def _shards(store: Store) -> list[tuple[str, str]]:
    """(movie_id, shard) of every file of frames, in the order of the rows: by movie_id, then by number."""
    found = [path.removeprefix("frames/movie_id=").removesuffix(".parquet") for path in store.files.under("frames")]
    return sorted(
        ((shard.rpartition("/")[0], shard) for shard in found),
        key=lambda one: (one[0], int(one[1].rpartition("/")[2])),
    )


def _detections(store: Store, shard: str, frames: TableRef) -> dict[str, list[Detection]] | None:
    """By frame; None where nothing was detected in the frames as they are now."""
    ref = store.ref("detections", shard)
    if ref is None or not store.is_made_of(ref, frames):
        return None
    found: dict[str, list[Detection]] = defaultdict(list)
    for one in store.read(ref, Detection, batch_size=256):
        found[one.frame_id].append(one)
    for each in found.values():
        each.sort(key=lambda one: one.object_index)
    return found


def _failed(store: Store, shard: str) -> set[str]:
    ref = store.ref("failures", shard, stage="detect")
    return {row.frame_id for row in store.read(ref, Failure)} if ref else set()
