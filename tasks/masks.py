"""Masks as COCO compressed run lengths. The only file that speaks pycocotools' mask functions.

A run-length mask is a few hundred bytes where the picture's boolean array is megabytes; areas and boxes come from it
without unpacking.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

FARTHEST = 1e5
"""Pixels from the origin that a polygon's corner may lie; pycocotools takes what is asked for, memory and all."""


@dataclass(frozen=True, slots=True)
class Mask:
    """One region of a picture: COCO's compressed run lengths (column by column) of a height x width mask."""

    height: int
    width: int
    counts: str

    def _coco(self) -> dict[str, object]:
        return {"size": [self.height, self.width], "counts": self.counts.encode("ascii")}

    @property
    def area_px(self) -> int:
        """Pixels inside."""
        return int(coco.area(self._coco()))

    @property
    def corners_px(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) around the pixels inside, right and bottom exclusive; all 0 when empty."""
        left, top, width, height = (int(value) for value in coco.toBbox(self._coco()))
        return left, top, left + width, top + height

    def pixels(self) -> NDArray[np.bool_]:
        """The mask as a boolean array (height, width), columns contiguous."""
        runs = _run_lengths(self.counts)
        columns = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return columns.reshape(self.width, self.height).T


def _run_lengths(counts: str) -> NDArray[np.int64]:
    """Lengths of the runs, outside and inside in turn, of COCO's compressed form.

    Each number is written in characters from '0' on, five bits each, lowest first; bit 5 says that more follow, bit 4
    of the last is the sign. From the fourth number on it is the difference to the number before the last
    (cocoapi's maskApi.c, rleToString). Written out here because pycocotools 2.0.11's decode warns with numpy 2.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(codes < 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    places = 5 * (np.arange(len(codes)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((codes & 31) << places, starts)
    numbers -= ((codes[ends] & 16) > 0) * (np.int64(1) << (places[ends] + 5))
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def checked(height: int, width: int, counts: object) -> Mask:
    """A mask that came from elsewhere. Raises ValueError where its run lengths are none, or not of height x width."""
    if not isinstance(counts, str) or height < 1 or width < 1 or not re.fullmatch(r"(?:[P-o]{0,5}[0-O])+", counts):
        raise ValueError(f"the mask of {width}x{height} is no run lengths of COCO")
    runs = _run_lengths(counts)
    if (runs < 0).any() or (runs > height * width).any() or runs.sum() != height * width:
        raise ValueError(f"the run lengths of the mask do not make {width}x{height} pixels")
    return Mask(height, width, counts)


def from_coco(segmentation: object, height: int, width: int) -> Mask:
    """What COCO's files call segmentation: polygons in pixels, or run lengths, packed or as numbers.

    Raises ValueError where it is neither, or not of a picture of height x width.
    """
    if isinstance(segmentation, dict):
        counts, size = segmentation.get("counts"), segmentation.get("size")
        if size != [height, width]:
            raise ValueError(f"the mask is of size {size}, the picture of {[height, width]} (height, width)")
        if isinstance(counts, str):
            return checked(height, width, counts)
        lengths = counts if isinstance(counts, list) and all(type(one) is int and one >= 0 for one in counts) else []
        if sum(lengths) != height * width:
            raise ValueError(f"the run lengths of the mask do not make {width}x{height} pixels")
        packed = coco.frPyObjects(segmentation, height, width)
        return Mask(height, width, packed["counts"].decode("ascii"))
    if not isinstance(segmentation, list) or not segmentation:
        raise ValueError("segmentation is neither polygons nor run lengths")
    for polygon in segmentation:
        numbers = isinstance(polygon, list) and all(
            type(one) in (int, float) and abs(one) <= FARTHEST for one in polygon
        )
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise ValueError("a polygon of segmentation is no list of x, y pairs in pixels, three at least")
    packed = coco.merge(coco.frPyObjects(segmentation, height, width))
    return Mask(height, width, packed["counts"].decode("ascii"))


def encode(pixels: NDArray[np.bool_]) -> Mask:
    """A boolean array (height, width) as run lengths."""
    height, width = pixels.shape
    columns = np.asfortranarray(pixels).view(np.uint8)
    return Mask(height, width, coco.encode(columns)["counts"].decode("ascii"))


def encode_regions(regions: NDArray[np.integer], wanted: list[int]) -> list[Mask]:
    """The regions of a map (height, width) that carry the wanted numbers, one mask each.

    The map is turned to column order once, not once per region: that is most of the cost.
    """
    columns = np.asfortranarray(regions)
    return [encode(columns == number) for number in wanted]
