"""What the page loads of one shard: what to filter by, its scores, its frames, its masks."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from gallery.caption_runs import runs_of
from gallery.shard_rows import Captioned, ShardRows
from gallery.shards import PIECE_FRAMES
from storage.partial_reads import FrameFacts
from storage.tables import Caption, Detection

FACETS, SCORES, FRAMES, MASKS = "facets", "scores", "frames", "masks"
SCORE_DIGITS = 6
"""Significant digits of the scores that are filtered by; the frames have all digits."""
Payload = dict[str, Any]


def pages_of(rows: ShardRows, captioners: Sequence[str]) -> Iterator[tuple[str, Payload]]:
    """Every file of a shard: (name within the shard, what it says)."""
    yield FACETS, facets(rows, captioners)
    yield SCORES, scores(rows, captioners)
    for piece in range(rows.shard.pieces):
        yield f"{FRAMES}-{piece}", {"frames": [_frame(rows, place, captioners) for place in _places(rows, piece)]}
        yield f"{MASKS}-{piece}", {"frames": [_masks(rows, place) for place in _places(rows, piece)]}


def page_of(rows: ShardRows, captioners: Sequence[str], name: str) -> Payload | None:
    """One of those files; None where there is none of that name."""
    kind, _, number = name.partition("-")
    if name == FACETS:
        return facets(rows, captioners)
    if name == SCORES:
        return scores(rows, captioners)
    if kind not in (FRAMES, MASKS) or not number.isdecimal() or int(number) >= rows.shard.pieces:
        return None
    make: Callable[[int], Payload] = (
        (lambda place: _frame(rows, place, captioners)) if kind == FRAMES else lambda place: _masks(rows, place)
    )
    return {"frames": [make(place) for place in _places(rows, int(number))]}


def _places(rows: ShardRows, piece: int) -> range:
    return range(len(rows.frames))[piece * PIECE_FRAMES : (piece + 1) * PIECE_FRAMES]


def facets(rows: ShardRows, captioners: Sequence[str]) -> Payload:
    """Of every frame what it is filtered by, as columns; words as places in lists of them."""
    found = [rows.detections.get(frame.frame_id, []) for frame in rows.frames]
    return {
        "ids": [frame.frame_id for frame in rows.frames],
        "shots": [frame.shot_index for frame in rows.frames],
        "objects": _indexed([[one.label for one in row] for row in found]),
        "captioners": [_captioner_facets(rows.captioned[name], rows.frames) for name in captioners],
    }


def _captioner_facets(said: Captioned, frames: Sequence[FrameFacts]) -> Payload:
    first = [_first(said, frame.frame_id) for frame in frames]
    ids = [one.caption_id if one else "" for one in first]
    mentions = [said.mentions.get(caption_id, []) for caption_id in ids]
    return {
        "cited": _indexed([[one.label for one in row if one.kind != "action"] for row in mentions]),
        "actions": _indexed([[one.label for one in row if one.kind == "action"] for row in mentions]),
        "codes": _indexed([[one.code for one in said.violations.get(caption_id, [])] for caption_id in ids]),
        "verdicts": _indexed([[said.verdicts[caption_id]] if caption_id else [] for caption_id in ids]),
    }


def _first(said: Captioned, frame_id: str) -> Caption | None:
    """The caption that stands for a frame: the first in rank."""
    captions = said.captions.get(frame_id)
    return captions[0] if captions else None


def _indexed(rows: Sequence[Sequence[str]]) -> Payload:
    words = sorted(set(chain.from_iterable(rows)))
    place = {word: at for at, word in enumerate(words)}
    return {"words": words, "rows": [sorted({place[word] for word in row}) for row in rows]}


def scores(rows: ShardRows, captioners: Sequence[str]) -> Payload:
    """By captioner and metric the value of every frame's first caption; null where it has none."""
    columns = []
    for name in captioners:
        said = rows.captioned[name]
        first = [_first(said, frame.frame_id) for frame in rows.frames]
        values = [said.scores.get(one.caption_id, {}) if one else {} for one in first]
        metrics = sorted(set(chain.from_iterable(values)))
        columns.append([[metric, [_short(row.get(metric)) for row in values]] for metric in metrics])
    return {"captioners": columns}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{SCORE_DIGITS}g}")


def _frame(rows: ShardRows, place: int, captioners: Sequence[str]) -> Payload:
    frame = rows.frames[place]
    return {
        "id": frame.frame_id,
        "position": rows.positions[place],
        "index": frame.frame_index,
        "shot": frame.shot_index,
        "seconds": frame.pts_seconds,
        "width": frame.width,
        "height": frame.height,
        "objects": [_object(one) for one in rows.detections.get(frame.frame_id, [])],
        "failures": [[one.stage, one.error] for one in rows.failures.get(frame.frame_id, [])],
        "references": [[one.source, one.plain_text] for one in rows.references.get(frame.frame_id, [])],
        "captions": [
            [_caption(one, rows.captioned[name]) for one in rows.captioned[name].captions.get(frame.frame_id, [])]
            for name in captioners
        ],
    }


def _object(one: Detection) -> Payload:
    box = [round(value, 5) for value in (one.box.x, one.box.y, one.box.w, one.box.h)]
    return {
        "id": one.object_id,
        "label": one.label,
        "thing": one.is_thing,
        "score": one.score,
        "segment": one.segment_id,
        "box": box,
    }


def _caption(one: Caption, said: Captioned) -> Payload:
    violations = said.violations.get(one.caption_id, [])
    mentions = said.mentions.get(one.caption_id, [])
    choice = said.choices.get(one.caption_id)
    runs = runs_of(one.text, [(found.start, found.end) for found in violations])
    return {
        "id": one.caption_id,
        "verdict": said.verdicts[one.caption_id],
        "chosen": choice.chosen if choice else None,
        "reasons": choice.reasons if choice else [],
        "attempt": one.attempt,
        "candidate": one.candidate,
        "repairs": one.repairs,
        "wrote": one.original_text,
        "error": one.error,
        "finish": one.finish_reason,
        "decoding": one.decoding,
        "checkpoint": one.checkpoint,
        "adapter": one.adapter,
        "plain": one.plain_text,
        "runs": [[run.text, run.role, run.mentions, run.faults] for run in runs],
        "mentions": [[tag.kind, tag.label, tag.object_ids, tag.verdict] for tag in mentions],
        "violations": [[found.code, found.object_id, found.message] for found in violations],
        "scores": sorted(said.scores.get(one.caption_id, {}).items()),
    }


def _masks(rows: ShardRows, place: int) -> Payload:
    """The masks of one frame by segment: [segment, width, height, COCO's compressed run lengths]."""
    found = rows.detections.get(rows.frames[place].frame_id, [])
    masks = {one.segment_id: one for one in found if one.mask is not None}
    return {"masks": [[key, one.mask_width, one.mask_height, one.mask] for key, one in sorted(masks.items())]}
