"""How every plot looks: colours, marks, sizes, names that are too long, and files that are the same byte by byte.

matplotlib is asked through its objects alone, never through pyplot's global state, and imported here only: the rest of
the project starts without it.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.drawn_frames import HUES
from tasks.errors import ConfigError, MissingExtraError
from tasks.visible_text import visible_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import Locator

INK, QUIET, LINE = "#1b1b1b", "#595959", "#c8c8c8"
ORDER = (4, 5, 2, 0, 6, 1, 8)
"""Of the gallery's colours, those that come first are the easiest to tell apart; yellow is lost on white paper."""
PALETTE = (*("#{:02x}{:02x}{:02x}".format(*HUES[place]) for place in ORDER), INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""Nothing is said by colour alone."""
ENDINGS = (".png", ".svg")
INSTALL = "pip install 'caption-movies[plots]'"
WIDTH_INCHES = 10.0
DOTS_PER_INCH = 100
TITLE_INCHES, LINE_INCHES = 0.42, 0.18
"""For the title, and for each line below it."""
LINE_CHARACTERS = 138
"""Of the subtitle."""
NAME_INCHES, LABEL_INCHES, NUMBER_INCHES = 0.075, 0.067, 0.55
"""A letter of a name, a letter below an axis, and the number beside a panel: no narrower than what they may be."""
LONGEST_NAME = 28
"""Characters of a name that are shown; of a longer one its beginning and its end."""
SMALLEST = 0.001
"""Smaller numbers are not written out beside a mark."""
SALT = "caption-movies"
STYLE: dict[str, Any] = {
    "axes.axisbelow": True, "axes.edgecolor": LINE, "axes.grid": True, "axes.labelcolor": QUIET, "axes.labelsize": 9,
    "axes.spines.right": False, "axes.spines.top": False, "axes.titlelocation": "left", "axes.titlesize": 10,
    "axes.titleweight": "bold", "figure.dpi": DOTS_PER_INCH, "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "font.size": 9.5, "grid.color": "#e6e6e6", "grid.linewidth": 0.8,
    "legend.frameon": False, "legend.fontsize": 9.5, "savefig.dpi": DOTS_PER_INCH, "svg.fonttype": "none",
    "svg.hashsalt": SALT, "text.color": INK, "text.parse_math": False, "xtick.color": QUIET, "xtick.labelsize": 8.5,
    "ytick.color": INK, "ytick.labelsize": 9.5, "ytick.major.size": 0,
}  # fmt: skip
"""Over matplotlib's own defaults: a matplotlibrc of the machine changes nothing. Names are never read as formulas."""


@contextmanager
def drawing() -> Iterator[None]:
    """The style, while figures are made and saved. Raises MissingExtraError without matplotlib."""
    check_matplotlib()
    import matplotlib.style

    with matplotlib.style.context(STYLE, after_reset=True):
        yield


def check_matplotlib() -> None:
    """Raises MissingExtraError without matplotlib."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a plot", "matplotlib", INSTALL) from error


def new_figure(title: str, subtitle: str, height_inches: float) -> "Figure":
    """An empty figure of that height below its title; what is drawn in it is laid out by itself."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    said = wrapped(subtitle, LINE_CHARACTERS, lines=4)
    height = height_inches + TITLE_INCHES + LINE_INCHES * (said.count("\n") + 2)
    below = (height_inches / height) * 0.995
    layout = ConstrainedLayoutEngine(rect=(0.005, 0.005, 0.99, below), w_pad=0.07, h_pad=0.07)
    figure = Figure(figsize=(WIDTH_INCHES, height), layout=layout)
    left, top = 0.12 / WIDTH_INCHES, 0.12
    figure.text(left, 1 - top / height, legible(title), va="top", fontsize=14, fontweight="bold", in_layout=False)
    under = 1 - (top + TITLE_INCHES - 0.1) / height
    figure.text(left, under, said, va="top", fontsize=9.5, color=QUIET, linespacing=1.3, in_layout=False)
    return figure


def save(figure: "Figure", target: Path, ending: str) -> Path:
    """Write one of ENDINGS. The same figure gives the same bytes: no time, no version in it."""
    _settle(figure)
    nothing = {"Date": None, "Creator": None} if ending == ".svg" else {"Software": None}
    figure.savefig(target, format=ending[1:], metadata=nothing)
    return target


def _settle(figure: "Figure") -> None:
    """Lay out, and round: the solver's last digits change from process to process, and SVG's ids hash them."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))


def check_ending(target: Path) -> str:
    """The ending that says the format. Raises ConfigError where it is none of ENDINGS."""
    if (ending := target.suffix.lower()) not in ENDINGS:
        raise ConfigError(f"{target} has to end with {' or '.join(ENDINGS)}: the ending says what is written.")
    return ending


def shades(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each name, in order. After the last colour the first one comes again, with other marks."""
    return {
        name: (PALETTE[place % len(PALETTE)], MARKERS[(place + place // len(PALETTE)) % len(MARKERS)])
        for place, name in enumerate(names)
    }


def labels(names: Sequence[str], longest: int = LONGEST_NAME) -> dict[str, str]:
    """What is shown of each name: all of it, or beginning and end. Where two would look alike they get numbers."""
    shown = {name: _shortened(legible(name), longest) for name in names}
    alike = {label for label in shown.values() if list(shown.values()).count(label) > 1}
    for place, name in enumerate(name for name in names if shown[name] in alike):
        shown[name] += f" [{place + 1}]"
    return shown


def _shortened(text: str, longest: int) -> str:
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def wrapped(text: str, width: int, lines: int = 3) -> str:
    """Text in lines of at most so many characters; what goes beyond the last one is cut off."""
    return textwrap.fill(legible(text), width, max_lines=lines, placeholder=" …")


def legible(text: str) -> str:
    """Text on one line, in which letters that the font lacks are spelt out as those are that nobody can see."""
    known = _drawable()
    return "".join(one if ord(one) in known else f"[U+{ord(one):04X}]" for one in visible_line(text))


@cache
def _drawable() -> frozenset[int]:
    from matplotlib import font_manager

    properties = font_manager.FontProperties(family=STYLE["font.sans-serif"])
    return frozenset(font_manager.get_font(font_manager.findfont(properties)).get_charmap())


def number(value: float) -> str:
    """A number as it is written beside a mark."""
    if 0 < abs(value) < SMALLEST:
        return f"<{SMALLEST}" if value > 0 else f">-{SMALLEST}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def plain_ticks(axes: "Axes", *, x: int | None = None, y: int | None = None) -> None:
    """At most so many numbers along an axis, written out: none run into each other, none hide in a corner."""
    for axis, many in ((axes.xaxis, x), (axes.yaxis, y)):
        if many is not None:
            axis.set_major_locator(_locator(many))
            axis.set_major_formatter(_written_out)


def _written_out(value: float, _: object) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:g}" if "e" not in f"{value:g}" else f"{value:.9f}".rstrip("0")


def _locator(many: int) -> "Locator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(many, steps=[1, 2, 2.5, 5, 10])


def grid(figure: "Figure", panels: int, rows: int, columns: int) -> list["Axes"]:
    """So many axes in a grid, those of a line sharing the names on the left, `rows` of them from the top."""
    down = -(-panels // columns)
    made = figure.subplots(down, columns, sharey=True, squeeze=False)
    axes = list(made.flat)
    for spare in axes[panels:]:
        spare.remove()
    for one in axes[:panels]:
        one.set_ylim(rows - 0.4, -0.6)
        one.grid(axis="y", visible=False)
        plain_ticks(one, x=5)
    return axes[:panels]


def label_width(columns: int, names: Iterable[str]) -> int:
    """How many characters find room below a panel, in a grid of so many columns with these names on its left."""
    beside = max(map(len, names), default=0) * NAME_INCHES + columns * NUMBER_INCHES
    return max(20, int((WIDTH_INCHES - beside) / columns / LABEL_INCHES))


def describe(axes: "Axes", heading: str, meaning: str, below: str, width: int) -> None:
    """A panel's heading, and under its axis what is measured, in lines of `width` characters."""
    axes.set_title(legible(heading))
    axes.set_xlabel("\n".join(filter(None, (wrapped(meaning, width, lines=4), below))), loc="left")


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """The names of the rows, on the left."""
    axes.set_yticks(range(len(names)), names)
