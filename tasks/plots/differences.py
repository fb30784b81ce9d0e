"""Which differences between two captioners are more than chance: `compare`'s numbers, with intervals and p-values.

Of trainings they stand in the store: after less before. `caption-movies compare --plot` draws those of any two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.errors import PlotError
from tasks.metrics import available, load, names_in_summaries
from tasks.plot_data import MOST_METRICS, Asked, chosen_metrics, meanings, number_of
from tasks.plot_style import INK, PALETTE, QUIET, describe, grid, label_width, labels, name_rows, new_figure, number
from tasks.plots.captioners import DIRECTION, PREFERRED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.compare_captioners import Comparison

QUESTION = "Which differences that trainings made are more than chance: after less before (--captioners: adapters)"
METRICS = True
REMEDY = "Train one: caption-movies train --store STORE --recipe RECIPE"
SIGNIFICANT = 0.05
"""p-values below this are called more than chance."""
LOOKS = {"better": (PALETTE[0], "^"), "worse": (PALETTE[1], "v"), "differs": (INK, "D"), "chance": ("#8a8a8a", "o")}
COLUMNS, ROW_INCHES, PANEL_INCHES = 3, 0.34, 1.1
LEGEND = f"Triangle up: better, down: worse, both with p < {SIGNIFICANT} of that metric alone; grey: may be chance."


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One value of one captioner less that of another; None where there is no interval, or no p-value."""

    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    higher_is_better: bool | None

    @property
    def verdict(self) -> str:
        """One of LOOKS."""
        if self.p_value is None or self.p_value >= SIGNIFICANT or self.difference == 0:
            return "chance"
        if self.higher_is_better is None:
            return "differs"
        return "better" if (self.difference > 0) == self.higher_is_better else "worse"


Differences = Mapping[str, Mapping[str, Difference]]
"""By what is compared, and by metric."""


def draw(asked: Asked) -> "Figure":
    """A panel per metric, a row per training. Raises PlotError without a training that was scored."""
    found: dict[str, dict[str, Difference]] = {}
    frames: dict[str, int] = {}
    sql = """select adapter, metric, difference, low, high, p_value, higher_is_better, frames from adapter_scores
             where isfinite(difference) order by adapter, metric"""
    for adapter, metric, difference, low, high, p_value, higher, many in asked.rows(sql):
        found.setdefault(adapter, {})[metric] = Difference(
            difference=difference, low=low, high=high, p_value=p_value, higher_is_better=higher
        )
        frames[adapter] = max(many, frames.get(adapter, 0))
    remedy = REMEDY.replace("STORE", asked.location)
    names = asked.chosen(found, "scores before and after a training", remedy)
    metrics = chosen_metrics(asked, {metric for name in names for metric in found[name]}, PREFERRED, remedy)
    said = ", ".join(f"{labels(names)[name]}: {number_of(frames[name], 'frame')}" for name in names[:3])
    return differences_figure(
        {name: found[name] for name in names}, metrics, {metric: one for metric, (one, _) in meanings(asked).items()},
        f"What training changed in {asked.store}",
        f"After less before, on movies that were not learnt from ({said}{', ...' if len(names) > 3 else ''}).",
    )  # fmt: skip


def comparison_figure(found: Sequence["Comparison"], one: str, other: str, *, all_metrics: bool) -> "Figure":
    """What `compare` found of two captioners: the metrics most worth seeing, or all of those chosen, MOST_METRICS.

    Raises PlotError where there is no difference to show.
    """
    rows = {row.metric: difference for row in found if (difference := difference_of(row))}
    if not rows:
        raise PlotError(f"no metric has a value of both {one} and {other}; the table of `compare` says why.")
    metrics = [name for name in PREFERRED if name in rows]
    if all_metrics or not metrics:  # counts come last
        metrics = sorted(rows, key=lambda name: (name not in PREFERRED, rows[name].higher_is_better is None))
    known = {name: what for metric in map(load, available()) for name, what in names_in_summaries(metric).items()}
    frames = max(row.frames for row in found)
    shown = labels([one, other])
    pair = f"{shown[one]} less {shown[other]}"
    return differences_figure(
        {pair: rows}, metrics[:MOST_METRICS], known, f"Differences: {pair}",
        f"On the {number_of(frames, 'frame')} that both captioned; fewer where only some have references.", names=False,
    )  # fmt: skip


def difference_of(row: "Comparison") -> Difference | None:
    """None where one of both has no value."""
    if row.difference is None:
        return None
    return Difference(
        difference=row.difference, low=row.low, high=row.high, p_value=row.p_value,
        higher_is_better=row.higher_is_better,
    )  # fmt: skip


def differences_figure(
    found: Differences,
    metrics: Sequence[str],
    meaning: Mapping[str, str],
    title: str,
    subtitle: str,
    *,
    names: bool = True,
) -> "Figure":
    """A panel per metric with a line at 0, a row per comparison: the difference, its 95 % interval and p-value."""
    shown, columns = labels(list(found)), min(COLUMNS, len(metrics))
    width = label_width(columns, shown.values() if names else ())
    height = -(-len(metrics) // columns) * (PANEL_INCHES + ROW_INCHES * len(found))
    figure = new_figure(title, f"{subtitle} Lines: 95 % intervals. {LEGEND}", height)
    for axes, metric in zip(grid(figure, len(metrics), len(found), columns), metrics, strict=True):
        axes.axvline(0, color=QUIET, linewidth=1.2)
        rows = [(place, one[metric]) for place, one in enumerate(found.values()) if metric in one]
        for place, row in rows:
            _row(axes, place, row)
        higher = next((row.higher_is_better for _, row in rows), None)
        describe(axes, metric, meaning.get(metric, ""), DIRECTION[higher], width)
        axes.margins(x=0.1)
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            name_rows(axes, list(shown.values()) if names else [""])
    return figure


def _row(axes: "Axes", place: int, row: Difference) -> None:
    hue, mark = LOOKS[row.verdict]
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [place, place], color=hue, linewidth=2.2, solid_capstyle="butt")
    axes.plot([row.difference], [place], marker=mark, markersize=8, color=hue, markeredgecolor="white")
    chance = "" if row.p_value is None else f"\np {number(row.p_value)}"
    axes.annotate(
        f"{number(row.difference)}{chance}", (1.015, place), xycoords=("axes fraction", "data"), va="center",
        fontsize=8.5, color=INK,
    )  # fmt: skip
