"""GroundCap's rules from segments to numbered objects: labels, boxes, order, ids. Pure; no model, no picture.

Source of the rules: the GroundCap model card and its author's later public code. Where we differ, we say so:
- at most `max_detections` are kept by score, before the sort by position; the author cuts the sorted list, which loses
  the bottom right of the picture;
- a box reaches to the far edge of its last pixel, as COCO's do; the author's ends at that pixel's near edge, so ours
  are one pixel wider and higher.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from storage.tables import Box
from tasks.boxes import centre, from_corners_px
from tasks.coco_panoptic import LABELS
from tasks.masks import Mask
from tasks.stuff_boxes import split

BANDS = 3
"""Rows of the picture that the order of detections goes by."""

LAST_WHOLE_CATEGORY = 90
"""COCO categories up to this index get one box. GroundCap's author asks `label_id > 90` for stuff, as if the index were
COCO's own id, where things end at 90. By index things end at 79, so banner, blanket, bridge, cardboard, counter,
curtain, door-stuff, floor-wood, flower, fruit and gravel (80 to 90) are never split; the one floor-wood-0 of the model
card agrees. Captions were trained on it, so the rule stays."""

ENDINGS = ("-other-merged", "-merged", "-other")
"""What the cleaning drops of COCO's stuff names, tried in this order."""

UNFIT = re.compile(r"[^\w-]+|_+")
"""What a label may not hold: blanks and underscores by GroundCap's rule; beyond COCO, what a tag could trip over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One region a detector found in one picture, before it has a box and an id."""

    segment_id: int
    """Unique within the picture, from 1."""
    category_id: int
    """Index into the detector's labels."""
    label: str
    """The detector's own name of the category."""
    is_thing: bool
    """True: countable thing; false: stuff."""
    score: float
    """Detector confidence, 0 to 1."""
    mask: Mask
    """At the picture's size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedObject:
    """One box of a segment, with its place in the prompt and the id that tags cite."""

    object_id: str
    object_index: int
    label: str
    box: Box
    segment: Segment


def clean_label(name: str) -> str:
    """A category's name as ids and tags write it: `sky-other-merged` is `sky`, `dining table` is `dining-table`."""
    for ending in ENDINGS:
        if name.endswith(ending):
            name = name.removesuffix(ending)
            break
    return "-".join(UNFIT.split(name.lower())).strip("-") or "object"


def is_coco(labels: Sequence[str]) -> bool:
    """Whether a detector names COCO's 133 panoptic categories in COCO's order."""
    return [clean_label(label) for label in labels] == [clean_label(label) for label in LABELS]


def is_split(segment: Segment, coco: bool) -> bool:
    """Whether a segment's region becomes several boxes: stuff, and with COCO's labels only beyond index 90."""
    return segment.category_id > LAST_WHOLE_CATEGORY if coco else not segment.is_thing


def name_objects(
    segments: Sequence[Segment], *, coco: bool, max_detections: int = 40, stuff_boxes: int = 6
) -> list[NamedObject]:
    """The objects of one picture in prompt order. The order of `segments` does not matter.

    A thing is one box around its mask. Stuff is split into at most `stuff_boxes`; its objects share the segment, so
    mask, area and score are those of the whole region. Stuff that no set of boxes describes (tasks/stuff_boxes.py: no
    positive score) and empty masks give no object. `coco` says whether the labels are COCO's 133 (see is_coco).
    """
    found = [(box, segment) for segment in segments for box in _boxes(segment, coco, stuff_boxes)]
    kept = sorted(found, key=lambda one: (-one[1].score, *_place(*one)))[:max_detections]
    numbers: Counter[str] = Counter()
    objects = []
    for index, (box, segment) in enumerate(sorted(kept, key=lambda one: _place(*one))):
        label = clean_label(segment.label)
        objects.append(
            NamedObject(
                object_id=f"{label}-{numbers[label]}", object_index=index, label=label, box=box, segment=segment
            )
        )
        numbers[label] += 1
    return objects


def _boxes(segment: Segment, coco: bool, stuff_boxes: int) -> list[Box]:
    mask = segment.mask
    if not mask.area_px:
        return []
    corners = split(mask.pixels(), stuff_boxes).tolist() if is_split(segment, coco) else [mask.corners_px]
    return [from_corners_px(left, top, right, bottom, mask.width, mask.height) for left, top, right, bottom in corners]


def position(box: Box) -> tuple[int, float, float]:
    """GroundCap's sort key: the band the centre lies in, top to bottom, then left to right, then top to bottom."""
    x, y = centre(box)
    return max(0, min(BANDS - 1, int(y * BANDS))), x, y


def _place(box: Box, segment: Segment) -> tuple[object, ...]:
    """The sort key, then what tells two boxes with one centre apart, so that the order is never in doubt."""
    return (*position(box), box.w, box.h, clean_label(segment.label), -segment.score, segment.segment_id)
