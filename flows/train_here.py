"""The command `train`: a recipe on a store's references, in this process."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from flows.bring_data import Add, tell_left_out

if TYPE_CHECKING:
    from flows.train_captioner import TrainingReport


def add_train(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    train = add("train", "train a captioner on a store's references, and score it on movies that it never saw")
    train.add_argument("--recipe", required=True, help="groundcap, blip, blip2, toyworld, or a TOML file's path")
    train.add_argument(
        "--references", nargs="+", default=[], metavar="PATH",
        help="a dataset of pictures and captions to bring into the store first, as `import` does: GroundCap's Parquet "
             "files, COCO's, a folder; without, what stands there is learnt from",
    )  # fmt: skip
    train.add_argument("--name", default="", help="of what is trained, and of its captions (default: the recipe's)")
    train.add_argument("--sources", nargs="+", default=[], metavar="NAME",
                       help="whose captions to learn from: references.source (default: the recipe's)")  # fmt: skip
    train.add_argument("--folder", default="", metavar="DIR", help="of the run (default: training/NAME in the store)")
    train.add_argument("--merge", action="store_true", help="also write a checkpoint with the adapter added into it")
    train.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    store_option(train)
    train.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    report = train_here(
        options.store, options.recipe, options.references, options.name, options.sources, options.folder,
        merge=options.merge, verbose=options.verbose,
    )  # fmt: skip
    print_report(report)
    return tell_left_out(
        report.unused, "row", ("of --references could not be used", "of --references could not be used"),
        report.unused_rows,
    )  # fmt: skip


def train_here(
    store: str,
    recipe: str,
    references: list[str],
    name: str = "",
    sources: list[str] | None = None,
    folder: str = "",
    *,
    merge: bool = False,
    verbose: bool = False,
) -> "TrainingReport":
    """Run `train-captioner`. What is wrong with the recipe is said at once, not after a server has started.

    Raises Stopped on Ctrl-C and SIGTERM, TransientError when the Prefect server does not answer.
    """
    from flows.run_here import choose_words
    from flows.stop_gently import stop_gently

    choose_words(verbose=verbose)
    with stop_gently():
        from flows.choose_server import prefect_server
        from flows.read_recipe import read_recipe
        from flows.show_in_terminal import shown_progress
        from flows.train_captioner import check_training, train_captioner

        settings = read_recipe(recipe)
        check_training(settings, merge=merge)
        with prefect_server(), shown_progress(verbose=verbose):
            return train_captioner(store, settings, references, name, sources, folder, merge)


def print_report(report: "TrainingReport") -> None:
    """The last lines: what was learnt from, what it is worth, where it is."""
    print(f"\nsamples   {_counts(report.samples)}")
    print(f"left out  {_counts(report.left_out)}")
    print(f"movies    {_counts(report.movies)}; no movie is in two parts")
    print(f"\n{'on the test movies':32} {'before':>9} {'after':>9} {'change':>9}   95 % interval of the change")
    for one in report.scores:
        between = f"[{one.low:.3f}, {one.high:.3f}]" if one.low is not None and one.high is not None else "-"
        change = f"{one.difference:+9.3f}   {between}" if one.difference is not None else f"{'-':>9}   {one.reason}"
        print(f"{one.metric:32} {_value(one.before)} {_value(one.after)} {change}")
    print(f"\ntrained   {report.product}")
    print(f"card      {report.product}/README.md, loss curve in curve.png, tensorboard --logdir {report.folder}")
    if report.merged:
        print(f"merged    {report.merged}")
    print(f'use it    adapter = "{report.name}" in a profile\'s [caption], with --store {report.store}')
    sys.stdout.flush()


def _value(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:9.3f}"


def _counts(values: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in sorted(values.items())) or "none"
