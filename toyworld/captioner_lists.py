"""Lists of detections for training: a picture's named objects, with the mistakes that a detector makes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from storage.tables import Box, Detection
from tasks.object_naming import NamedObject, clean_label, position
from toyworld.vocabulary import THINGS

JITTER = 0.012
"""Standard deviation of a box's edges, in parts of the picture."""
MISSED = {True: 0.05, False: 0.1}
"""Part of the things, and of the boxes of stuff, that a list leaves out."""
INVENTED = 0.08
"""Part of the lists that hold a thing which is not there."""
SMALLEST_BOX = 0.01
NOBODY = 0
"""segment_id of a detection that is not there."""


def as_listed(objects: Sequence[NamedObject]) -> list[Detection]:
    """The objects as a detector's rows, in the same order."""
    return [
        Detection(
            frame_id="",
            object_id=one.object_id,
            object_index=one.object_index,
            segment_id=one.segment.segment_id,
            label=one.label,
            category_id=one.segment.category_id,
            is_thing=one.segment.is_thing,
            score=one.segment.score,
            box=one.box,
            area=one.segment.mask.area_px / (one.segment.mask.width * one.segment.mask.height),
            mask=one.segment.mask.counts,
            mask_width=one.segment.mask.width,
            mask_height=one.segment.mask.height,
        )
        for one in objects
    ]


def mistaken(objects: Sequence[NamedObject], generator: np.random.Generator) -> list[Detection]:
    """The objects as a detector may find them: boxes are off, some are missing, one may be invented (NOBODY)."""
    kept = [one for one in as_listed(objects) if generator.random() >= MISSED[one.is_thing]]
    moved = [replace(one, box=_moved(one.box, generator)) for one in kept]
    if moved and generator.random() < INVENTED:
        category = int(generator.integers(len(THINGS)))
        width, height = generator.uniform(0.04, 0.3, 2)
        x, y = generator.uniform(0, 1 - width), generator.uniform(0, 1 - height)
        moved.append(
            replace(
                moved[0],
                segment_id=NOBODY,
                label=clean_label(THINGS[category]),
                category_id=category,
                is_thing=True,
                box=Box(x=float(x), y=float(y), w=float(width), h=float(height)),
            )
        )
    return numbered(moved)


def _moved(box: Box, generator: np.random.Generator) -> Box:
    left, top, right, bottom = np.clip(
        np.array([box.x, box.y, box.x + box.w, box.y + box.h]) + generator.normal(0, JITTER, 4), 0, 1
    ).tolist()
    left, top = min(left, 1 - SMALLEST_BOX), min(top, 1 - SMALLEST_BOX)
    return Box(x=left, y=top, w=max(SMALLEST_BOX, right - left), h=max(SMALLEST_BOX, bottom - top))


def numbered(detections: Sequence[Detection]) -> list[Detection]:
    """Detections in prompt order, with the places and ids that this order gives."""
    counts: dict[str, int] = {}
    found = []
    for index, one in enumerate(sorted(detections, key=lambda one: (*position(one.box), one.label, one.segment_id))):
        number = counts.get(one.label, 0)
        counts[one.label] = number + 1
        found.append(replace(one, object_index=index, object_id=f"{one.label}-{number}"))
    return found
