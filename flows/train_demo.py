"""The demo of training: `make train-demo`, or `caption-movies train-demo --folder train-demo`.

Movies are drawn whose captions have a wording of their own (toyworld/dialect.py); the embedded captioner learns it with
the recipe `toyworld`, two stages of one LoRA adapter; before and after are scored on movies that it never saw.
"""

import argparse
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows.bring_data import Add
from flows.run_here import choose_words
from flows.show_steps import Tell, shown_steps
from flows.stop_gently import stop_gently
from flows.train_here import print_report, train_here
from storage.store import Store
from storage.tables import Reference
from storage.training_tables import AdapterScore
from tasks.errors import ConfigError

if TYPE_CHECKING:
    from toyworld.movie_plans import Plan

FIRST_SEED = 7_000
"""Of the movies; the demo's own movie and those of tests have others."""
MOVIES, SHOTS, SECONDS = 224, 4, 10.0
SIZE_PX = 224, 128
"""What the embedded captioner shrinks larger pictures to: drawn so at once, they take less than half the time."""
MOVIES_OF_A_PROCESS = 8
"""For fewer it is not worth starting another one."""
LIFTED = ("cider_d", "gmeteor_strict")
"""What the training has to lift: the interval of the difference is above zero."""
NOT_RAISED = "violation_rate_macro"


def draw_store(folder: Path, movies: int, shots: int, seconds: float, tell: Tell = lambda *_: None) -> Store:
    """A store of drawn movies with what is true of them, told in the dialect; what stands there is not drawn again.

    Raises ConfigError where movies of another run stand.
    """
    paths = {seed: folder / "movies" / f"drawn-{seed}.mp4" for seed in range(FIRST_SEED, FIRST_SEED + movies)}
    if others := {path.stem for path in folder.glob("movies/*.done")} - {path.stem for path in paths.values()}:
        raise ConfigError(
            f"{folder} holds {len(others)} movies that are not of this run, such as {min(others)}: they would be "
            "learnt from too. Give another --folder, or delete this one."
        )
    missing = [seed for seed, path in paths.items() if not _mark(path).exists()]
    store = Store(str(folder / "store"))
    draw = partial(draw_movie, folder / "movies", shots=shots, seconds=seconds)
    with _processes(len(missing)) as each:
        for number, (plan, path) in enumerate(each(draw, missing)):
            _tell_truth(plan, path, store)  # here, one after the other: some of it is one file for all movies
            tell("drawing movies whose captions have another wording", movies - len(missing) + number + 1, movies)
    return store


@contextmanager
def _processes(movies: int) -> Iterator[Callable[..., Iterator["tuple[Plan, Path]"]]]:
    """What applies a function to movies: in a process per core, or in this one where they are few."""
    number = min(os.cpu_count() or 1, movies // MOVIES_OF_A_PROCESS)
    if number < 2:
        yield map
        return
    # Forked processes would have the locks of this one's threads; Ctrl-C is for this one, which ends the others.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, context, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


def draw_movie(folder: Path, seed: int, *, shots: int, seconds: float) -> "tuple[Plan, Path]":
    """What is in one of the movies, and its file."""
    from toyworld.movie_plans import plan_movie
    from toyworld.movies import render_movie

    plan, path = plan_movie(seed, seconds=seconds, shots=shots, size=SIZE_PX), folder / f"drawn-{seed}.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    render_movie(plan, path)
    return plan, path


def _tell_truth(plan: "Plan", path: Path, store: Store) -> None:
    from tasks.references import write_references
    from toyworld.dialect import retell
    from toyworld.truth import write_truth
    from toyworld.wordings import STYLES

    movie_id = write_truth(plan, path, store).shard.partition("/")[0]
    for style in STYLES:
        ref = store.ref("references", f"{movie_id}/{style}")
        told = [(row.frame_id, retell(row.text)) for row in store.read(ref, Reference)] if ref else []
        write_references(movie_id, told, store, style)
    _mark(path).touch()


def _mark(path: Path) -> Path:
    """Stands beside a movie that is drawn, and of which everything is in the store."""
    return path.with_suffix(".done")


def proof(scores: Sequence[AdapterScore]) -> tuple[bool, str]:
    """Whether a training did what it is to show, and in words what it did."""
    named = {one.metric: one for one in scores}
    lifted = [name for name in LIFTED if (named[name].low or 0.0) > 0]
    before, after = named[NOT_RAISED].before, named[NOT_RAISED].after
    held = before is not None and after is not None and after <= before
    said = ", ".join(f"{name} {'lifted' if name in lifted else 'NOT lifted for certain'}" for name in LIFTED)
    return held and len(lifted) == len(LIFTED), f"{said}; {NOT_RAISED} {'not raised' if held else 'RAISED'}"


def add_train_demo(add: Add) -> None:
    """Add the command to the parser."""
    demo = add("train-demo", "train the embedded captioner on movies drawn for it, told in another wording")
    demo.add_argument("--folder", type=Path, default=Path("train-demo"), metavar="DIR", help="default: %(default)s")
    demo.add_argument("--recipe", default="toyworld", help="or a TOML file's path (default: %(default)s)")
    demo.add_argument("--movies", type=int, default=MOVIES, help="default: %(default)s")
    demo.add_argument("--shots", type=int, default=SHOTS, help="of a movie; three frames each (default: %(default)s)")
    demo.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    demo.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Draw, train, and say what came of it; the exit code, 1 where it did not do what it is to show."""
    begun = time.monotonic()
    choose_words(verbose=given.verbose)
    with stop_gently(), shown_steps() as tell:
        store = draw_store(given.folder, given.movies, given.shots, SECONDS * given.shots / SHOTS, tell)
    drawn = time.monotonic()
    report = train_here(store.location, given.recipe, [], verbose=given.verbose)
    print_report(report)
    shown, said = proof(report.scores)
    print(f"proof     {said}")
    print(f"took      {drawn - begun:.0f} s to draw, {time.monotonic() - drawn:.0f} s to train and to score")
    return 0 if shown else 1
