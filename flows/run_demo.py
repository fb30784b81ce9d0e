"""The demo: a drawn movie whose truth is known goes through the whole job, and the result is held against the truth."""

import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from flows.run_here import choose_words, run_here
from storage.store import Store
from storage.tables import Frame
from tasks.movie_files import MovieFile, identify_movies
from tasks.references import write_references

if TYPE_CHECKING:
    from flows.report_run import Report
    from toyworld.movie_plans import Plan
    from toyworld.truth_table import Line

SEED, SECONDS, SHOTS = 12, 120.0, 12
FILE = "toyworld.mp4"


def run_demo(folder: Path, location: str, *, verbose: bool = False) -> tuple["Report", list["Line"]]:
    """Draw the movie into a folder, say what is true of its frames, caption it into a store and score it against that.

    The frames are taken before the run, which finds them finished: only then it is known which moments need reference
    captions, and with these there the run scores once. Gives the report, and the table against the truth: no lines
    where the run failed. Raises what run_here raises, StoreError for a store that cannot be written.
    """
    choose_words(verbose=verbose)
    from flows.show_steps import shown_steps
    from toyworld.movie_plans import plan_movie
    from toyworld.truth_table import compare

    plan = plan_movie(SEED, seconds=SECONDS, shots=SHOTS)
    _say(f"drawing a movie of {SECONDS:.0f} seconds in {SHOTS} shots: {folder / FILE}")
    with shown_steps() as tell:
        path, store = str(draw_movie(plan, folder, partial(tell, "drawing frames"))), Store(location)
    (movie,) = identify_movies([path])
    _say("taking its frames, and writing what is true of each as reference captions")
    store.files.probe()
    take_frames(movie, store)
    tell_references(plan, movie.movie_id, store)
    report = run_here([path], location, "demo", verbose=verbose)
    if report.failures:
        return report, []
    return report, compare(store, movie.movie_id, report.captioner, plan)


def _say(line: str) -> None:
    """Before what takes long without a word."""
    print(line, file=sys.stderr, flush=True)


def draw_movie(plan: "Plan", folder: Path, tell: Callable[[int, int], None] = lambda done, of: None) -> Path:
    """The movie's file: drawn every time, in seconds, so that it is the movie of this code. It appears when it is
    complete, and a file of the same bytes stays as it is. `tell` hears how many frames are drawn, and of how many.
    """
    from toyworld.movies import render_movie

    folder.mkdir(parents=True, exist_ok=True)
    movie, draft = folder / FILE, folder / f"{FILE}.tmp"
    try:
        render_movie(plan, draft, tell)
        if not movie.exists() or movie.read_bytes() != draft.read_bytes():
            os.replace(draft, movie)
    finally:
        draft.unlink(missing_ok=True)
    return movie


def take_frames(movie: MovieFile, store: Store) -> None:
    """The movie's frames, as the run will take them."""
    from flows.read_configuration import read_configuration
    from tasks.frames import extract_shard

    config = read_configuration("demo").frames
    for number in count():
        if extract_shard(movie, number, store, config).last:
            return


def tell_references(plan: "Plan", movie_id: str, store: Store) -> None:
    """Write what the truth's two styles say of every frame that has a truth."""
    from toyworld.truth import moment_at
    from toyworld.truth_table import rows_of
    from toyworld.wordings import STYLES

    moments = {one.frame_id: moment_at(plan, one.pts_seconds) for one in rows_of(store, Frame, movie_id)}
    clear = {frame_id: moment for frame_id, moment in moments.items() if plan.is_clear(moment.number)}
    for style in STYLES:
        write_references(movie_id, [(frame_id, one.caption(style)) for frame_id, one in clear.items()], store, style)
