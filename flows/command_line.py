"""The `caption-movies` command: starts flows, asks the store.

Exit codes: see EXIT_CODES.
"""

import argparse
import atexit
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.ask_store import add_asking
from flows.bring_data import add_commands
from flows.check_machine import add_doctor
from flows.compare_captions import add_compare
from flows.complete_words import add_completion
from flows.exchange_data import add_exchange
from flows.judge_captions import add_judging
from flows.plan_run import add_plan
from flows.plot_store import add_plot
from flows.show_answers import show_answer
from flows.show_gallery import add_gallery
from flows.show_scores import add_score, print_scores
from flows.stop_gently import LAST_WORDS, Stopped, leave_at_once
from flows.train_demo import add_train_demo
from flows.train_here import add_train
from storage import catalog
from storage.checks import check_store
from storage.errors import CaptionMoviesError, ParametersError, UnknownNameError
from storage.store import code_version
from tasks.errors import GateSyntaxError
from tasks.visible_text import visible

if TYPE_CHECKING:
    from flows.report_run import Report

DEMO_STORE = "demo-store"
DEMO_MOVIES = "demo-movies"
DEMO_PROFILE = "demo"
MOST_OF_DEMO = 16
"""Captions that the demo shows."""
FOR_DEMO = "profile demo: its models know the drawn world of the demo only. For real movies: --profile groundcap"
FAILED, WRONG_USAGE = 1, 2
INTERRUPTED = 128 + signal.SIGINT
EXIT_CODES = (
    "exit codes: 0 all fine; 1 failed; 2 wrong usage, or a name that is not known; 3 finished, but some movies or "
    "captions are quarantined, or rows left out; 4 a condition of score --fail-if holds; 130 stopped by Ctrl-C; "
    "143 stopped by SIGTERM"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the console script. Gives the exit code."""
    options = command_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except CaptionMoviesError as error:
        print(f"caption-movies: {visible(str(error))}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UnknownNameError | ParametersError | GateSyntaxError) else FAILED
    except BrokenPipeError:
        _speak_to_nobody()
        return 0
    except Stopped as stopped:
        with suppress(OSError):  # whoever read our words may be gone already
            print(LAST_WORDS, file=sys.stderr, flush=True)
        return stopped.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _speak_to_nobody() -> None:
    """The reader of our output (head, less) has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command_parser() -> argparse.ArgumentParser:
    """Every command with its arguments."""
    parser = argparse.ArgumentParser(
        prog="caption-movies", description="Movies in, verified grounded captions in a Parquet store out.",
        epilog=EXIT_CODES,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"caption-movies {code_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = _command(commands, "run", "caption movies into a store; what is finished there is not done again")
    run.add_argument("movies", nargs="+", metavar="MOVIES", help="movie files, or folders of them")
    run.add_argument("--store", required=True, metavar="DIR", help="folder or URI of the store; made when missing")
    run.add_argument(
        "--profile", default=DEMO_PROFILE,
        help="demo, groundcap, blip, blip2, vllm, or a TOML file's path (default: %(default)s)",
    )  # fmt: skip
    run.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    run.set_defaults(run=_run)

    caption = _command(commands, "caption", "caption what is detected in a store already, such as an imported dataset")
    caption.add_argument(
        "--profile", default=DEMO_PROFILE, help="as for run; its [frames] and [detect] are not asked (default: demo)"
    )
    caption.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    _store_option(caption)
    caption.set_defaults(run=_caption)

    demo = _command(commands, "demo", "run the main job on a movie drawn for it, and hold the result against the truth")
    demo.add_argument("--store", default=DEMO_STORE, metavar="DIR", help="default: %(default)s")
    demo.add_argument("--movies", default=DEMO_MOVIES, metavar="DIR", help="where to draw it (default: %(default)s)")
    demo.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    demo.set_defaults(run=_demo)

    add_asking(lambda name, text: _command(commands, name, text), _store_option)

    status = _command(commands, "status", "what stands in a store: movies, stages, captions, what is missing")
    _store_option(status)
    status.set_defaults(run=_status)

    check = _command(commands, "check", "look at every file and every key of a store; exit code 1 if something is off")
    _store_option(check)
    check.set_defaults(run=_check)

    add_commands(lambda name, text: _command(commands, name, text), _store_option)
    add_score(lambda name, text: _command(commands, name, text), _store_option)
    add_compare(lambda name, text: _command(commands, name, text), _store_option)
    add_gallery(lambda name, text: _command(commands, name, text), _store_option)
    add_plot(lambda name, text: _command(commands, name, text), _store_option)
    add_judging(lambda name, text: _command(commands, name, text), _store_option)
    add_exchange(lambda name, text: _command(commands, name, text), _store_option)
    add_train(lambda name, text: _command(commands, name, text), _store_option)
    add_train_demo(lambda name, text: _command(commands, name, text))
    add_doctor(lambda name, text: _command(commands, name, text), _store_option)
    add_plan(lambda name, text: _command(commands, name, text), _store_option)
    add_completion(lambda name, text: _command(commands, name, text), command_parser)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=EXIT_CODES)


def _store_option(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("CAPTION_MOVIES_STORE", DEMO_STORE)
    parser.add_argument(
        "--store", default=default, metavar="DIR", help=f"default: $CAPTION_MOVIES_STORE, or {DEMO_STORE}"
    )


def _run(options: argparse.Namespace) -> int:
    from flows.run_here import run_here

    if options.profile == DEMO_PROFILE:
        print(FOR_DEMO, file=sys.stderr)
    report = run_here(options.movies, options.store, options.profile, verbose=options.verbose)
    return _end(report, report.exit_code)


def _caption(options: argparse.Namespace) -> int:
    from flows.run_here import run_on_store_here

    report = run_on_store_here(options.store, options.profile, verbose=options.verbose)
    return _end(report, report.exit_code)


def _demo(options: argparse.Namespace) -> int:
    from flows.run_demo import run_demo

    report, against_truth = run_demo(Path(options.movies), options.store, verbose=options.verbose)
    if against_truth:  # else steps failed: the tables would be empty
        with catalog.connect(options.store) as store:
            name = "captions_and_verdicts"
            print(f"\n{catalog.queries()[name].question}  (caption-movies sql {name} --store {options.store})")
            show_answer(catalog.ask(store, name), most_rows=MOST_OF_DEMO)
        print("\nHeld against the truth of the drawn movie")
        for line in against_truth:
            print(f"    {line.what:32} {line.value:>8}   {line.remark}".rstrip())
    return _end(report, FAILED if report.failures else 0)


def _end(report: "Report", code: int) -> int:
    """The last lines, heard or not, and the exit code."""
    try:
        if not report.failures:  # else they may be those of an earlier run
            print_scores(report.captioner, report.store)
        _print_end(report)
        sys.stdout.flush()
    except BrokenPipeError:
        _speak_to_nobody()
    return code


def _print_end(report: "Report") -> None:
    """The last lines: how many of what, and where."""
    movies = ", ".join(f"{number} {status}" for status, number in report.movies.items())
    twice = report.files - sum(report.movies.values())
    print(f"\nmovies    {movies or 'none'}" + (f" ({twice} files hold the bytes of another)" if twice > 0 else ""))
    print(f"frames    {report.frames} in {report.shots} shots, {report.detections} detections"
          + (f", {report.failed_frames} frames failed (table failures)" if report.failed_frames else ""))  # fmt: skip
    print(f"captions  {report.captions_ok} ok of {report.captions} by {report.captioner}")
    if report.captions_mended:
        print(f"          {report.captions_mended} stand in for one at fault: caption-movies sql mended_captions")
    if report.captions_citing_nothing:
        silent = f"{report.captions_citing_nothing} of {report.captions}"
        print(f"          {silent} cite no object, which is precision 1 by convention")
    if report.quarantined:
        faults = ", ".join(f"{code} {number}" for code, number in report.quarantined.items())
        print(f"          {report.captions - report.captions_ok} quarantined (one can have several faults): {faults}")
    if speed := report.captioning:
        tokens = f"{speed['output_tokens']:.0f} tokens written, {speed['prompt_tokens']:.0f} read"
        waiting = f"{100 * speed['waiting']:.0f} % of the time waiting for pictures"
        print(f"speed     a second: {speed['frames']:.1f} frames captioned, {tokens}; {waiting}")
    work = f"{report.shards_computed} shards computed in this run, each stage counted"
    print(f"work      {work}; the rest stood there already")
    for failed in report.failures:
        print(f"FAILED    {failed.step}: {failed.error}")
    print(f"store     {report.store}")
    if set(report.movies) - {"ok"}:
        print(f"reasons   caption-movies sql movie_status --store {report.store}")
    if report.failures:
        print("next      mend what failed and run the same again: only what is missing is done")
    if report.captions:
        print(f"ask it    caption-movies sql captions_and_verdicts --store {report.store}")


def _status(options: argparse.Namespace) -> int:
    with catalog.connect(options.store) as store:
        for name in ("movie_status", "shards_by_stage", "captions_by_captioner"):
            print(f"{catalog.queries()[name].question}")
            show_answer(catalog.ask(store, name))
    return 0


def _check(options: argparse.Namespace) -> int:
    from flows.show_steps import shown_steps

    with shown_steps() as tell:
        problems = check_store(options.store, partial(tell, "files"))
    for problem in problems:
        print(f"{problem.kind:15} {problem.where}: {problem.message}")
    print(f"{len(problems)} problems in {options.store}" if problems else f"{options.store} is as it should be")
    return 1 if problems else 0


def start() -> None:
    """The console script: `main`, and then an end without last words; of a stopped run without waiting for Prefect.

    DuckDB's binding prints dozens of lines of leaks when a process with threads ends after an error; they would stand
    where the last lines of the command belong. This handler is registered before any other, so it runs after them all.
    """
    codes: list[int] = []
    atexit.register(_leave, codes)
    codes.append(main())
    if codes[0] >= INTERRUPTED:
        leave_at_once(codes[0])
    sys.exit(codes[0])


def _leave(codes: list[int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    if codes:
        os._exit(codes[0])


if __name__ == "__main__":
    start()
