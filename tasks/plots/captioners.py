"""Captioners side by side: each summary with its 95 % interval."""

from typing import TYPE_CHECKING

from tasks.card_scores import CARD
from tasks.metrics import ALL
from tasks.plot_data import Asked, chosen_metrics, counted, each_of, meanings
from tasks.plot_style import INK, describe, grid, label_width, labels, name_rows, new_figure, number, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUESTION = "Captioners side by side: each score over all captions, with its 95 % interval"
METRICS = True
REMEDY = "Compute them with: caption-movies score --store STORE"
PREFERRED = (*(figure.metric for figure in CARD), "violation_rate_macro", "coverage_macro", "length_words_macro")
COLUMNS = 3
ROW_INCHES, PANEL_INCHES = 0.3, 1.25
DIRECTION = {True: "higher is better", False: "lower is better", None: ""}
Row = tuple[float, float | None, float | None, int]
"""Value, its interval's bounds, and how many captions it is of."""


def draw(asked: Asked) -> "Figure":
    """A panel per metric, a row per captioner. Raises PlotError without summaries."""
    remedy = REMEDY.replace("STORE", asked.location)
    found: dict[str, dict[str, Row]] = {}
    captions: dict[str, int] = {}
    sql = """select captioner, metric, value, low, high, captions from summaries
             where "group" = $all and value is not null and isfinite(value)"""
    for captioner, metric, value, low, high, many in asked.rows(sql, all=ALL):
        found.setdefault(captioner, {})[metric] = (value, low, high, many)
        captions[captioner] = max(many, captions.get(captioner, 0))
    names = asked.chosen(found, "summaries", remedy)
    metrics = chosen_metrics(asked, {metric for name in names for metric in found[name]}, PREFERRED, remedy)
    names = [name for name in names if found[name].keys() & set(metrics)]  # a detector's summaries are others
    shown, columns = labels(names), min(COLUMNS, len(metrics))
    figure = new_figure(
        f"Captioners compared in {asked.store}",
        f"{counted(captions, names, shown)}. Lines: 95 % intervals over resampled frames. Lines that overlap may still "
        "differ, or not: caption-movies compare says which do.",
        -(-len(metrics) // columns) * (PANEL_INCHES + ROW_INCHES * max(2, len(names))),
    )
    known, hues = meanings(asked), shades(names)
    for axes, metric in zip(grid(figure, len(metrics), len(names), columns), metrics, strict=True):
        for place, name in enumerate(names):
            if metric in found[name]:
                _row(axes, place, found[name][metric], *hues[name])
        meaning, higher = known.get(metric, ("", None))
        below = [DIRECTION[higher], each_of(found[name][metric][3] for name in names if metric in found[name])]
        describe(axes, metric, meaning, "\n".join(filter(None, below)), label_width(columns, shown.values()))
        axes.margins(x=0.08)
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            name_rows(axes, [shown[name] for name in names])
    return figure


def _row(axes: "Axes", place: int, row: Row, hue: str, mark: str) -> None:
    value, low, high, _ = row
    if low is not None and high is not None:
        axes.plot([low, high], [place, place], color=hue, linewidth=2.2, solid_capstyle="butt")
    axes.plot([value], [place], marker=mark, markersize=8, color=hue, markeredgecolor="white", markeredgewidth=0.5)
    axes.annotate(
        number(value), (1.015, place), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=INK
    )
