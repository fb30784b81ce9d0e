"""Faults of the tags by code and captioner, per 1,000 captions: the answer of the query violations_by_code."""

from typing import TYPE_CHECKING

from storage import catalog
from tasks.errors import PlotError
from tasks.plot_data import Asked, counted
from tasks.plot_style import QUIET, grid, labels, legible, name_rows, new_figure, number, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUESTION = "Violations by code per captioner, as a rate per 1,000 captions"
METRICS = False
REMEDY = "Check some: caption-movies run MOVIES --store STORE"
COLUMNS = 4
LONGEST_NAME = 21
"""That finds room above a panel."""
ROW_INCHES, PANEL_INCHES = 0.24, 0.75


def draw(asked: Asked) -> "Figure":
    """A panel per captioner, a bar per code, the same scale for all. Raises PlotError without checked captions,
    or without a violation.
    """
    with catalog.translated_errors():
        answer = catalog.ask(asked.connection, "violations_by_code")
        found = answer.project("captioner, code, per_thousand_captions").fetchall()
    rates = {(captioner, code): rate for captioner, code, rate in found}
    sql = "select captioner, count(*) from captions join verdicts using (caption_id) group by 1"
    captions = dict(asked.rows(sql))
    names = asked.chosen(captions, "checked captions", REMEDY.replace("STORE", asked.location))
    total: dict[str, float] = {}
    for (captioner, code), rate in rates.items():
        if captioner in names:
            total[code] = total.get(code, 0.0) + rate
    codes = sorted(total, key=lambda code: (-total[code], code))
    shown, columns = labels(names, LONGEST_NAME), min(COLUMNS, len(names))
    if not codes:
        raise PlotError(f"no caption has a violation, of {counted(captions, names, shown)}: there is nothing to draw.")
    height = -(-len(names) // columns) * (PANEL_INCHES + ROW_INCHES * max(3, len(codes)))
    figure = new_figure(
        f"Violations by code in {asked.store}",
        f"{counted(captions, names, shown)}; all candidates count. A number is violations per 1,000 captions.",
        height,
    )
    most, hues = max(rates.get((name, code), 0.0) for name in names for code in codes), shades(names)
    for place, (axes, name) in enumerate(zip(grid(figure, len(names), len(codes), columns), names, strict=True)):
        _bars(axes, [rates.get((name, code), 0.0) for code in codes], hues[name][0])
        axes.set_xlim(0, most * 1.18)
        axes.set_title(shown[name])
        if place + columns >= len(names):
            axes.set_xlabel("violations per 1,000 captions")
        if place % columns == 0:
            name_rows(axes, [legible(code) for code in codes])
    return figure


def _bars(axes: "Axes", values: list[float], hue: str) -> None:
    """A bar a row, its value at its end."""
    axes.barh(range(len(values)), values, height=0.7, color=hue)
    for row, value in enumerate(values):
        axes.annotate(
            number(value), (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5,
            color=QUIET,
        )  # fmt: skip
