"""What one run of the flow knows of itself: its movies, its store, its configuration, what failed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from prefect import get_run_logger
from prefect.futures import PrefectFuture
from prefect.runtime import flow_run

from flows.escape_markdown import as_code
from flows.keep_memory_small import limit_arenas
from flows.link_gallery import checked_address
from flows.publish_progress import ProgressArtifacts
from flows.read_configuration import PipelineConfig, read_configuration
from flows.show_progress import Progress
from flows.show_steps import told_steps
from storage.store import Store, TableRef
from storage.tables import Movie
from tasks import captioners
from tasks.adapter_names import named_adapter
from tasks.captions import captioner_name
from tasks.errors import ConfigError, MissingPathError
from tasks.movie_files import MovieFile, find_movies, identify_movies, missing, nearest, passed_over

READING = "movies read, to know them by their content"
ENDINGS_SAID = 8
"""The most frequent of the files left out; a folder of sources has hundreds."""


@dataclass(frozen=True)
class Failed:
    """A step that failed for good, with what it said."""

    step: str
    error: str


@dataclass
class Run:
    """One run. Steps are followed to their end; a failed one is noted and the others go on."""

    movies: list[MovieFile]
    store: Store
    config: PipelineConfig
    progress: Progress
    shown_progress: ProgressArtifacts
    gallery_url: str = ""
    """Where a gallery of the store can be opened; empty: not known."""
    failures: list[Failed] = field(default_factory=list)
    _followed: list[tuple[str, PrefectFuture[Any]]] = field(default_factory=list)

    @property
    def captioner(self) -> str:
        """The name under which this run's captions stand in the store."""
        return captioner_name(self.config.caption)

    def follow(self, steps: dict[str, PrefectFuture[TableRef]], shard: str) -> None:
        """Remember the steps of one shard, first to last."""
        self._followed += [(f"{stage} {shard}", future) for stage, future in steps.items()]

    def finish(self) -> None:
        """Wait for every step that was followed, and note which of them failed."""
        for name, future in self._followed:
            self.result_of(future, name)
        self._followed.clear()

    def end_progress(self) -> None:
        """Say the last line, and bring Prefect's progress artifacts to where the run is."""
        self.progress.finish()
        self.shown_progress.update()

    def result_of(self, future: PrefectFuture[Any], name: str) -> Any:
        """What a step gave; None when it failed, which is noted once, where it began."""
        future.wait()
        if future.state.is_completed():
            return future.result()
        if future.state.name != "NotReady":  # NotReady: a step before it failed, and is noted itself
            self.failures.append(Failed(name, _say(future)))
        return None


def _say(future: PrefectFuture[Any]) -> str:
    error = future.result(raise_on_failure=False)
    return f"{type(error).__name__}: {error}" if isinstance(error, BaseException) else str(future.state.message)


def wanted_movies(movies: Sequence[str]) -> list[str]:
    """The files meant by files and folders.

    Raises MissingPathError where one of them is not there: it is mistyped, likely, so nothing is begun. A movie that is
    gone later is a row. ConfigError when there are none.
    """
    if gone := missing(movies):
        raise MissingPathError(gone, nearest(gone[0]))
    if paths := find_movies(movies):
        return paths
    raise ConfigError(f"no movies in {', '.join(movies) or 'an empty list'}. Give movie files, or folders of them.")


def not_taken(movies: Sequence[str]) -> str:
    """What is to be said of files in the folders that are not taken for movies; empty when there are none."""
    endings = passed_over(movies)
    if not endings:
        return ""
    listed = [f"{number} {ending or 'without ending'}" for ending, number in endings.items()]
    if rest := sum(list(endings.values())[ENDINGS_SAID:]):
        listed[ENDINGS_SAID:] = [f"{rest} others"]
    said = ", ".join(listed)
    return f"left out, because they do not end like movies: {said}; to take one all the same, name the file itself"


def start_run(movies: Sequence[str], store: str, config: "PipelineConfig | str", gallery_url: str = "") -> Run:
    """Read the configuration, open the store, find and identify the movies.

    Raises MissingPathError for a path where nothing is, ConfigError when nothing was given to work on, or the captioner
    cannot do what is asked, or gallery_url is no http address, UnknownNameError for an unknown profile, StoreError for
    a store that cannot be written.
    """
    address = checked_address(gallery_url)
    paths = wanted_movies(movies)
    left = not_taken(movies)
    run = _open_run(store, config, len(paths), left)  # the first sign of life: to read large movies takes minutes
    with told_steps() as tell:
        tell(READING, 0, len(paths))
        _take(identify_movies(paths, lambda done, of: tell(READING, done, of)), run)
    run.gallery_url = address
    return run


def start_on_store(
    store: str, config: "PipelineConfig | str", only: Collection[str] | None = None, gallery_url: str = ""
) -> Run:
    """Read the configuration, open the store, and take the movies that stand there: none of their files is opened.

    `only`: no others than these ids. Raises ConfigError for a store without movies, and what start_run raises.
    """
    address = checked_address(gallery_url)
    found = [movie for movie in stored_movies(Store(store)) if only is None or movie.movie_id in only]
    run = _open_run(store, config, len(found))
    _take(found, run)
    run.gallery_url = address
    return run


def _take(movies: list[MovieFile], run: Run) -> None:
    run.movies = movies
    run.progress.movies = len(movies)
    run.progress.titles.update({movie.movie_id: movie.title for movie in movies})


def stored_movies(store: Store) -> list[MovieFile]:
    """The movies that stand in a store. Raises ConfigError when there are none."""
    refs = [
        store.ref("movies", path.rpartition("/")[2].removesuffix(".parquet")) for path in store.files.under("movies")
    ]
    rows = [movie for ref in refs if ref for movie in store.read(ref, Movie)]
    if not rows:
        place = store.location
        raise ConfigError(f"{place} holds no movies. Fill it with `caption-movies import`, or `caption-movies run`.")
    return [
        MovieFile(one.movie_id, one.path, tuple(one.other_paths), one.title, one.sha256, one.size_bytes, one.error)
        for one in rows
    ]


def with_named(config: PipelineConfig, store: Store) -> PipelineConfig:
    """The configuration with folders for adapters and checkpoints that were trained on this store, by their names.

    Raises CheckpointError where such a folder is gone or was changed.
    """
    caption = config.caption
    if caption.server:
        return config  # names at the server
    if caption.adapter and (row := named_adapter(caption.adapter, store)):
        caption = replace(caption, adapter=row.path)
    if row := named_adapter(caption.checkpoint, store):
        caption = replace(caption, checkpoint=row.path)
    return replace(config, caption=caption)


def _open_run(store: str, config: "PipelineConfig | str", movies: int, left: str = "") -> Run:
    limit_arenas()
    settings = read_configuration(config)
    log = get_run_logger().info
    if left:
        log(left)
    run_id = str(flow_run.id or uuid4())
    opened = Store(store, run_id)
    opened.files.probe()
    opened.files.sweep()
    settings = with_named(settings, opened)
    progress = Progress.start(run_id, movies, log)
    captioners.completed(
        settings.caption
    )  # here, not once all is detected; it imports the backend, which takes seconds
    about = f"captions by {as_code(captioner_name(settings.caption))} into {as_code(opened.location)}"
    artifacts = ProgressArtifacts.begin(progress, about)
    return Run(movies=[], store=opened, config=settings, progress=progress, shown_progress=artifacts)
