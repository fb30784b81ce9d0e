"""A detector without a model: deterministic, quick, no torch. It stands in wherever the pipeline is to be exercised.

Without a checkpoint it looks at the picture, on a grid of 6 x 4 cells: neighbouring cells of like colour are one
segment. With one, a JSON file says what is found in every picture:

    {"labels": ["person", "sky"], "things": ["person"],
     "segments": [{"label": "person", "score": 0.9, "box": [0.1, 0.2, 0.3, 0.4]}]}

Boxes are x, y, w, h as fractions, origin top left; where two overlap, the earlier one has the pixels. `labels` may be
left out for COCO's 133, `things` then too.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.tables import Box
from tasks.boxes import to_corners_px
from tasks.coco_panoptic import LABELS, THINGS
from tasks.detectors import DetectConfig
from tasks.errors import CheckpointError
from tasks.masks import encode_regions
from tasks.object_naming import Segment

Picture = NDArray[np.uint8]
COLUMNS, ROWS = 6, 4
COLOURS = 4
"""Levels per channel that colours are rounded to: neighbours that round alike are one segment."""
MIN_CELLS = 2
"""Smaller patches are background."""


@dataclass(frozen=True)
class Script:
    """What a JSON file says is found."""

    labels: list[str] = field(default_factory=lambda: list(LABELS))
    things: list[str] = field(default_factory=lambda: list(THINGS))
    segments: list[dict[str, Any]] | None = None


def digest(config: DetectConfig) -> str:
    """Of the script; a constant for the detector that looks at the picture."""
    if not config.checkpoint:
        return "scripted-1"
    return hashlib.sha256(_bytes(config.checkpoint)).hexdigest()


def load(config: DetectConfig) -> "Scripted":
    """Read the script, if there is one. Raises CheckpointError."""
    return Scripted(_read(config.checkpoint) if config.checkpoint else Script(), digest(config), config.threshold)


def _bytes(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"the scripted detector's checkpoint is a JSON file or empty, and {path!r} cannot be read: {error}"
        ) from error


def _read(path: str) -> Script:
    try:
        script = Script(**json.loads(_bytes(path)))
        for one in script.segments or []:
            Box(**dict(zip("xywh", map(float, one["box"]), strict=True)))
            script.labels.index(one["label"])
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} is not a script for the scripted detector: {error!r}. See its module."
        ) from error
    return script


@dataclass
class Scripted:
    """A loaded script. See tasks.detectors.Detector."""

    script: Script
    digest: str
    threshold: float

    @property
    def labels(self) -> list[str]:
        """Every label it can say."""
        return self.script.labels

    def __call__(self, images: Sequence[Picture]) -> list[list[Segment]]:
        """The segments of each picture."""
        return [self._look(image) for image in images]

    def _look(self, image: Picture) -> list[Segment]:
        regions, named = patches(image) if self.script.segments is None else self._play(image)
        seen = set(np.unique(regions).tolist())
        chosen = [one for one in named if one[0] in seen and one[2] > self.threshold]
        masks = encode_regions(regions, [number for number, _, _ in chosen])
        return [
            Segment(
                segment_id=index,
                category_id=self.labels.index(label),
                label=label,
                is_thing=label in self.script.things,
                score=score,
                mask=mask,
            )
            for index, ((_, label, score), mask) in enumerate(zip(chosen, masks, strict=True), 1)
        ]

    def _play(self, image: Picture) -> tuple[NDArray[np.int32], list[tuple[int, str, float]]]:
        height, width = image.shape[:2]
        regions = np.zeros((height, width), np.int32)
        named = []
        for number, one in enumerate(self.script.segments or [], 1):
            edges = to_corners_px(Box(**dict(zip("xywh", one["box"], strict=True))), width, height)
            left, top, right, bottom = (max(0, round(edge)) for edge in edges)
            part = regions[top:bottom, left:right]
            part[part == 0] = number
            named.append((number, one["label"], float(one.get("score", 0.9))))
        return regions, named


def patches(image: Picture) -> tuple[NDArray[np.int32], list[tuple[int, str, float]]]:
    """(map of patches, [(number, label, score)]) of a picture: like-coloured neighbours on a coarse grid.

    A patch's label hangs on its rounded colour, so the same thing keeps its name as it moves through a shot.
    """
    height, width = image.shape[:2]
    rows = np.minimum(np.arange(height) * ROWS // height, ROWS - 1)
    columns = np.minimum(np.arange(width) * COLUMNS // width, COLUMNS - 1)
    colours = np.zeros((ROWS, COLUMNS), np.int64)
    for row in range(ROWS):
        for column in range(COLUMNS):
            cell = image[rows == row][:, columns == column].reshape(-1, 3)
            red, green, blue = cell.mean(0).astype(int) // (256 // COLOURS) if len(cell) else np.zeros(3, int)
            colours[row, column] = (red * COLOURS + green) * COLOURS + blue
    numbers = _join(colours)
    named = []
    for number in range(1, int(numbers.max()) + 1):
        cells = numbers == number
        if (size := int(cells.sum())) >= MIN_CELLS:
            label = LABELS[int(colours[cells][0]) * 7 % len(LABELS)]
            named.append((number, label, round(0.75 + size / (ROWS * COLUMNS) / 5, 6)))
    return numbers[rows][:, columns], named


def _join(colours: NDArray[np.int64]) -> NDArray[np.int32]:
    """Numbers from 1 for the connected patches of equal colour, in reading order."""
    numbers = np.zeros(colours.shape, np.int32)
    for start in np.ndindex(*colours.shape):
        if numbers[start]:
            continue
        number, todo = int(numbers.max()) + 1, [start]
        while todo:
            row, column = todo.pop()
            inside = 0 <= row < colours.shape[0] and 0 <= column < colours.shape[1]
            if inside and not numbers[row, column] and colours[row, column] == colours[start]:
                numbers[row, column] = number
                todo += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return numbers
