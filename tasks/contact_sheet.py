"""A few captioned frames as one picture: boxes, and below each frame its caption, tags in their boxes' colours."""

import io
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

from tasks.drawn_frames import NOT_DETECTED, Colour, draw_frame, looks
from tasks.sample_captions import Sample
from tasks.visible_text import visible_line

COLUMNS = 2
CELL_WIDTH = 460
GAP = 12
LETTERS, LINE, UNDERLINE = 16, 25, 4
"""Height of letters, of a line, and of the bar below what a tag cites, in pixels."""
MOST_LINES = 12
TINT = 0.3
"""How much of its colour lies behind the words of a tag; the rest is paper, so that black letters are read on it."""
PAPER, INK = (255, 255, 255), (20, 20, 20)
QUALITIES = (85, 75, 65, 55, 45, 35)
SHRINK = 0.8

Word = tuple[str, Colour | None]


def contact_sheet(samples: Sequence[Sample]) -> Image.Image:
    """The frames side by side, RGB, white behind. Raises PictureError where a frame is no picture."""
    cells = [_cell(sample) for sample in samples]
    rows = [cells[at : at + COLUMNS] for at in range(0, len(cells), COLUMNS)]
    heights = [max(cell.height for cell in row) for row in rows]
    wide = min(COLUMNS, len(cells))
    sheet = Image.new("RGB", (wide * (CELL_WIDTH + GAP) + GAP, sum(heights) + GAP * (len(rows) + 1)), PAPER)
    top = GAP
    for row, height in zip(rows, heights, strict=True):
        for place, cell in enumerate(row):
            sheet.paste(cell, (GAP + place * (CELL_WIDTH + GAP), top))
        top += height + GAP
    return sheet


def as_jpeg(image: Image.Image, most_bytes: int) -> bytes:
    """The picture as JPEG of fewer bytes than that: of lower quality, then smaller."""
    while True:
        for quality in QUALITIES:
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=quality, optimize=True)
            if buffer.tell() < most_bytes or max(image.size) <= 1:
                return buffer.getvalue()
        image = image.resize((max(1, int(image.width * SHRINK)), max(1, int(image.height * SHRINK))))


def coloured_words(sample: Sample) -> Iterator[Word]:
    """The words of the plain caption, each with the colour of the first object that its tag cites, None outside tags.

    A word in several tags has the colour of the shortest.
    """
    known = looks(sample.detections)
    spans = sorted(sample.mentions, key=lambda one: one.end - one.start)
    at = 0
    for word in sample.plain_text.split(" "):
        end = at + len(word)
        mine = next((one for one in spans if one.object_ids and one.start < end and one.end > at), None)
        yield visible_line(word), known.get(mine.object_ids[0], NOT_DETECTED).colour if mine else None
        at = end + 1


def _cell(sample: Sample) -> Image.Image:
    frame = draw_frame(sample.frame.image.bytes, sample.detections, sample.mentions, longest_edge=CELL_WIDTH)
    font = ImageFont.load_default(LETTERS)
    lines = list(_lines(coloured_words(sample), font))
    cell = Image.new("RGB", (CELL_WIDTH, frame.height + 4 + LINE * len(lines)), PAPER)
    cell.paste(frame, ((CELL_WIDTH - frame.width) // 2, 0))
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        _draw_line(draw, line, frame.height + 4 + number * LINE, font)
    return cell


def _lines(words: Iterator[Word], font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Iterator[list[Word]]:
    """Words in lines as wide as a cell, MOST_LINES of them; a longer caption ends in an ellipsis."""
    line: list[Word] = []
    told = 0
    for word in words:
        if line and font.getlength(" ".join(text for text, _ in (*line, word))) > CELL_WIDTH:
            told += 1
            if told == MOST_LINES:
                yield [*line[:-1], ("…", None)]
                return
            yield line
            line = []
        line.append(word)
    if line:
        yield line


def _draw_line(
    draw: ImageDraw.ImageDraw, line: Sequence[Word], top: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> None:
    left, blank = 0.0, font.getlength(" ")
    for place, (text, colour) in enumerate(line):
        width = font.getlength(text)
        if colour is not None:
            joined = place + 1 < len(line) and line[place + 1][1] == colour
            right = left + width + (blank if joined else 0)
            draw.rectangle((left, top, right, top + LINE - UNDERLINE), fill=_tint(colour))
            draw.rectangle((left, top + LINE - UNDERLINE - 1, right, top + LINE - 2), fill=colour)
        draw.text((left, top + 1), text, fill=INK, font=font)
        left += width + blank


def _tint(colour: Colour) -> Colour:
    red, green, blue = (round(TINT * one + (1 - TINT) * 255) for one in colour)
    return red, green, blue
