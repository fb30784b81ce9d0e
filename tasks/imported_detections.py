"""Detections as a file tells them -> rows of a store: checked, for a file may say anything."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from storage.tables import Box, Detection
from tasks.coco_panoptic import THINGS
from tasks.imported_movies import CATEGORIES, OTHER
from tasks.masks import Mask, checked
from tasks.object_naming import clean_label, position

SLACK = 0.01
"""How far a box may reach beyond the picture: single precision, and boxes rounded to pixels."""


@dataclass(frozen=True)
class Found:
    """One object, before it has an id."""

    name: str
    """Of its category, as the dataset says it."""
    box: Box
    score: float
    is_thing: bool
    mask: Mask | None
    segment_id: int


def check_box(box: Box, where: str) -> None:
    """Raises ValueError for a box that is no fractions of the picture."""
    sides = (box.x, box.y, box.w, box.h)
    inside = all(map(math.isfinite, sides)) and box.x >= -SLACK and box.y >= -SLACK and box.w >= 0 and box.h >= 0
    if not inside or box.x + box.w > 1 + SLACK or box.y + box.h > 1 + SLACK:
        raise ValueError(
            f"{where} is x {box.x:.4g}, y {box.y:.4g}, w {box.w:.4g}, h {box.h:.4g}: not within the picture, of which "
            "they are to be fractions"
        )


def number_objects(found: Sequence[Found], most: int) -> tuple[Detection, ...]:
    """Objects in GroundCap's order with ids `<label>-<n>`; the `most` of highest score, the larger first of equal ones.

    What the boxes are is the dataset's business; how they are named and ordered is as of a detector
    (tasks/object_naming.py).
    """

    def key(one: Found) -> tuple[Any, ...]:
        return *position(one.box), one.box.w, one.box.h, clean_label(one.name), -one.score, one.segment_id

    kept = sorted(found, key=lambda one: (-one.score, -one.box.w * one.box.h, *key(one)))[:most]
    numbers: Counter[str] = Counter()
    rows = []
    for place, one in enumerate(sorted(kept, key=key)):
        label = clean_label(one.name)
        rows.append(_row(one, label, f"{label}-{numbers[label]}", place))
        numbers[label] += 1
    return tuple(rows)


def _row(one: Found, label: str, object_id: str, place: int) -> Detection:
    mask = one.mask
    return Detection(
        frame_id="",
        object_id=object_id,
        object_index=place,
        segment_id=one.segment_id,
        label=label,
        category_id=CATEGORIES.get(label, OTHER),
        is_thing=one.is_thing,
        score=one.score,
        box=one.box,
        area=mask.area_px / (mask.width * mask.height) if mask else min(1.0, one.box.w * one.box.h),
        mask=mask.counts if mask else None,
        mask_width=mask.width if mask else 0,
        mask_height=mask.height if mask else 0,
    )


def own_detections(told: object) -> tuple[Detection, ...]:
    """What `caption-movies export` writes of detections. Raises ValueError with the place of what is wrong."""
    if not isinstance(told, list):
        raise ValueError("detections is no list")
    rows = tuple(_own(one, f"detections[{place}]", place) for place, one in enumerate(told))
    if twice := [one for one, number in Counter(row.object_id for row in rows).items() if number > 1]:
        raise ValueError(f"detections has {twice[0]} twice")
    return rows


def _own(told: Any, where: str, place: int) -> Detection:
    if not isinstance(told, Mapping):
        raise ValueError(f"{where} is no object")
    try:
        object_id, sides = told["object_id"], told["box"]
        box = Box(**{side: float(sides[side]) for side in "xywh"})
        score = float(told["score"])
        label = str(told.get("label") or object_id.rpartition("-")[0])
        category = int(told.get("category_id", CATEGORIES.get(clean_label(label), OTHER)))
        segment_id = int(told.get("segment_id", place + 1))
        is_thing = bool(told.get("is_thing", 0 <= category < len(THINGS)))
        counts = told.get("mask")
        mask = checked(int(told["mask_height"]), int(told["mask_width"]), counts) if counts is not None else None
        area = float(told.get("area", box.w * box.h))
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"{where} lacks a value, or has one of another kind: {error!r}") from error
    if (
        not isinstance(object_id, str)
        or not re.fullmatch(r"[\w-]+-\d+", object_id)
        or object_id.rpartition("-")[0] != label
    ):
        raise ValueError(f"{where}.object_id is {object_id!r} with label {label!r}, which no tag can cite")
    check_box(box, f"{where}.box")
    if not 0 <= score <= 1 or not 0 <= area <= 1 or segment_id < 1:
        raise ValueError(f"{where} has score {score}, area {area} and segment_id {segment_id}: not 0 to 1, not above 0")
    return Detection(
        frame_id="", object_id=object_id, object_index=place, segment_id=segment_id, label=label, category_id=category,
        is_thing=is_thing, score=score, box=box, area=area, mask=mask.counts if mask else None,
        mask_width=mask.width if mask else 0, mask_height=mask.height if mask else 0,
    )  # fmt: skip
