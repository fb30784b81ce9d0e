"""COCO's panoptic format: `panoptic.json`, a PNG of segment ids per picture in `panoptic/`, the pictures in `images/`.

The rules are panopticapi's: a pixel's red + 256 green + 65536 blue is its segment's id, 0 is void; every id of a PNG is
in its segments_info and the other way round; stuff of one category is one segment. COCO's categories have COCO's own
ids; those of other detectors follow from 201 on.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from storage.tables import Detection
from tasks.coco_panoptic import COCO_IDS, LABELS, THINGS
from tasks.errors import ExchangeError
from tasks.export_rows import write_picture
from tasks.export_samples import Sample
from tasks.exports import Options
from tasks.json_arrays import writing
from tasks.object_naming import clean_label
from tasks.panoptic_quality import NONE, SegmentMap
from tasks.segment_painting import paint

FOLDER = True
ALL_FRAMES = True
DETECTED = True
FIRST_OTHER = 201
"""Category ids of labels that are none of COCO's begin here; COCO's end at 200."""
SPREAD = 0x9E3779B1
"""Odd, so that no two numbers times it are one modulo 2^24: segments get ids whose colours eyes tell apart."""
COCO = {clean_label(name): place for place, name in enumerate(LABELS)}


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """Images are numbered from 1, in order of movie and frame.

    Raises PanopticError where detections have no masks, ExchangeError where a mask is not of its picture's size.
    """
    pictures, maps = draft / "images", draft / "panoptic"
    pictures.mkdir()
    maps.mkdir()
    categories = _Categories()
    names = ("images", "annotations", "categories")
    with writing(draft / "panoptic.json", names, info={"description": "panoptic"}) as arrays:
        for image_id, sample in enumerate(samples, 1):
            frame = sample.frame
            ids, segments = _segments(sample, categories)
            png = f"{frame.frame_id}.png"
            colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], -1).astype(np.uint8)
            Pillow.fromarray(colours).save(maps / png)
            name = write_picture(sample, pictures)
            arrays.add("images", {"id": image_id, "file_name": name, "width": frame.width, "height": frame.height})
            arrays.add("annotations", {"image_id": image_id, "file_name": png, "segments_info": segments})
        for category in categories.listed():
            arrays.add("categories", category)


class _Categories:
    """Category ids of labels: COCO's own, and numbers of our own for the others, as they come up."""

    def __init__(self) -> None:
        self._others: dict[str, tuple[int, bool]] = {}

    def of(self, one: Detection) -> int:
        """The category id of a detection."""
        if one.label in COCO:
            return COCO_IDS[COCO[one.label]]
        self._others.setdefault(one.label, (FIRST_OTHER + len(self._others), one.is_thing))
        return self._others[one.label][0]

    def is_thing(self, one: Detection) -> bool:
        """Whether its category counts as things: COCO's categories as COCO says."""
        return COCO[one.label] < len(THINGS) if one.label in COCO else self._others[one.label][1]

    def listed(self) -> Iterator[dict[str, Any]]:
        """All of COCO's, and the others that came up."""
        for place, (category_id, name) in enumerate(zip(COCO_IDS, LABELS, strict=True)):
            yield {"id": category_id, "name": name, "isthing": int(place < len(THINGS))}
        for name, (category_id, thing) in self._others.items():
            yield {"id": category_id, "name": name, "isthing": int(thing)}


def _segments(sample: Sample, categories: _Categories) -> tuple[SegmentMap, list[dict[str, Any]]]:
    """The segment map (height, width), and what segments_info says of it."""
    frame = sample.frame
    numbers: dict[tuple[int, int], int] = {}

    def number_of(one: Detection) -> int:
        if (one.mask_height, one.mask_width) != (frame.height, frame.width):
            raise ExchangeError(
                f"the mask of {one.object_id} in frame {one.frame_id} is {one.mask_width}x{one.mask_height}, its "
                f"picture {frame.width}x{frame.height}. Detect again in these frames."
            )
        category = categories.of(one)
        segment = (category, one.segment_id if categories.is_thing(one) else NONE)
        return numbers.setdefault(segment, (len(numbers) + 1) * SPREAD & 0xFFFFFF)

    painted = paint(sample.detections, number_of)
    ids: SegmentMap = np.zeros((frame.height, frame.width), np.int32) if painted is None else painted
    told = [_segment(ids == number, number, category) for (category, _), number in numbers.items()]
    return ids, [one for one in told if one["area"]]


def _segment(pixels: Any, number: int, category: int) -> dict[str, Any]:
    """One segment; its bbox is x, y, width, height in pixels."""
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    box = [0, 0, 0, 0]
    if len(rows):
        box = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)]
    return {"id": number, "category_id": category, "area": int(pixels.sum()), "bbox": box, "iscrowd": 0}
