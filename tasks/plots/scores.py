"""How the scores of single captions are spread, per captioner and metric: histograms, counted by DuckDB."""

import math
import re
from typing import TYPE_CHECKING

from storage.catalog import FIRST_CAPTIONS_SQL
from tasks.card_scores import CARD
from tasks.plot_data import MEAN, Asked, chosen_metrics, counted, each_of, meanings
from tasks.plot_style import INK, QUIET, describe, grid, label_width, labels, name_rows, new_figure, number, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUESTION = "How the scores of single captions are spread, per captioner and metric"
METRICS = True
REMEDY = "Compute them with: caption-movies score --store STORE"
PREFERRED = (*(figure.metric.removesuffix(MEAN) for figure in CARD), "length_words")
BINS = 30
COLUMNS = 3
FULL_HEIGHT = 0.78
"""Of the tallest bar, in rows."""
ROW_INCHES, PANEL_INCHES = 0.42, 1.05
VALUES = f"""
with first as ({FIRST_CAPTIONS_SQL})
select captioner, metric, value from scores join first using (caption_id) where isfinite(value)
"""
Histogram = dict[int, int]
Row = tuple[int, float, float]
"""Captions, mean, median."""


def draw(asked: Asked) -> "Figure":
    """A panel per metric, a row per captioner. Raises PlotError without scores."""
    remedy = REMEDY.replace("STORE", asked.location)
    stats: dict[str, dict[str, Row]] = {}
    # rounded: DuckDB adds up in the order its threads come, and the last digits would differ from time to time
    sql = f"select captioner, metric, count(*), round(avg(value), 9), median(value) from ({VALUES}) group by all"
    for captioner, metric, *row in asked.rows(sql):
        stats.setdefault(captioner, {})[metric] = (row[0], row[1], row[2])
    names = asked.chosen(stats, "scores of captions", remedy)
    there = {metric for name in names for metric in stats[name]}
    metrics = chosen_metrics(asked, there, PREFERRED, remedy)
    shown = labels(names)
    captions = {name: max(row[0] for row in stats[name].values()) for name in names}
    columns = min(COLUMNS, len(metrics))
    down = -(-len(metrics) // columns)
    figure = new_figure(
        f"Score distributions in {asked.store}",
        f"{counted(captions, names, shown)}. Heights are shares of a captioner's captions, the most frequent value "
        "full height. Line: median. Diamond and number: mean.",
        down * (PANEL_INCHES + ROW_INCHES * max(2, len(names))),
    )
    known, hues = meanings(asked), shades(names)
    for axes, metric in zip(grid(figure, len(metrics), len(names), columns), metrics, strict=True):
        bounds, found = _histograms(asked, metric, names)
        for place, name in enumerate(names):
            if metric in stats[name]:
                _row(axes, place, found.get(name, {}), bounds, stats[name][metric], hues[name][0])
        said = each_of(stats[name][metric][0] for name in names if metric in stats[name])
        meaning, width = _unit(known.get(metric, ("", None))[0]), label_width(columns, shown.values())
        describe(axes, metric, meaning, said, width)
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            name_rows(axes, [shown[name] for name in names])
    return figure


def _unit(meaning: str) -> str:
    """What one value is: a metric's meaning, less how captions are put together."""
    return re.sub(r"[,;] (mean over captions|of the corpus)", "", meaning)


def _histograms(asked: Asked, metric: str, names: list[str]) -> tuple[tuple[float, float, int], dict[str, Histogram]]:
    """The range of the values and its parts, the same for all captioners, and how many captions are in each part."""
    wanted = {"metric": metric, "names": names}
    chosen = f"({VALUES}) where metric = $metric and list_contains($names::varchar[], captioner)"
    sql = f"select min(value), max(value), bool_and(value = floor(value)) from {chosen}"
    low, high, parts = _parts(*asked.rows(sql, **wanted)[0])
    part = "least($parts - 1, floor((value - $low) / ($high - $low) * $parts))::integer"
    sql = f"select captioner, {part} as part, count(*) from {chosen} group by all"
    found: dict[str, Histogram] = {}
    for captioner, place, many in asked.rows(sql, **wanted, low=low, high=high, parts=parts):
        found.setdefault(captioner, {})[place] = many
    return (low, high, parts), found


def _parts(low: float, high: float, whole: bool) -> tuple[float, float, int]:
    """From where to where, in how many parts: shares from 0 to 1, whole numbers with as many of them in each part."""
    if low >= 0 and high <= 1:
        return 0.0, 1.0, BINS
    if whole:
        width = math.ceil((high - low + 1) / BINS)
        parts = math.ceil((high - low + 1) / width)
        return low - 0.5, low - 0.5 + parts * width, parts
    return (low, high, BINS) if low < high else (low - 0.5, high + 0.5, BINS)


def _row(axes: "Axes", place: int, histogram: Histogram, bounds: tuple[float, float, int], row: Row, hue: str) -> None:
    low, high, parts = bounds
    width = (high - low) / parts
    base = place + 0.36
    parts_there = sorted(histogram)
    heights = [-FULL_HEIGHT * histogram[part] / max(histogram.values()) for part in parts_there]
    axes.bar([low + (part + 0.5) * width for part in parts_there], heights, width, base, color=hue, alpha=0.75)
    axes.plot([low, high], [base, base], color=hue, linewidth=0.8)
    _, mean, median = row
    axes.plot([median, median], [base, base - FULL_HEIGHT], color=INK, linewidth=1.3)
    axes.plot([mean], [base], marker="D", markersize=4.5, color=INK, clip_on=False, zorder=4)
    axes.annotate(
        number(mean), (1.015, base - 0.2), xycoords=("axes fraction", "data"), va="center", fontsize=8.5, color=QUIET
    )
