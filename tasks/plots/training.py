"""How trainings went: loss, validation, learning rate and speed over the steps of the optimizer.

The picture that a training leaves beside its adapter (tasks/adapters.py) is this one, too.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.plot_data import Asked, number_of
from tasks.plot_style import QUIET, labels, legible, new_figure, plain_ticks, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUESTION = "How trainings went: loss, validation, learning rate, samples per second (--captioners: adapters)"
METRICS = False
REMEDY = "Train one: caption-movies train --store STORE --recipe RECIPE"
PANELS = (
    ("Loss", "cross entropy per token", (("loss", "training", "-"), ("eval_loss", "validation", "--"))),
    ("Validation", "validation score", (("eval_validation", "validation", "--"),)),
    ("Learning rate", "size of a step", (("learning_rate", "training", "-"),)),
    ("Speed", "samples per second", (("samples_per_second", "training", "-"),)),
)
"""Title, axis, and the curves: name in training_log, what it is of, line."""
COLUMNS, ROW_INCHES, FOOT_INCHES = 2, 2.7, 0.4
MARKED = 40
"""Fewer points than that are marked one by one."""
Points = Sequence[tuple[float, float]]
"""(step, value)."""
Log = Sequence[tuple[str, Mapping[str, Points]]]
"""Of each stage in order its name, and its curves by name."""


def draw(asked: Asked) -> "Figure":
    """All panels, a colour per adapter. Raises PlotError without a training's log."""
    logs: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    sql = "select adapter, stage, name, step, value from training_log where isfinite(value) order by all"
    for adapter, stage, name, step, value in asked.rows(sql):
        logs.setdefault(adapter, {}).setdefault(stage, {}).setdefault(name, []).append((step, value))
    names = asked.chosen(logs, "training log", REMEDY.replace("STORE", asked.location))
    recipes = dict(asked.rows("select adapter, recipe from adapters"))
    ordered = {}
    for name in names:
        stages = [one["name"] for one in json.loads(recipes[name])["stage"]] if name in recipes else []
        stages += [stage for stage in logs[name] if stage not in stages]
        ordered[name] = [(stage, logs[name].get(stage, {})) for stage in stages]
    who = labels(names)[names[0]] if len(names) == 1 else number_of(len(names), "adapter")
    return curves_figure(ordered, f"Training of {who} in {asked.store}")


def curves_figure(logs: Mapping[str, Log], title: str) -> "Figure":
    """Loss, validation, learning rate and speed of each adapter. Stages follow each other along the axis."""
    names = list(logs)
    shown, hues = labels(names), shades(names)
    said = [f"{shown[name]}: {', '.join(f'{stage} {_last(curves)}' for stage, curves in logs[name])}" for name in names]
    subtitle = f"Steps of the optimizer by stage: {'; '.join(said)}." if len(names) <= 3 else ""
    lines = "Solid: training. Dashed: validation." + (" Dotted lines: another stage begins." if len(names) == 1 else "")
    figure = new_figure(title, f"{subtitle} {lines}".strip(), ROW_INCHES * 2 + FOOT_INCHES * (len(names) > 1))
    for axes, (heading, unit, curves) in zip(figure.subplots(2, COLUMNS, squeeze=False).flat, PANELS, strict=True):
        axes.set_title(heading)
        axes.set_ylabel(unit)
        for name in names:
            for curve, _, line in curves:
                _curve(axes, logs[name], curve, line, *hues[name])
        if not axes.has_data():
            axes.annotate("nothing was logged", (0.5, 0.5), xycoords="axes fraction", ha="center", color=QUIET)
        axes.margins(y=0.18)
        axes.set_xlim(0, 1.02 * max(1, *(sum(_last(curves) for _, curves in log) for log in logs.values())))
        plain_ticks(axes, x=7, y=6)
        axes.set_xlabel("steps")
        if len(names) == 1:
            _stages(axes, logs[names[0]])
    if len(names) > 1:
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], color=hues[name][0], marker=hues[name][1], label=shown[name]) for name in names]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(4, len(names)))
    return figure


def _curve(axes: "Axes", log: Log, name: str, line: str, hue: str, mark: str) -> None:
    """One curve, anew in each stage."""
    before = 0
    many = sum(len(curves.get(name, ())) for _, curves in log)
    for _, curves in log:
        if points := curves.get(name, ()):
            steps, values = zip(*points, strict=True)
            axes.plot(
                [before + step for step in steps], values, color=hue, linestyle=line, linewidth=1.6, markersize=4.5,
                marker=mark if many < MARKED or len(points) == 1 else "",
            )  # fmt: skip
        before += _last(curves)


def _last(curves: Mapping[str, Points]) -> int:
    """The last step of a stage."""
    return int(max((step for points in curves.values() for step, _ in points), default=0))


def _stages(axes: "Axes", log: Log) -> None:
    """Where each stage begins, with its name above."""
    before = 0
    for place, (stage, curves) in enumerate(log):
        if place:
            axes.axvline(before, color=QUIET, linestyle=":", linewidth=1.1)
        if len(log) > 1:
            axes.annotate(
                legible(stage), (before, 1), xycoords=("data", "axes fraction"), xytext=(3, -3), va="top",
                textcoords="offset points", fontsize=8.5, color=QUIET,
            )  # fmt: skip
        before += _last(curves)
