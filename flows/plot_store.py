"""The command `plot`: pictures of scores, faults, throughput and trainings."""

import argparse
import sys
from collections.abc import Callable

from flows.bring_data import Add
from storage.errors import ParametersError

FOLDER_FORMATS = ("png", "svg")


def add_plot(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    plot = add("plot", "draw scores, captioners, faults, throughput or trainings as PNG or SVG; no name: list of plots")
    plot.add_argument("name", nargs="?", metavar="NAME", help="a plot; all: every one, into a folder")
    plot.add_argument("--out", metavar="FILE", help="ends with .png or .svg; of all: a folder")
    plot.add_argument(
        "--captioners", nargs="+", default=[], metavar="A", help="of whom (default: all; of training: adapters)"
    )
    plot.add_argument(
        "--metrics", nargs="+", default=[], metavar="M", help="names in scores or summaries (default: the model card's)"
    )
    plot.add_argument(
        "--format", choices=FOLDER_FORMATS, default=FOLDER_FORMATS[0], help="of all (default: %(default)s)"
    )
    plot.add_argument("--force", action="store_true", help="replace what stands there")
    store_option(plot)
    plot.set_defaults(run=_plot)


def _plot(options: argparse.Namespace) -> int:
    from tasks import plots

    if options.name is None:
        for name in plots.available():
            print(f"{name}\n    {plots.load(name).QUESTION}")
        print(f"{plots.ALL}\n    Each of them that there is something to draw for, into a folder")
        return 0
    if options.out is None:
        raise ParametersError(f"say where to: --out {options.name}" + ("" if options.name == plots.ALL else ".png"))
    drawn = plots.draw_plot(
        options.store, options.name, options.out, captioners=options.captioners, metrics=options.metrics,
        ending=f".{options.format}", force=options.force,
    )  # fmt: skip
    for path in drawn.written:
        print(f"written   {path}")
    for name, why in drawn.left_out.items():
        print(f"not drawn {name}: {why}", file=sys.stderr)
    return 0
