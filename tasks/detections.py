"""Frames -> detections: the objects of each frame, named and numbered as GroundCap does.

The models live behind tasks/detectors; the rules in tasks/object_naming.py. Here: batches in, rows out, and what to do
when a frame cannot be worked on.
"""

import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from storage.store import Output, Store, TableRef
from storage.tables import Detection, Failure, Frame
from tasks import detectors
from tasks.detectors import DetectConfig, Detector
from tasks.frame_work import PictureError, decode, raise_for_all, reason, work_in_batches
from tasks.object_naming import NamedObject, Segment, clean_label, is_coco, name_objects

__all__ = ["DetectConfig", "detect_objects", "detection_row"]

VERSION = 2
"""Bump when the meaning of the output changes."""
STAGE = "detect"
SCORE_DIGITS = 4
"""Decimals of a score that are written: the further ones hang on what else was in the batch."""
REMEDY = "use a smaller dtype or longest_edge of the frames, or a device with more."

A = TypeVar("A")
B = TypeVar("B")
log = logging.getLogger(__name__)


@dataclass
class Look:
    """One frame on its way: first the picture, then its segments, or the reason why there are none."""

    frame: Frame
    picture: NDArray[np.uint8] | None = None
    segments: list[Segment] | None = None
    error: Exception | None = None


def detect_objects(frames: TableRef, store: Store, config: DetectConfig) -> TableRef:
    """Detect the objects of one shard of frames.

    Writes detections, in prompt order within each frame, and failures: a frame that cannot be decoded, or on which the
    detector fails, or for which memory does not suffice, when it is asked about that frame alone. Notes in the footer:
    `labels`, every label this detector can say. Raises CheckpointError, ConfigError, MissingExtraError or
    UnknownNameError when there is no such detector, TransientError when the device is lost, and the detector's own
    error (TransientError for memory) when it fails on every one of several frames: then the frames are not to blame.
    """
    output = output_of(frames, store, config)
    if output.is_current():
        return output.ref
    detector = detectors.load(config)
    name = partial(_rows, config=config, coco=is_coco(detector.labels))
    # Decoding and naming go on in two threads while the detector looks at the batch between them.
    with output.writer() as write, ThreadPoolExecutor(2, "detect") as pool:
        write.frames = frames.rows
        write.notes["labels"] = list(dict.fromkeys(map(clean_label, detector.labels)))
        batches = _batched(store.read(frames, Frame, batch_size=config.batch_size), config.batch_size)
        for rows in _one_ahead(pool, name, _looks(detector, _one_ahead(pool, _decode, batches))):
            for row in rows:
                write(row)
    return output.ref


def output_of(frames: TableRef, store: Store, config: DetectConfig) -> Output:
    """What detecting in a shard of frames makes. Raises what finding the detector's weights raises."""
    return store.output(
        [Detection, Failure],
        stage=STAGE,
        shard=frames.shard,
        inputs=[frames.fingerprint],
        config=config,
        version=VERSION,
        weights={"detector": detectors.digest(config)},
        may_vary=True,
    )


def _batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch


def _one_ahead(pool: Executor, work: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """`map(work, items)` in order, the next item's work begun before a result is handed out. Holds two items."""
    waiting: deque[Future[B]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > 1:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _decode(frames: list[Frame]) -> list[Look]:
    return [_decode_one(frame) for frame in frames]


def _decode_one(frame: Frame) -> Look:
    try:
        return Look(frame, decode(frame))
    except PictureError as error:
        return Look(frame, error=error)


def _looks(detector: Detector, batches: Iterable[list[Look]]) -> Iterator[list[Look]]:
    """Give every batch its segments. Raises the last error when the detector fails on every one of several frames."""
    worked, errors, at_once = 0, list[Exception](), sys.maxsize
    for looks in batches:
        readable = [look for look in looks if look.picture is not None]
        at_once = work_in_batches(readable, partial(_ask, detector), _give_up, at_once)
        worked += sum(look.segments is not None for look in readable)
        errors += [look.error for look in readable if look.error]
        yield looks
    if len(errors) > 1 and not worked:
        raise_for_all(errors[-1], REMEDY)


def _ask(detector: Detector, looks: list[Look]) -> None:
    found = detector([look.picture for look in looks if look.picture is not None])
    for look, segments in zip(looks, found, strict=True):
        look.segments = segments


def _give_up(look: Look, error: Exception) -> None:
    log.warning("the detector failed on frame %s: %s", look.frame.frame_id, reason(error))
    look.error = error


def _rows(looks: list[Look], *, config: DetectConfig, coco: bool) -> list[Detection | Failure]:
    rows: list[Detection | Failure] = []
    for look in looks:
        if look.segments is None:
            rows.append(Failure(frame_id=look.frame.frame_id, stage=STAGE, error=_reason(look.error)))
            continue
        named = name_objects(
            look.segments, coco=coco, max_detections=config.max_detections, stuff_boxes=config.stuff_boxes
        )
        rows += [detection_row(look.frame.frame_id, one, masks=config.masks) for one in named]
    return rows


def _reason(error: Exception | None) -> str:
    if isinstance(error, PictureError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"memory does not suffice for this frame alone ({error}): {REMEDY}"
    said = reason(error) if error else "it was not asked"
    return f"the detector failed on this frame alone ({said}). Try another checkpoint or backend."


def detection_row(frame_id: str, named: NamedObject, *, masks: bool = True) -> Detection:
    """The row of one object; without `masks` it keeps the mask's size only."""
    segment = named.segment
    mask = segment.mask
    return Detection(
        frame_id=frame_id,
        object_id=named.object_id,
        object_index=named.object_index,
        segment_id=segment.segment_id,
        label=named.label,
        category_id=segment.category_id,
        is_thing=segment.is_thing,
        score=round(segment.score, SCORE_DIGITS),
        box=named.box,
        area=mask.area_px / (mask.width * mask.height),
        mask=mask.counts if masks else None,
        mask_width=mask.width,
        mask_height=mask.height,
    )
