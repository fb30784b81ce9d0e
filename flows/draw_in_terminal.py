"""A picture in the terminal: by kitty's graphics protocol, by sixels, or as half blocks in the terminal's colours.

kitty    https://sw.kovidgoyal.net/kitty/graphics-protocol/  PNG in base64, in pieces of 4,096 letters
sixel    DEC's VT330/VT340 manual, chapter 14: a palette, then bands of six lines
blocks   '▀', its colour above, its background below; rich takes the nearest colours that the terminal has
"""

import base64
import fcntl
import io
import os
import re
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

KITTY, SIXEL, BLOCKS, NONE, AUTO = "kitty", "sixel", "blocks", "none", "auto"
WAYS = (AUTO, KITTY, SIXEL, BLOCKS, NONE)
KITTY_PROGRAMS = frozenset({"ghostty", "WezTerm", "konsole"})
PIECE = 4096
"""Letters of base64 that kitty's protocol takes at once."""
ANSWER_SECONDS = 0.5
"""How long the terminal may take to say what it is."""
CELL_PX = (8, 16)
"""Size of a cell where the terminal does not say it."""
MOST_LINES = 0.6
"""A picture takes this part of the terminal's lines at most, so that its caption is seen with it."""
PALETTE = 255


def choose_way(console: Console, environment: Mapping[str, str] = os.environ) -> str:
    """How pictures can be shown: KITTY, SIXEL, BLOCKS, or NONE where the output is no terminal, or has no colours."""
    if not console.is_terminal or console.color_system is None:
        return NONE
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if re.match(r"tmux|screen", term) or "TMUX" in environment:
        return BLOCKS  # these keep graphics from the terminal around them
    if "KITTY_WINDOW_ID" in environment or term == "xterm-kitty" or program in KITTY_PROGRAMS:
        return KITTY
    return SIXEL if says_sixel() else BLOCKS


def says_sixel(seconds: float = ANSWER_SECONDS) -> bool:
    """Whether the terminal on stdin says of itself, within `seconds`, that it draws sixels (DA1 with attribute 4)."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    try:
        tty.setcbreak(file, termios.TCSANOW)
        os.write(sys.stdout.fileno(), b"\x1b[c")
        answer, end = b"", time.monotonic() + seconds
        while not (found := re.search(rb"\x1b\[\?([\d;]*)c", answer)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([file], [], [], left)[0]:
                return False
            answer += os.read(file, 256)
        return b"4" in found[1].split(b";")[1:]
    finally:
        termios.tcsetattr(file, termios.TCSANOW, before)


def draw(image: Image.Image, console: Console, way: str) -> None:
    """Draw an RGB picture, as wide as the terminal at most and MOST_LINES of it high."""
    if way == NONE:
        return
    columns, lines = fitted_cells(image, console)
    if way == BLOCKS:
        console.print(Segments(blocks(image.resize((columns, 2 * lines), Image.Resampling.LANCZOS))), end="")
        return
    size = (columns * cell_px()[0], lines * cell_px()[1])
    code = "".join(kitty(image, columns, lines)) if way == KITTY else sixel(image.resize(size))
    console.file.write(f"{code}\n")
    console.file.flush()


def fitted_cells(image: Image.Image, console: Console) -> tuple[int, int]:
    """(columns, lines) that the picture takes, in its own shape."""
    width, height = cell_px()
    lines = max(4, int(console.height * MOST_LINES))
    columns = min(console.width, max(1, round(lines * height * image.width / image.height / width)))
    return columns, max(1, round(columns * width * image.height / image.width / height))


def cell_px() -> tuple[int, int]:
    """(width, height) of a cell in pixels, as the terminal says; CELL_PX where it does not."""
    try:
        said = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
        lines, columns, width, height = struct.unpack("HHHH", said)
    except (OSError, ValueError, termios.error):
        return CELL_PX
    return (width // columns, height // lines) if width and height and columns and lines else CELL_PX


def kitty(image: Image.Image, columns: int, lines: int) -> Iterator[str]:
    """The picture as kitty's commands, which scale it into so many cells, and answer nothing."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    for start in range(0, len(data), PIECE):
        head = f"a=T,f=100,q=2,c={columns},r={lines}," if start == 0 else ""
        yield f"\x1b_G{head}m={int(start + PIECE < len(data))};{data[start : start + PIECE]}\x1b\\"


def sixel(image: Image.Image) -> str:
    """The picture as sixels, in PALETTE colours at most."""
    few = image.convert("RGB").quantize(PALETTE)
    pixels = np.asarray(few)
    palette = np.asarray(few.getpalette() or [], dtype=int).reshape(-1, 3)
    height, width = pixels.shape
    parts = [f'\x1bP0;1;0q"1;1;{width};{height}']
    parts += [f"#{place};2;{';'.join(str(round(100 * one / 255)) for one in colour)}"
              for place, colour in enumerate(palette)]  # fmt: skip
    for top in range(0, height, 6):
        band = pixels[top : top + 6]
        weights = (1 << np.arange(len(band)))[:, None]
        rows = [f"#{colour}{_runs(((band == colour) * weights).sum(axis=0))}" for colour in np.unique(band)]
        parts.append("$".join(rows) + "-")
    return "".join(parts) + "\x1b\\"


def _runs(sixels: NDArray[np.integer]) -> str:
    """A line of six-pixel columns, equal neighbours counted."""
    edges = np.flatnonzero(np.diff(sixels)) + 1
    parts = []
    for run in np.split(sixels, edges):
        letter = chr(63 + int(run[0]))
        parts.append(f"!{len(run)}{letter}" if len(run) > 3 else letter * len(run))
    return "".join(parts)


def blocks(image: Image.Image) -> Iterator[Segment]:
    """The picture as half blocks, two pixels a cell."""
    pixels = np.asarray(image.convert("RGB"))
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=False):
        for above, below in zip(upper, lower, strict=True):
            yield Segment("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        yield Segment.line()
