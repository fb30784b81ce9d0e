"""A frame as people look at it: the picture with masks, boxes and names of what was detected, and what a caption cites.

Colours and lines of objects are the gallery's: gallery/site/gallery.css and frame.js hold the same ones, and a test
keeps them alike.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from storage.tables import Detection, Mention
from tasks.boxes import to_corners_px
from tasks.frame_work import decode_picture
from tasks.masks import Mask
from tasks.visible_text import visible_line

Colour = tuple[int, int, int]
HUES: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
    (160, 160, 160), (128, 128, 128),
)  # fmt: skip
"""Okabe and Ito's colours, told apart by colour-blind eyes too; the last is for ids that nothing was detected under."""
OBJECT_HUES = len(HUES) - 1
DASHES: tuple[tuple[int, ...], ...] = ((), (9, 4), (3, 3), (12, 3, 2, 3))
"""The lines of the first eight objects, of the next, ...: pixels drawn and left out in turn; () is unbroken."""
PLAIN, CITED, NOT_CITED = 70, 90, 25
"""How strong masks are, of 255: without a caption, and with one those that it cites and those that it does not."""
UNIT_OF_EDGE = 400
"""Lines are drawn with the picture's longest edge divided by this as their unit."""
LETTERS_OF_EDGE = 45
"""Letters of names are as high as the picture's longest edge divided by this, never smaller than SMALLEST_LETTERS."""
SMALLEST_LETTERS = 11
LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Look:
    """How an object is drawn wherever its frame is shown."""

    hue: int
    """Place in HUES."""
    line: int
    """Place in DASHES."""

    @property
    def colour(self) -> Colour:
        """Red, green and blue."""
        return HUES[self.hue]


NOT_DETECTED = Look(OBJECT_HUES, 0)


def looks(detections: Iterable[Detection]) -> dict[str, Look]:
    """The look of each object of one frame by object_id, by its place in the list; use NOT_DETECTED for other ids."""
    order = sorted(detections, key=lambda one: one.object_index)
    return {
        one.object_id: Look(place % OBJECT_HUES, place // OBJECT_HUES % len(DASHES)) for place, one in enumerate(order)
    }


def draw_frame(
    picture: bytes,
    detections: Sequence[Detection],
    mentions: Sequence[Mention] = (),
    *,
    longest_edge: int | None = None,
) -> Image.Image:
    """The frame's picture (an encoded file, frames.image.bytes) with its detections drawn, RGB.

    With the mentions of a caption the objects it cites stand out and the others are faint and without names; without
    mentions all are alike. `longest_edge` makes the picture that large, in pixels, up or down; None keeps its size.
    Raises PictureError for bytes that are no picture.
    """
    image = Image.fromarray(decode_picture(picture))
    if longest_edge:
        factor = longest_edge / max(image.size)
        size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        image = image.resize(size, Image.Resampling.LANCZOS)
    known = looks(detections)
    cited = {object_id for one in mentions for object_id in one.object_ids}
    image = _with_masks(image, detections, known, cited)
    draw = ImageDraw.Draw(image)
    drawn = sorted(detections, key=lambda one: (bool(cited) and one.object_id in cited, -one.box.w * one.box.h))
    for one in drawn:  # small boxes over large ones, what is cited over all
        _draw_box(draw, image.size, one, known[one.object_id], quiet=bool(cited) and one.object_id not in cited)
    for one in drawn:
        if not cited or one.object_id in cited:
            _draw_name(draw, image.size, one)
    return image


def _with_masks(
    image: Image.Image, detections: Sequence[Detection], known: dict[str, Look], cited: set[str]
) -> Image.Image:
    segments: dict[int, list[Detection]] = {}
    for one in detections:
        if one.mask is not None:
            segments.setdefault(one.segment_id, []).append(one)
    for _, boxes in sorted(segments.items()):
        first = boxes[0]  # boxes of a split region share its mask
        strength = PLAIN if not cited else CITED if any(one.object_id in cited for one in boxes) else NOT_CITED
        mask = Mask(first.mask_height, first.mask_width, first.mask or "").pixels()
        alpha = Image.fromarray(np.where(mask, strength, 0).astype(np.uint8)).resize(image.size)
        image.paste(Image.new("RGB", image.size, known[first.object_id].colour), mask=alpha)
    return image


def _draw_box(draw: ImageDraw.ImageDraw, size: tuple[int, int], one: Detection, look: Look, *, quiet: bool) -> None:
    unit = max(1, round(max(size) / UNIT_OF_EDGE))
    left, top, right, bottom = (round(edge) for edge in to_corners_px(one.box, *size))
    if right <= 0 or bottom <= 0 or left >= size[0] or top >= size[1]:
        return
    left, top = max(unit // 2, left), max(unit // 2, top)
    right, bottom = max(left, min(size[0], right) - 1 - unit // 2), max(top, min(size[1], bottom) - 1 - unit // 2)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    if quiet:
        draw.line(corners, fill=look.colour, width=1)
        return
    draw.line(corners, fill=(0, 0, 0), width=2 * unit + 1)
    for start, end in pairwise(corners):
        for piece in _dashes(start, end, tuple(unit * length for length in DASHES[look.line])):
            draw.line(piece, fill=look.colour, width=2 * unit - 1)


def _dashes(
    start: tuple[int, int], end: tuple[int, int], lengths: tuple[int, ...]
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """The drawn pieces of a level or upright line."""
    whole = abs(end[0] - start[0]) + abs(end[1] - start[1])
    if not lengths or not whole:
        yield start, end
        return
    across, down = (end[0] - start[0]) / whole, (end[1] - start[1]) / whole
    at, turn = 0, 0
    while at < whole:
        until = min(whole, at + lengths[turn % len(lengths)])
        if turn % 2 == 0:
            yield (start[0] + across * at, start[1] + down * at), (start[0] + across * until, start[1] + down * until)
        at, turn = until, turn + 1


def _draw_name(draw: ImageDraw.ImageDraw, size: tuple[int, int], one: Detection) -> None:
    letters = max(SMALLEST_LETTERS, max(size) // LETTERS_OF_EDGE)
    font = ImageFont.load_default(letters)
    name = visible_line(one.object_id)[:LONGEST_NAME]
    left, top, _, _ = to_corners_px(one.box, *size)
    width, height = draw.textlength(name, font=font), letters * 1.3
    at = (min(max(0, left + 3), max(0, size[0] - width - 2)), min(max(0, top + 2), max(0, size[1] - height)))
    draw.text(at, name, fill=(255, 255, 255), font=font, stroke_width=max(1, letters // 8), stroke_fill=(0, 0, 0))
