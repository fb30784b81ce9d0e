"""The command `compare`: two captioners on the frames that both have."""

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from flows.bring_data import Add
from storage.store import Store

if TYPE_CHECKING:
    from tasks.compare_captioners import Comparison

FOOT = "interval: 95 %, of a less b; p: how often chance makes such a difference, of one metric alone; -: see the note"
NEEDS = re.compile(r"(it needs [^:]+: )(.+)")
"""The reason of a value that is derived from others: theirs, after the name of the one it lacks."""


def add_compare(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    compare = add("compare", "two captioners on the frames that both have: differences, intervals, p-values")
    compare.add_argument("place", nargs="?", metavar="STORE", help="the same as --store")
    compare.add_argument("--captioners", nargs=2, required=True, metavar=("A", "B"), help="names in `captions`")
    compare.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="files in tasks/metrics (default: all; with --profile, its own)"
    )
    compare.add_argument("--profile", help="its [score] says how (default: as A was scored before)")
    compare.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
    compare.add_argument("--plot", metavar="FILE", help="draw the differences too; ends with .png or .svg")
    compare.add_argument("--force", action="store_true", help="replace what stands at FILE")
    store_option(compare)
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from tasks.compare_captioners import compare_captioners
    from tasks.plot_style import drawing
    from tasks.plots import picture
    from tasks.plots.differences import comparison_figure
    from tasks.scores import former_config

    one, other = options.captioners
    store = Store(options.place or options.store)
    if options.profile:
        from flows.read_configuration import read_configuration  # it takes a second to import

        config = read_configuration(options.profile).score
    else:  # with the models that were asked then, but all metrics
        config = dataclasses.replace(former_config(one, store), metrics=None)
    if options.metrics:
        config = dataclasses.replace(config, metrics=options.metrics)
    with picture(options.plot, force=options.force) if options.plot else nullcontext() as write:
        with shown_steps() as tell:
            tell(f"comparing by {len(config.chosen)} metrics", 0, 0)
            found = compare_captioners(one, other, store, config)
        if write:
            with drawing():
                write(comparison_figure(found, one, other, all_metrics=bool(options.metrics)))
    if options.format == "json":
        for row in found:
            print(json.dumps({"captioners": [one, other]} | dataclasses.asdict(row)))
    else:
        _print_table(found, one, other)
    return 0


def _print_table(found: "Sequence[Comparison]", one: str, other: str) -> None:
    notes = _notes(row.reason for row in found)

    def line(row: "Comparison") -> str:
        numbers = [_number(value) for value in (row.one, row.other, row.difference)]
        between = f"[{_number(row.low)}, {_number(row.high)}]" if row.low is not None else "-"
        direction = {True: "higher", False: "lower", None: ""}[row.higher_is_better]
        said = [f"{row.metric:36}", *(f"{one:>10}" for one in numbers), f"{between:>22} {_number(row.p_value):>8}"]
        note = f"[{notes.index(row.reason) + 1}]" if row.reason else ""
        return " ".join([*said, f"{row.frames:>7} {direction:7}", note]).rstrip()

    print(f"a = {one}, b = {other}")
    print(f"{'metric':36} {'a':>10} {'b':>10} {'a - b':>10} {'interval':>22} {'p':>8} {'frames':>7} better")
    for row in found:
        print(line(row))
    print(FOOT)
    for number, note in enumerate(notes, 1):
        needs = NEEDS.fullmatch(note)
        known = f"{needs[1]}see [{notes.index(needs[2]) + 1}]" if needs and needs[2] in notes else note
        print(f"[{number}] {known}")


def _notes(reasons: Iterable[str | None]) -> list[str]:
    """Every reason once, in order; those of values that others are derived from first."""
    return sorted(dict.fromkeys(filter(None, reasons)), key=lambda one: NEEDS.fullmatch(one) is not None)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
