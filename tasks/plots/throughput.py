"""Throughput over time: what each stage does in a second while it is at work, from the log of its shards."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import PlotError
from tasks.plot_data import Asked, number_of
from tasks.plot_style import INK, QUIET, labels, new_figure, number, plain_ticks, shades

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUESTION = "Throughput over time: frames, captions and tokens per second of each stage"
METRICS = False
REMEDY = "A run writes it: caption-movies run MOVIES --store STORE"
PARTS = 100
"""Of the time axis. The rate of a part is that of all shards in it."""
LONGEST_PAUSE_SECONDS, LONGEST_PAUSE = 10.0, 0.05
"""A pause that is longer, and a larger share of the time at work, is cut out."""
ROW_INCHES, NUMBER_INCHES, FOOT_INCHES = 1.05, 0.16, 0.75
NO_CAPTIONER = "#7a7a7a"
SHOWN = (
    ("extract", "frames", "extract\nframes"),
    ("detect", "frames", "detect\nframes"),
    ("caption", "rows", "caption\ncaptions"),
    ("caption", "tokens", "caption\ntokens written"),
    ("caption", "prompt_tokens", "caption\ntokens read"),
    ("mend", "rows", "mend\ncaptions"),
    ("check", "rows", "check\ncaptions"),
    ("score", "rows", "score\nscores"),
    ("judge", "rows", "judge\nratings"),
)
"""Stage, column of stage_runs, and what is written beside it."""
UNITS = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """Shards of one stage by one captioner: begin and end in seconds, and how much was done of what is counted."""

    begin: Numbers
    end: Numbers
    amount: Numbers


def draw(asked: Asked) -> "Figure":
    """A panel per stage and unit, on one axis of time. Raises PlotError without rows in stage_runs."""
    # a captioner's seconds are those of asking it, as in the query `throughput`: its model is loaded before
    sql = """select stage, captioner, epoch(started_at::timestamptz) + seconds as finish,
                    if(asking_seconds > 0, asking_seconds, seconds) as took, run_id, frames, rows, tokens, prompt_tokens
             from stage_runs where took > 0 order by started_at, stage, captioner, shard"""
    columns = ("frames", "rows", "tokens", "prompt_tokens")
    rows: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
    stages = {stage for stage, *_ in SHOWN}
    for stage, captioner, *row in asked.rows(sql):
        if stage in stages and (not asked.captioners or captioner in ("", *asked.captioners)):
            rows.setdefault((stage, captioner), []).append(tuple(row))
    remedy = REMEDY.replace("STORE", asked.location)
    there = {captioner for _, captioner in rows if captioner}
    names = asked.chosen(there, "work in stage_runs", remedy) if there or asked.captioners else []
    panels: list[tuple[str, dict[str, Work]]] = []
    for stage, column, label in SHOWN:
        found = {
            captioner: _work(some, 3 + columns.index(column))
            for (one, captioner), some in rows.items()
            if one == stage and any(row[3 + columns.index(column)] for row in some)
        }
        if found:
            panels.append((label, found))
    if not panels:
        raise PlotError(f"{asked.location} has no work in stage_runs. {remedy}")
    runs = len({row[2] for some in rows.values() for row in some})
    return _figure(asked.store, panels, names, runs)


def _work(rows: Sequence[tuple[Any, ...]], column: int) -> Work:
    end, took, amount = (np.array([row[place] for row in rows], dtype=float) for place in (0, 1, column))
    return Work(end - took, end, amount)


def _figure(store: str, panels: Sequence[tuple[str, dict[str, Work]]], names: Sequence[str], runs: int) -> "Figure":
    every = [work for _, found in panels for work in found.values()]
    stretches = _stretches(every)
    total = float((stretches[:, 1] - stretches[:, 0]).sum())
    unit, seconds = next((one for one in UNITS if total > 2 * one[1]), UNITS[-1])
    began = datetime.fromtimestamp(stretches[0, 0], UTC)
    cuts = f"; {number_of(len(stretches) - 1, 'pause')} cut out, at the dashed lines" if len(stretches) > 1 else ""
    shown, hues = labels(names), shades(names)
    heights = [max(ROW_INCHES, NUMBER_INCHES * (len(found) + 1)) for _, found in panels]
    figure = new_figure(
        f"Throughput over time in {store}",
        f"{number_of(runs, 'run')} from {began:%Y-%m-%d %H:%M} UTC{cuts}. Rates are per second of a stage's work; the "
        "number on the right is that of all of it.",
        sum(heights) + FOOT_INCHES,
    )
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    edges = np.linspace(0, total, PARTS + 1)
    for one, (label, found) in zip(axes, panels, strict=True):
        _panel(one, label, found, stretches, edges / seconds, edges, {name: hue for name, (hue, _) in hues.items()})
        for cut in np.cumsum(stretches[:-1, 1] - stretches[:-1, 0]) / seconds:
            one.axvline(cut, color=QUIET, linestyle=(0, (4, 3)), linewidth=0.9)
    axes[-1].set_xlabel(f"time at work, {unit}")
    axes[-1].set_xlim(0, total / seconds)
    plain_ticks(axes[-1], x=10)
    if names:
        from matplotlib.patches import Patch

        handles = [Patch(color=hues[name][0], label=shown[name]) for name in names]
        figure.legend(handles=handles, loc="outside lower left", ncols=min(4, len(names)))
    return figure


def _panel(
    axes: "Axes", label: str, found: dict[str, Work], stretches: Numbers, places: Numbers, edges: Numbers,
    hues: dict[str, str],
) -> None:  # fmt: skip
    for place, (captioner, work) in enumerate(sorted(found.items())):
        busy = _stretches([work], pause=0.0)
        seconds = Work(busy[:, 0], busy[:, 1], busy[:, 1] - busy[:, 0])
        done, took = (np.diff(_done(one, stretches, edges)) for one in (work, seconds))
        rates = np.divide(done, took, out=np.zeros_like(done), where=took > 1e-9)
        hue = hues.get(captioner, NO_CAPTIONER)
        axes.stairs(rates, places, fill=True, color=hue, alpha=0.8, linewidth=0)
        overall = number(float(work.amount.sum() / seconds.amount.sum()))
        for text, left, colour in (("■", 0, hue), (overall, 10, INK)):
            axes.annotate(
                text, (1.01, 0.5), xycoords="axes fraction", textcoords="offset points", va="center", fontsize=8.5,
                xytext=(left, 12 * ((len(found) - 1) / 2 - place)), color=colour,
            )  # fmt: skip
    axes.margins(y=0.12)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"{label}/s", rotation=0, ha="right", va="center", color=INK)
    plain_ticks(axes, y=3)


def _stretches(works: Sequence[Work], pause: float | None = None) -> Numbers:
    """The time at work: (stretches, 2), begin and end, in order, without overlap; shorter pauses belong to it."""
    begin, end = (np.concatenate([getattr(work, name) for work in works]) for name in ("begin", "end"))
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    if pause is None:
        gaps = np.maximum(begin[1:] - end[:-1], 0)
        pause = max(LONGEST_PAUSE_SECONDS, LONGEST_PAUSE * float(end[-1] - begin[0] - gaps.sum()))
    fresh = np.flatnonzero(begin[1:] - end[:-1] > pause) + 1
    return np.column_stack([begin[np.concatenate([[0], fresh])], end[np.concatenate([fresh - 1, [-1]])]])


def _done(work: Work, stretches: Numbers, edges: Numbers) -> Numbers:
    """How much was done until each edge; edges are in seconds at work, and each shard's work is spread evenly."""
    lengths = np.concatenate([[0], np.cumsum(stretches[:, 1] - stretches[:, 0])])

    def placed(times: Numbers) -> Numbers:
        at = np.clip(np.searchsorted(stretches[:, 0], times, side="right") - 1, 0, None)
        return np.asarray(lengths[at] + np.clip(times - stretches[at, 0], 0, stretches[at, 1] - stretches[at, 0]))

    begin, end = placed(work.begin), placed(work.end)
    shares = np.clip((edges[:, None] - begin) / np.maximum(end - begin, 1e-9), 0, 1)
    return np.asarray(shares @ work.amount)
