"""What each patch of a picture shows, for the heads that ask about it. Patches row by row."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from storage.tables import Box
from toyworld.captioner_heads import ATTRIBUTES, NOTHING
from toyworld.facts import Thing
from toyworld.picture import Picture
from toyworld.vocabulary import LABELS

COVERED = 0.2
"""Part of a patch that a thing has to cover for the patch to be asked about it."""
Parts = NDArray[np.float32]
"""(patches, 1 + highest segment_id): part of each patch that each segment covers."""


def patch_parts(picture: Picture, patch_px: int) -> Parts:
    """(patches, 1 + highest segment_id): part of each patch that each segment covers."""
    return _counts(picture.segment_map, patch_px, 1 + max((one.segment_id for one in picture.regions), default=0))


def _counts(numbers: NDArray[np.integer], cell_px: int, size: int) -> NDArray[np.float32]:
    """(cells, size): part of each square cell that has each number; cells row by row."""
    height, width = numbers.shape
    rows, columns = height // cell_px, width // cell_px
    cell = np.arange(height)[:, None] // cell_px * columns + np.arange(width) // cell_px
    counts = np.bincount((cell * size + numbers).ravel(), minlength=rows * columns * size)
    return (counts.reshape(rows * columns, size) / cell_px**2).astype(np.float32)


def quarter_categories(picture: Picture, patch_px: int) -> NDArray[np.int8]:
    """(patches, 4): the category that covers most of each quarter of each patch; NOTHING where no region does."""
    names = np.full(1 + max((one.segment_id for one in picture.regions), default=0), NOTHING, np.int64)
    for region in picture.regions:
        names[region.segment_id] = region.category_id
    rows, columns = (side // patch_px for side in picture.segment_map.shape)
    most = _counts(names[picture.segment_map], patch_px // 2, len(LABELS) + 1).argmax(1)
    quarters = most.reshape(rows, 2, columns, 2).transpose(0, 2, 1, 3)
    return quarters.reshape(rows * columns, 4).astype(np.int8)


def patch_attributes(picture: Picture, parts: Parts, things: Mapping[int, Thing]) -> NDArray[np.int8]:
    """(patches, len(ATTRIBUTES)) of the thing that covers most of each patch, if that is COVERED of it or more.

    `things` by actor_id: what can be seen of them.
    """
    answers = np.full((parts.shape[1], len(ATTRIBUTES)), -1, np.int8)
    covering = np.zeros_like(parts)
    for region in picture.regions:
        if region.actor_id is not None:
            answers[region.segment_id] = attributes_of(things[region.actor_id])
            covering[:, region.segment_id] = parts[:, region.segment_id]
    most = covering.argmax(1)
    return np.where((covering.max(1) >= COVERED)[:, None], answers[most], -1).astype(np.int8)


def attributes_of(thing: Thing) -> list[int]:
    """Indices into the answers of ATTRIBUTES; -1 where there is none, or none to be seen."""
    return [
        answers.index(value) if (value := getattr(thing, name)) is not None else -1
        for name, answers in ATTRIBUTES.items()
    ]


def parts_inside(box: Box, rows: int, columns: int) -> NDArray[np.float32]:
    """(rows * columns): part of each patch that lies in a box."""
    down, across = _overlap(box.y, box.h, rows), _overlap(box.x, box.w, columns)
    return np.outer(down, across).ravel().astype(np.float32)


def _overlap(start: float, length: float, cells: int) -> NDArray[np.float64]:
    first = np.arange(cells)
    return np.clip(np.minimum(first + 1, (start + length) * cells) - np.maximum(first, start * cells), 0, 1)
