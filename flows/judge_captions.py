"""The commands that rate captions, and hold raters against each other: judge, ratings, agree."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from flows.bring_data import LEFT_OUT, Add, number_of, tell_left_out
from storage import catalog
from storage.store import Store, captioners_of

if TYPE_CHECKING:
    from tasks.agreement import Agreement
    from tasks.judgements import Judged

OF_NO_CAPTION = ("is of no caption in the store, and left out", "are of no caption in the store, and left out")
OF_CAPTIONERS = "select count(distinct (captioner, frame_id)) from captions where list_contains($names, captioner)"
"""One caption of each frame counts, and is judged."""
FOOT = "in brackets: 95 % of resampled frames; alpha at level"


def add_judging(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add this file's commands to the parser."""
    judge = add("judge", "a model at a server rates captions by five criteria; what is judged is not asked again")
    judge.add_argument(
        "--server", required=True, metavar="URL", help="of the OpenAI protocol, such as http://localhost:8000/v1"
    )
    judge.add_argument("--model", required=True, metavar="NAME", help="the model's name there; it has to take pictures")
    judge.add_argument("--captioner", nargs="+", metavar="NAME", help="whose captions (default: all in the store)")
    judge.add_argument("--rater", default="", metavar="NAME", help="what the judge is called (default: by its model)")
    judge.add_argument("--prompt", default="criteria-1", help="file in tasks/judge_prompts (default: %(default)s)")
    judge.add_argument("--max-tokens", type=int, default=1024, help="of one answer (default: %(default)s)")
    judge.add_argument("--requests-in-flight", type=int, default=16, help="at the server (default: %(default)s)")
    judge.add_argument("--timeout", type=float, default=300.0, help="seconds for an answer (default: %(default)s)")
    judge.add_argument("--retries", type=int, default=4, help="further tries of a question (default: %(default)s)")
    judge.add_argument("--retry-failed", action="store_true", help="ask again where no score came of it before")
    store_option(judge)
    judge.set_defaults(run=_judge)

    ratings = add("ratings", "bring people's ratings of captions into a store, from CSV")
    ratings.add_argument("file", metavar="FILE", help="CSV: caption_id, rater, and a column for each criterion, 1 to 5")
    ratings.add_argument("--rater", default="", metavar="NAME", help="who rated, where the file has no column rater")
    store_option(ratings)
    ratings.set_defaults(run=_ratings)

    agree = add("agree", "how two raters agree, or a rater and a metric: correlations and alpha, with intervals")
    agree.add_argument("one", metavar="RATER", help="a judge, a person, or a metric")
    agree.add_argument("other", metavar="RATER|METRIC", help="likewise; metric:NAME where a rater has the same name")
    agree.add_argument("--captioner", metavar="NAME", help="over this captioner's captions only (default: all)")
    agree.add_argument("--level", default="ordinal", choices=("nominal", "ordinal", "interval"),
                       help="of measurement, for alpha between raters (default: %(default)s)")  # fmt: skip
    agree.add_argument("--format", choices=("table", "json"), default="table", help="default: %(default)s")
    store_option(agree)
    agree.set_defaults(run=_agree)


