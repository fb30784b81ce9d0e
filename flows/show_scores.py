"""The command `score`, and the table of scores that `run`, `caption` and `demo` end with."""

import argparse
from collections.abc import Callable

from flows.bring_data import OF_NO_FRAME, Add, number_of, tell_left_out
from flows.write_scores import as_lines
from storage.store import Store
from tasks.card_scores import card_table

CONDITION = """
CONDITION compares numbers: names of docs/metrics.md, `baseline` (the baseline's value of the metric in the same
comparison) or baseline.NAME, + - * / and numbers, with < <= > >= == !=; conditions are joined by and, or, not.
Such as: "grounding_f1_macro < 0.95 * baseline or alarms > 0". It is a name of group 'all' in `summaries`, or alarms, or
captions. Without --baseline a captioner's baseline is its scores when it was first asked for one (table `baselines`):
those that stand in the store when the command begins. It moves only with --accept.
"""
EXIT_CODES = (
    "exit codes: 0 all fine; 1 failed, or a condition cannot be decided: no baseline, or a metric without a value; "
    "2 wrong usage, or a name that is not known; 3 references left out; 4 a condition of --fail-if holds; "
    "130 stopped by Ctrl-C; 143 stopped by SIGTERM"
)


def add_score(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    score = add("score", "score captions that stand in a store; what is finished is not done again")
    score.epilog = f"{CONDITION.strip()} {EXIT_CODES}"
    score.add_argument(
        "--references", metavar="FILE|STORE",
        help="references to import first: a file as for `references`, or a store's chosen captions (default: those "
        "that were imported already)",
    )  # fmt: skip
    score.add_argument("--source", metavar="NAME", help="who wrote them (default: human; of a store, the captioner)")
    score.add_argument(
        "--reference-captioner", metavar="NAME", help="whose captions of STORE they are (default: its only captioner)"
    )
    score.add_argument(
        "--captioner", nargs="+", dest="captioners", metavar="NAME", help="whose captions to score (default: all)"
    )
    score.add_argument(
        "--profile", help="its [score] says how (default: as each captioner was scored before)"
    )  # fmt: skip
    score.add_argument(
        "--fail-if", action="append", default=[], metavar="CONDITION",
        help="exit code 4 where it holds of a captioner; may be given several times",
    )  # fmt: skip
    score.add_argument("--baseline", metavar="NAME", help="the captioner that is the baseline; it is scored too")
    score.add_argument(
        "--accept", action="store_true", help="make these scores each captioner's own baseline, whatever --fail-if says"
    )
    score.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    store_option(score)
    score.set_defaults(run=_score)


def _score(options: argparse.Namespace) -> int:
    from flows.run_here import score_here

    names = ("references", "source", "reference_captioner", "captioners", "fail_if", "baseline", "accept")
    wanted = {name: getattr(options, name) for name in names} | {"config": options.profile}
    report = score_here(options.store, wanted, verbose=options.verbose)
    for table in report.tables:
        print("\n" + "\n".join(as_lines(table)))
    print(f"\nwork      {number_of(report.computed, 'piece')} computed in this run, the rest stood there already")
    for failed in report.failures:
        print(f"FAILED    {failed.step}: {failed.error}")
    for decision in report.decisions:
        print(f"gate      {decision}")
    print(f"all       {how_to_see_all(options.store)}")
    tell_left_out(report.left_out, "reference", OF_NO_FRAME, report.shown)
    return report.exit_code


def print_scores(captioner: str, location: str) -> None:
    """The short table of a captioner's scores, and how to see them all; nothing where there are none yet."""
    if table := card_table(captioner, Store(location)):
        print("\n" + "\n".join(as_lines(table)))
        print(f"    all scores: {how_to_see_all(location)}")


def how_to_see_all(location: str) -> str:
    """The command that shows every summary."""
    return f"caption-movies sql summaries_by_captioner --store {location}"
