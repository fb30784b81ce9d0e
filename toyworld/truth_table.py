"""A store's rows about a drawn movie beside the truth: shot boundaries, panoptic quality, what captions claim.

Truth is drawn anew at the presentation times of the store's own frames. Frames in fades and dissolves have none.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from storage.store import Store
from storage.tables import Caption, Detection, Frame, Row, Shot
from tasks.object_naming import Segment
from tasks.panoptic_quality import total
from toyworld.claim_tally import RELATIONS_ROW, tally
from toyworld.detector_report import picture_counts, summary
from toyworld.movie_plans import BLACK_FRAMES, DISSOLVE_FRAMES, FADE_FRAMES, Plan
from toyworld.naming import mask_of, match
from toyworld.seeing import facts_of
from toyworld.truth import moment_at
from toyworld.vocabulary import LABELS

R = TypeVar("R", bound=Row)
NEAR = {"cut": 1, "fade": FADE_FRAMES + BLACK_FRAMES, "dissolve": DISSOLVE_FRAMES // 2}
"""A found boundary is a planned one's when it lies at most so many frames from it."""
CLAIMS = ("kind of person", "colour of clothing", "colour of object", "action of person", RELATIONS_ROW)


@dataclass(frozen=True)
class Line:
    """One figure of the table."""

    what: str
    value: str
    remark: str = ""


def compare(store: Store, movie_id: str, captioner: str, plan: Plan) -> list[Line]:
    """The table of one movie's rows in a store.

    Raises ValueError for a frame at a time where the plan has none, and for detections without masks or of another size
    than the plan's.
    """
    frames = [one for one in rows_of(store, Frame, movie_id) if plan.is_clear(moment_at(plan, one.pts_seconds).number)]
    detections: dict[str, list[Detection]] = defaultdict(list)
    for found in rows_of(store, Detection, movie_id):
        detections[found.frame_id].append(found)
    captions: dict[str, list[str]] = defaultdict(list)
    for said in rows_of(store, Caption, movie_id, captioner):
        captions[said.frame_id].append(said.text)
    counts, told = [], []
    for frame in frames:
        moment = moment_at(plan, frame.pts_seconds)
        counts.append(
            picture_counts(moment.picture, _segments(detections[frame.frame_id], moment.picture.segment_map.shape))
        )
        ids = match(detections[frame.frame_id], moment.picture)
        facts = facts_of(moment.scene, moment.picture, ids)
        told += [(text, facts) for text in captions[frame.frame_id]]
    quality = summary(total(counts))
    lines = [_boundaries(plan, [one.start_seconds for one in rows_of(store, Shot, movie_id)])]
    lines.append(Line("frames with a truth", str(len(frames)), "the others are in fades and dissolves"))
    for name, key in (("panoptic quality", "pq"), ("    things", "pq_things"), ("    stuff", "pq_stuff")):
        lines.append(Line(name, f"{quality[key]:.2f}"))
    tallies = tally(told)
    for name in CLAIMS:
        one = tallies[name]
        remark = f"{one.right} of {one.asked} claims; the best constant answer: {one.best_constant:.2f}"
        lines.append(Line(f"true claims, {name}", f"{one.accuracy:.2f}" if one.asked else "-", remark))
    return lines


def rows_of(store: Store, table: type[R], movie_id: str, captioner: str = "") -> Iterator[R]:
    """All rows of a movie in one table, shard after shard."""
    for number in count():
        if (ref := store.ref(table.table, f"{movie_id}/{number:05d}", captioner)) is None:
            return
        yield from store.read(ref, table)


def _segments(detections: Sequence[Detection], shape: tuple[int, ...]) -> list[Segment]:
    """What the detector found, from the boxes that were made of it."""
    first = {one.segment_id: one for one in reversed(detections)}
    return [
        Segment(
            segment_id=one.segment_id,
            category_id=one.category_id,
            label=LABELS[one.category_id],
            is_thing=one.is_thing,
            score=one.score,
            mask=mask_of(one, shape),
        )
        for one in first.values()
    ]


def _boundaries(plan: Plan, starts: Sequence[float]) -> Line:
    """Shot boundaries found, missed and made up."""
    left = sorted(round(start * plan.frame_rate) for start in starts if start > 0)
    planned = plan.shots[1:]
    matched = 0
    for shot in planned:
        near = [number for number in left if abs(number - shot.first) <= NEAR[shot.join]]
        if near:
            left.remove(min(near, key=lambda number: abs(number - shot.first)))
            matched += 1
    return Line("shot boundaries found", f"{matched} of {len(planned)}", f"{len(left)} that are none")
