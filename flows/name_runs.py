"""Names of runs and of their steps, as people read them in Prefect: which movies, by which captioner, which shard.

A name is no place for errors: what is wrong with a parameter, the run itself says.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from flows.read_configuration import read_configuration
from flows.read_recipe import read_recipe
from flows.show_progress import Progress
from storage.store import TableRef
from tasks.captions import captioner_name
from tasks.errors import CaptionMoviesError
from tasks.movie_files import MovieFile, find_movies
from tasks.visible_text import visible_line

LONGEST_PART = 60
"""Letters of a part of a name; Prefect's pages cut longer names off, and what is cut is the captioner."""


def name_movies_run() -> str:
    """`trailers (12) · groundcap`: the movies of caption-movies, how many, and the captioner."""
    given = flow_run.parameters
    return _joined(movie_set(given.get("movies", ())), _captioner(given.get("config", "")))


def name_store_run() -> str:
    """`groundcap-test · pixtral`: the store of caption-store, and the captioner."""
    given = flow_run.parameters
    return _joined(store_name(given.get("store", "")), _captioner(given.get("config", "")))


def name_scores_run() -> str:
    """`groundcap-test · pixtral, blip2`: the store of score-captions, and whose captions are scored."""
    given = flow_run.parameters
    return _joined(store_name(given.get("store", "")), ", ".join(given.get("captioners") or ["all captioners"]))


def name_training_run() -> str:
    """`groundcap-test · my-captioner`: the store of train-captioner, and what the trained captioner is called."""
    given = flow_run.parameters
    recipe = given.get("recipe", "")
    try:
        trained = given.get("name") or read_recipe(recipe).caption.name
    except CaptionMoviesError:
        trained = str(recipe)
    return _joined(store_name(given.get("store", "")), trained)


def movie_set(movies: Sequence[str]) -> str:
    """What a run's movies are called: a file by its title, a folder by its name and how many movies are in it."""
    if not movies:
        return "no movies"
    first = Path(movies[0])
    if len(movies) == 1 and not first.is_dir():
        return first.stem
    name = (first.resolve().name or str(first)) if first.is_dir() else first.stem
    others = f" and {len(movies) - 1} more" if len(movies) > 1 else ""
    return f"{name[:LONGEST_PART]}{others} ({len(find_movies(movies))})"


def store_name(location: str) -> str:
    """The last part of a store's folder or URI."""
    return location.rstrip("/").rpartition("/")[2] or location


def _captioner(config: Any) -> str:
    try:
        return captioner_name(read_configuration(config).caption)
    except CaptionMoviesError:
        return str(config)


def _joined(*parts: str) -> str:
    return " · ".join(visible_line(part)[:LONGEST_PART] for part in parts)


def step_name(verb: str) -> Callable[[dict[str, Any]], str]:
    """Names the steps of one stage by what they work on, their first argument: `score sintel 00003 · groundcap`.

    A movie is called by its title where the run knows it, else by its id.
    """

    def name(parameters: dict[str, Any]) -> str:
        first, *others = parameters.values()
        if isinstance(first, MovieFile):
            return f"{verb} {visible_line(first.title)[:LONGEST_PART]} {others[0]:05d}"
        if isinstance(first, TableRef):
            movie_id, _, shard = first.shard.rpartition("/")
            said = f"{verb} {visible_line(_titles(others).get(movie_id, movie_id))[:LONGEST_PART]} {shard}"
            return _joined(said, first.captioner) if first.captioner else said
        return f"{verb} {visible_line(str(first))[:LONGEST_PART]}"

    return name


def _titles(arguments: Sequence[Any]) -> dict[str, str]:
    """Titles by movie_id, from the progress of the run whose store is among the arguments."""
    run_id = next((one.run_id for one in arguments if hasattr(one, "run_id")), "")
    progress = Progress.running.get(run_id)
    return progress.titles if progress else {}
