"""Run the main flow in this process, and show how far it is."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from flows.stop_gently import stop_gently
from storage.errors import TransientError
from storage.files import open_files

if TYPE_CHECKING:
    from flows.report_run import Report
    from flows.report_scores import ScoreReport

R = TypeVar("R")
QUIET = {
    "TQDM_DISABLE": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
"""Left out with --verbose: other libraries' bars would break ours, and failures are said at the end."""
ALWAYS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "OMP_WAIT_POLICY": "passive",  # threads that wait in circles take many times the CPU where others want the cores
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}


def run_here(movies: Sequence[str], store: str, profile: str, *, verbose: bool = False) -> "Report":
    """Run `caption-movies` and give its report, also when steps failed.

    What is wrong with the profile or the movies is said at once, not after a server has started. Raises Stopped on
    Ctrl-C and SIGTERM, TransientError when the Prefect server does not answer.
    """
    choose_words(verbose=verbose)
    with stop_gently() as signals:
        from flows.read_configuration import read_configuration

        config = read_configuration(profile)
        open_files(store)  # both before Prefect is imported, which takes seconds
        from flows.caption_movies import caption_movies
        from flows.run_state import not_taken, wanted_movies

        wanted_movies(movies)
        if not verbose and (left := not_taken(movies)):
            print(left, file=sys.stderr, flush=True)
        return _report_of(_given(lambda: caption_movies(list(movies), store, config)), signals, verbose=verbose)


def run_on_store_here(store: str, profile: str, *, verbose: bool = False) -> "Report":
    """Run `caption-store` and give its report, also when steps failed. Raises what run_here raises."""
    choose_words(verbose=verbose)
    with stop_gently() as signals:
        from flows.caption_store import caption_store
        from flows.read_configuration import read_configuration
        from flows.run_state import stored_movies
        from storage.store import Store

        config = read_configuration(profile)
        stored_movies(Store(store))
        return _report_of(_given(lambda: caption_store(store, config)), signals, verbose=verbose)


def _given(run: Callable[[], "Report"]) -> Callable[[], "Report"]:
    """A run that gives its report also when steps failed."""
    from flows.report_run import RunFailedError

    def report() -> "Report":
        try:
            return run()
        except RunFailedError as error:
            return error.report

    return report


def score_here(store: str, wanted: Mapping[str, Any], *, verbose: bool = False) -> "ScoreReport":
    """Run `score-captions` with these parameters and give its report, also when a gate failed.

    Raises what read_wanted raises, before a server has started; ReferencesError and StoreError for references that
    cannot be brought; else what run_here raises.
    """
    choose_words(verbose=verbose)
    with stop_gently() as signals:
        from flows.report_scores import ScoreReport, ScoringFailedError
        from flows.score_captions import score_captions
        from flows.start_scoring import read_wanted
        from storage.store import Store

        asked = (wanted[name] for name in ("captioners", "config", "fail_if", "baseline", "references"))
        read_wanted(Store(store), *asked)

        def run() -> ScoreReport:
            try:
                report: ScoreReport = score_captions(store, **wanted)
            except ScoringFailedError as error:
                return error.report
            return report

        return _report_of(run, signals, verbose=verbose)


def _report_of(run: Callable[[], R], signals: stop_gently, *, verbose: bool) -> R:
    from httpx import HTTPError
    from prefect.exceptions import PrefectException

    from flows.choose_server import prefect_server
    from flows.show_in_terminal import shown_progress

    with prefect_server(), shown_progress(verbose=verbose), _kept(signals):
        try:
            return run()
        except (PrefectException, HTTPError) as error:
            raise TransientError(
                f"Prefect's server failed in the middle of the run ({type(error).__name__}: {error}). "
                "What is finished is safe; run the same again to go on."
            ) from error


def choose_words(*, verbose: bool) -> None:
    """Say how much the libraries print. Before any is imported: they look then."""
    for name, value in (ALWAYS | ({} if verbose else QUIET)).items():
        os.environ.setdefault(name, value)


@contextmanager
def _kept(signals: stop_gently) -> Iterator[None]:
    """Keep our signal handlers: the run's first sign of life comes after Prefect has put its own in place."""
    from flows.show_progress import Progress

    Progress.listeners.append(signals.listen)
    try:
        yield
    finally:
        Progress.listeners.remove(signals.listen)