def _judge(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps
    from tasks.judge_questions import JudgeConfig
    from tasks.judgements import judge_captions
    from tasks.server_config import ServerConfig

    config = JudgeConfig(
        server=ServerConfig(
            url=options.server,
            requests_in_flight=options.requests_in_flight,
            timeout_seconds=options.timeout,
            retries=options.retries,
        ),
        model=options.model,
        rater=options.rater,
        prompt=options.prompt,
        max_tokens=options.max_tokens,
    )
    store = Store(options.store)
    captioners = options.captioner or captioners_of(store)
    with catalog.connect(store.location, may_be_empty=True) as connection:
        (most,) = connection.execute(OF_CAPTIONERS, {"names": captioners}).fetchone() or (0,)
    with shown_steps() as tell:
        tell("judging captions", 0, most)
        judged = judge_captions(
            captioners, store, config, retry_failed=options.retry_failed,
            tell=lambda judged: tell("judging captions", judged.captions, most),
        )  # fmt: skip
    captions = f"{number_of(judged.captions, 'caption')} of {', '.join(captioners)}"
    print(f"{captions}: {judged.asked} judged now by {config.rater}, {judged.kept} before")
    print(f"see it    caption-movies sql judgements_by_rater --store {options.store}")
    print(f"check it  caption-movies agree {config.rater} RATER|METRIC --store {options.store}")
    return _tell_without_score(judged, options.store)


def _tell_without_score(judged: "Judged", store: str) -> int:
    """Say on stderr what has no score; the exit code."""
    for number, why in (
        (judged.failed, "without an answer in the right form; again with --retry-failed"),
        (judged.missing, "not asked about: failed, quarantined, or without a picture"),
    ):
        if number:
            print(f"caption-movies: {number_of(number, 'caption')} {why}", file=sys.stderr)
    if judged.failed or judged.missing:
        asked = "select distinct caption_id, error from judgements where error is not null"
        print(f'    caption-movies sql "{asked}" --store {store}', file=sys.stderr)
        return LEFT_OUT
    return 0


def _ratings(options: argparse.Namespace) -> int:
    from tasks.ratings import import_ratings

    rated = import_ratings(options.file, Store(options.store), options.rater)
    scores = f"{number_of(rated.scores, 'score')} of {number_of(rated.captions, 'caption')}"
    print(f"{scores} by {', '.join(rated.raters)} in {options.store}")
    if rated.ignored:
        print(f"not read: column {', '.join(rated.ignored)}")
    print(f"check it  caption-movies agree {rated.raters[0]} RATER|METRIC --store {options.store}")
    return tell_left_out(len(rated.unmatched), "row", OF_NO_CAPTION, rated.unmatched)


def _agree(options: argparse.Namespace) -> int:
    from tasks.agreement import agree

    found = agree(
        options.one, options.other, Store(options.store), captioner=options.captioner, level=options.level
    )  # fmt: skip
    if options.format == "json":
        for row in found:
            print(json.dumps({"raters": [options.one, options.other]} | dataclasses.asdict(row)))
        return 0
    print(f"a = {options.one}, b = {options.other}" + (f", captions by {options.captioner}" * bool(options.captioner)))
    _print_table(found)
    return 0


def _print_table(found: "Sequence[Agreement]") -> None:
    """A line for each criterion; below, why a value or an interval is not there."""
    names = list(dict.fromkeys(row.coefficient for row in found))
    print(f"{'criterion':22} {'captions':>8} {'mean a':>7} {'mean b':>7}" + "".join(f" {name:>20}" for name in names))
    for criterion in dict.fromkeys(row.criterion for row in found):
        rows = [row for row in found if row.criterion == criterion]
        first = rows[0]
        means = "".join(f" {value:7.3g}" for value in (first.one_mean, first.other_mean))
        print(f"{criterion:22} {first.captions:8}{means}" + "".join(f" {_cell(row):>20}" for row in rows))
    reasons: dict[tuple[str, str], list[str]] = {}
    for criterion in dict.fromkeys(row.criterion for row in found):
        for why in dict.fromkeys(row.reason for row in found if row.criterion == criterion and row.reason):
            names = [row.coefficient for row in found if (row.criterion, row.reason) == (criterion, why)]
            reasons.setdefault((", ".join(names), why), []).append(criterion)
    for (about, why), criteria in reasons.items():
        print(f"{about} of {', '.join(criteria)}: {why}")
    print(f"{FOOT} {next(row.level for row in found if row.level)}")


def _cell(row: "Agreement") -> str:
    if row.value is None:
        return "-"
    return f"{row.value:.3f} " + (f"[{row.low:.2f}, {row.high:.2f}]" if row.low is not None else "[-]")
