"""The command `plan`: what a run would do, before it does it."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

from flows.bring_data import Add, number_of
from storage.store import Store
from tasks.doctor import in_units

if TYPE_CHECKING:
    from flows.read_configuration import PipelineConfig
    from tasks.movie_files import MovieFile
    from tasks.planning.plan import Plan, StagePlan
    from tasks.planning.rates import Known

MOVIES_SHOWN = 40
ROOM = 1.1
"""The disk shall have so many times what is planned."""
BAD_MOVIES = 3
TIGHT = 1
WORDS = {
    "extract": "decode, find shots, store frames", "detect": "detect objects", "caption": "caption",
    "check": "mend, check, choose, score", "summarise": "sum up",
}  # fmt: skip


def add_plan(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the command to the parser."""
    plan = add("plan", "what a run would do: frames, shards, what is finished, time, disk; writes nothing to the store")
    plan.add_argument("movies", nargs="+", metavar="MOVIES", help="movie files, or folders of them, as for run")
    plan.add_argument("--profile", default="demo", help="as for run (default: %(default)s)")
    plan.add_argument(
        "--measure", action="store_true",
        help="try the models on a few frames where no run of this store tells how long they take",
    )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="one JSON object")
    store_option(plan)
    plan.set_defaults(run=_plan)


def _plan(options: argparse.Namespace) -> int:
    from flows.run_here import choose_words

    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's client is imported: a plan fetches nothing
    choose_words(verbose=False)
    from flows.read_configuration import read_configuration
    from flows.run_state import READING, wanted_movies, with_named
    from flows.show_steps import shown_steps
    from tasks.movie_files import identify_movies

    store = Store(options.store)
    config = with_named(read_configuration(options.profile), store)
    paths = wanted_movies(options.movies)
    with shown_steps() as tell:
        tell(READING, 0, len(paths))
        movies = identify_movies(paths, lambda done, of: tell(READING, done, of))
        plan, known = make_plan(movies, store, config, tell, measure=options.measure)
    if options.json:
        said = asdict(plan) | {"bytes": plan.bytes, "profile": options.profile, "store": store.location}
        print(json.dumps(said | {"beside": known.beside}))
    else:
        _print(plan, known, options.store)
    sys.stdout.flush()
    if _too_tight(plan):
        return TIGHT
    return BAD_MOVIES if any(movie.error for movie in plan.movies) else 0


def make_plan(
    movies: "Sequence[MovieFile]", store: Store, config: "PipelineConfig", tell: Callable[[str, int, int], None],
    *, measure: bool,
) -> "tuple[Plan, Known]":  # fmt: skip
    """The plan of a run with this configuration, and what is known of its stages."""
    import torch

    from tasks.planning.plan import plan_movies, plan_stages
    from tasks.planning.rates import known_from_store

    plan, seen = plan_movies(movies, store, config.frames, config.detect, config.caption, tell)
    known = known_from_store(store, config.detect, config.caption)
    todo = plan.total("frames") > plan.total("captioned")
    if measure and todo and {"detect", "caption"} - known.rates.keys():
        known = _measured(movies, plan, config, tell)
    gpu = torch.cuda.is_available() and "cpu" not in (config.detect.device, config.caption.device)
    plan_stages(plan, seen, known, has_gpu=gpu, captions_elsewhere=config.caption.server is not None)
    return plan, known


def _measured(
    movies: "Sequence[MovieFile]", plan: "Plan", config: "PipelineConfig", tell: Callable[[str, int, int], None]
) -> "Known":
    from tasks.planning.measure import measure_stages

    usable = {one.movie_id for one in plan.movies if not one.error}
    first = next(movie for movie in movies if movie.movie_id in usable)
    return measure_stages(
        first, config.frames, config.detect, config.caption, config.mend, config.choose, config.score,
        lambda line: tell(line, 0, 0),
    )  # fmt: skip


def _print(plan: "Plan", known: "Known", store: str) -> None:
    good = [movie for movie in plan.movies if not movie.error]
    print(f"{'movie':32} {'length':>9} {'frames':>7} {'there':>7} {'shards':>6}  how the frames are known")
    for movie in good[:MOVIES_SHOWN]:
        length = _time(movie.seconds)
        print(f"{movie.title[:32]:32} {length:>9} {movie.frames:7} {movie.extracted:7} {movie.shards:6}  {movie.how}")
        if movie.note:
            print(f"{'':4}{movie.note}")
    if len(good) > MOVIES_SHOWN:
        print(f"and {len(good) - MOVIES_SHOWN} more; --json has them all")
    print(f"{number_of(len(good), 'movie'):32} {_time(plan.total('seconds')):>9} {plan.total('frames'):7} "
          f"{plan.total('extracted'):7} {plan.total('shards'):6}")  # fmt: skip
    for movie in plan.movies:
        if movie.error:
            print(f"cannot be used: {movie.path}: {movie.error}")
    print(f"\nfinished  {plan.total('extracted')} frames, {plan.total('detected')} with detections, "
          f"{plan.total('captioned')} captioned, of {plan.total('frames')}; that is not done again")  # fmt: skip
    for stage, why in plan.unknown.items():
        print(f"          what of `{stage}` is finished cannot be told: {why}")
    print(f"\n{'stage':34} {'frames':>8} {'time':>10}  how it is known")
    for one in plan.stages:
        print(f"{WORDS[one.stage]:34} {one.frames:8} {_stage_time(one):>10}  {one.how}")
    print()
    _print_total(plan, known, store)


def _print_total(plan: "Plan", known: "Known", store: str) -> None:
    if plan.seconds is None:
        unknown = ", ".join(WORDS[one.stage] for one in plan.stages if one.seconds is None)
        print(f"time      not known: {unknown}. --measure tries it on a few frames")
    else:
        together = f"; stages took {100 * known.beside:.0f} % of their sum here" if known.beside < 1 else ""
        print(f"time      about {_time(plan.seconds)}, without the seconds in which a run starts{together}")
    free = "" if plan.free_bytes is None else f"; {in_units(plan.free_bytes)} are free at {store}"
    if plan.bytes is not None:
        print(f"disk      about {in_units(plan.bytes)} more, {in_units(plan.picture_bytes or 0)} of it pictures{free}")
    elif plan.picture_bytes is not None:
        print(f"disk      about {in_units(plan.picture_bytes)} more of pictures, the rest is not known{free}")
    else:
        print(f"disk      not known{free}")
    if _too_tight(plan):
        print("WARNING   that is not enough. Make room, or give another --store.")


def _too_tight(plan: "Plan") -> bool:
    needed = plan.bytes if plan.bytes is not None else plan.picture_bytes
    return plan.free_bytes is not None and needed is not None and needed * ROOM > plan.free_bytes


def _stage_time(one: "StagePlan") -> str:
    return "?" if one.seconds is None else _time(one.seconds)


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if 0 < seconds < 10 else str(timedelta(seconds=round(seconds)))
