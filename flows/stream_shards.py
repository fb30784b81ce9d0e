"""Decoding as a stream: shards come out while later ones are still being decoded.

A shard begins where the one before it ended, so the shards of one movie follow each other, and the movies too.
"""

from collections import deque
from collections.abc import Iterator

from prefect.futures import PrefectFuture, as_completed

from flows.run_state import Run
from flows.steps import extract
from storage.store import TableRef
from tasks.frames import Extracted
from tasks.movie_files import MovieFile

MOVIES_AT_ONCE = 1
"""FFmpeg decodes one movie on all cores; a second one beside it would mostly add its memory to the peak."""


def decoded_shards(run: Run, movies_at_once: int = MOVIES_AT_ONCE) -> Iterator[TableRef]:
    """Every shard of frames of the run's movies as soon as it stands in the store.

    A movie whose decoding fails is noted as a failure of the run; the others go on.
    """
    waiting: deque[tuple[MovieFile, int]] = deque((movie, 0) for movie in run.movies)
    running: dict[PrefectFuture[Extracted], tuple[MovieFile, int]] = {}
    while waiting or running:
        while waiting and len(running) < movies_at_once:
            movie, number = waiting.popleft()
            running[extract.submit(movie, number, run.store, run.config.frames)] = (movie, number)
        future = next(iter(as_completed(list(running))))
        movie, number = running.pop(future)
        if (extracted := run.result_of(future, f"extract {movie.title} shard {number}")) is None:
            run.progress.movie_done(movie.movie_id)
            continue
        if extracted.last:
            run.progress.movie_done(movie.movie_id)
        else:
            waiting.appendleft((movie, number + 1))
        yield extracted.frames
