"""The demo of training: `make train-demo`, or `caption-movies train-demo --folder train-demo`.

Movies are drawn whose captions have a wording of their own (toyworld/dialect.py); the embedded captioner learns it with
the recipe `toyworld`, two stages of one LoRA adapter; before and after are scored on movies that it never saw.
"""

import argparse
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flows.bring_data import Add
from flows.run_here import choose_words
from flows.show_steps import Tell, shown_steps
from flows.stop_gently import stop_gently
from flows.train_here import print_report, train_here
from storage.store import Store
from storage.training_tables import AdapterScore
from tasks.errors import ConfigError, TransientError
from tasks.machine import whole_cores

FIRST_SEED = 9_000
"""Of the movies; the demo's own movie and those of tests have others."""
MOVIES, SHOTS = 240, 12
FRAMES_OF_A_SHOT = 6
"""Of which one is captioned: more captions of one scene teach less than those of as many scenes."""
FRAME_RATE = 12
SIZE_PX = 224, 128
"""What the embedded captioner shrinks larger pictures to: drawn so at once, they take less than half the time."""
MOVIES_OF_A_PROCESS = 8
"""For fewer it is not worth starting another one."""
LIFTED = ("cider_d", "gmeteor_strict")
"""What the training has to lift: the interval of the difference is above zero."""
NOT_RAISED = "violation_rate_macro"


def draw_store(folder: Path, movies: int, shots: int, tell: Tell = lambda *_: None) -> Store:
    """A store of drawn movies with what is true of them, told in the dialect; what stands there is not drawn again.

    Raises ConfigError where movies of another run stand, TransientError when a process that draws is killed.
    """
    paths = {seed: folder / "movies" / f"drawn-{seed}.mp4" for seed in range(FIRST_SEED, FIRST_SEED + movies)}
    ours = {path.stem for path in paths.values()}
    others = {
        mark.stem for mark in folder.glob("movies/*.done") if mark.stem not in ours or mark.read_text() != str(shots)
    }
    if others:
        raise ConfigError(
            f"{folder} holds {len(others)} movies that are not of this run, such as {min(others)}: they would be "
            "learnt from too. Give another --folder, or delete this one."
        )
    missing = [seed for seed, path in paths.items() if not _mark(path).exists()]
    store = Store(str(folder / "store"))
    draw = partial(draw_movie, folder / "movies", shots=shots, store=store)
    with _processes(len(missing)) as each:
        for number, _ in enumerate(each(draw, missing)):
            tell("drawing movies whose captions have another wording", movies - len(missing) + number + 1, movies)
    return store


@contextmanager
def _processes(movies: int) -> Iterator[Callable[..., Iterator[None]]]:
    """What applies a function to movies: in a process per core, or in this one where they are few."""
    number = min(whole_cores(), movies // MOVIES_OF_A_PROCESS)
    if number < 2:
        yield map
        return
    # Forked processes would have the locks of this one's threads; Ctrl-C is for this one, which ends the others.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(number, context, _end_with_parent) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as error:
            raise TransientError(
                "a process that draws movies was killed, perhaps for memory. Run the same again: what is drawn is kept."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """In a process that draws: Ctrl-C is for its parent, and it draws for no other than that."""

    def wait() -> None:
        parent = multiprocessing.parent_process()
        assert parent
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=wait, daemon=True).start()


def draw_movie(folder: Path, seed: int, *, shots: int, store: Store) -> None:
    """One of the movies, and in the store what is seen in it and is said of it."""
    from tasks.references import write_references
    from toyworld.dialect import retell
    from toyworld.movie_plans import plan_movie
    from toyworld.movies import render_movie
    from toyworld.truth import read_truth, write_seen
    from toyworld.wordings import STYLES

    seconds = shots * FRAMES_OF_A_SHOT / FRAME_RATE
    plan = plan_movie(seed, seconds=seconds, shots=shots, size=SIZE_PX, frame_rate=FRAME_RATE, only_cuts=True)
    path = folder / f"drawn-{seed}.mp4"
    folder.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    render_movie(plan, draft)
    os.replace(draft, path)
    truth = read_truth(plan, path, each=1)
    write_seen(truth, store)
    for style in STYLES:
        told = [(frame_id, retell(text)) for frame_id, text in truth.captions(style)]
        write_references(truth.movie.movie_id, told, store, style)
    draft.write_text(str(shots))
    os.replace(draft, _mark(path))  # as a whole: half a mark would be one of another run


def _mark(path: Path) -> Path:
    """Stands beside a movie that is drawn, and of which everything is in the store; says how many shots it has."""
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
    demo.add_argument("--shots", type=int, default=SHOTS, help="of a movie; a frame each (default: %(default)s)")
    demo.add_argument("--verbose", action="store_true", help="show Prefect's log lines too")
    demo.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    """Draw, train, and say what came of it; the exit code, 1 where it did not do what it is to show."""
    begun = time.monotonic()
    choose_words(verbose=given.verbose)
    with stop_gently(), shown_steps() as tell:
        store = draw_store(given.folder, given.movies, given.shots, tell)
    drawn = time.monotonic()
    report = train_here(store.location, given.recipe, [], verbose=given.verbose)
    print_report(report)
    shown, said = proof(report.scores)
    print(f"proof     {said}")
    print(f"took      {drawn - begun:.0f} s to draw, {time.monotonic() - drawn:.0f} s to train and to score")
    return 0 if shown else 1
