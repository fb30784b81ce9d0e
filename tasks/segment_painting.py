"""Detections' masks -> one map of a picture in which every pixel has one number."""

from collections.abc import Callable, Iterable

import numpy as np

from storage.tables import Detection
from tasks.errors import PanopticError
from tasks.masks import Mask
from tasks.panoptic_quality import NONE, SegmentMap


def paint(detections: Iterable[Detection], number_of: Callable[[Detection], int]) -> SegmentMap | None:
    """Each segment's pixels carry its number, NONE where there is none; None of no detections.

    In order of segment_id, and what is painted stays: masks of other detectors may overlap. Boxes of a split region
    share its mask, which is painted once. Raises PanopticError for a detection without a mask.
    """
    ids: SegmentMap | None = None
    segments = {one.segment_id: one for one in detections}
    for _, one in sorted(segments.items()):
        if one.mask is None:
            raise PanopticError(
                f"detections of frame {one.frame_id} have no masks. Run again with `masks = true` in [detect]."
            )
        pixels = Mask(one.mask_height, one.mask_width, one.mask).pixels()
        ids = np.zeros(pixels.shape, np.int32) if ids is None else ids
        ids[pixels & (ids == NONE)] = number_of(one)
    return ids
