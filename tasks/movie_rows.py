"""A movie's row: what is said of it when its last shard is done, and the tidying that belongs to it."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from storage.store import MENDED, Output, Store, path_of
from storage.tables import BY_CAPTIONER, TABLES, Movie
from tasks.decoding import OpenMovie
from tasks.movie_files import MovieFile, id_of_path
from tasks.timeline import Continuation

END_TOLERANCE_SECONDS = 0.25
"""A movie may end this much, or three frames, before its stated length without counting as truncated."""


def judge(opened: OpenMovie, place: Continuation) -> tuple[str, str | None]:
    """Status and reason of a movie that was decoded to its end.

    `truncated` where a packet or frame after the first good one was damaged (players start many whole recordings with
    a damaged one), where reading failed, or where the frames end well before the length the container's header states.
    """
    if not place.decoded:
        what = f"no frame of its {opened.codec} video could be decoded"
        return "unreadable", f"{what} ({place.damaged} packets and frames failed). Copy it again from its source."
    remedy = "The good frames are kept; copy the movie again from its source to have all."
    if place.damaged > place.damaged_at_start:
        where = f"{place.damaged - place.damaged_at_start} packets and frames from {place.damage_seconds:.2f} s on"
        reading = f", reading ended with: {opened.read_error}" if opened.read_error else ""
        return "truncated", f"{where} are damaged and left out{reading}. {remedy}"
    stated, reached = opened.stated_seconds, place.end_seconds
    if stated is not None and not opened.states_video_seconds and opened.last_packet_seconds is not None:
        reached = max(reached, opened.last_packet_seconds)
    if stated is not None and stated - reached > max(END_TOLERANCE_SECONDS, 3 * opened.frame_seconds):
        return "truncated", f"it ends at {reached:.2f} s of the {stated:.2f} s its header states. {remedy}"
    return "ok", None


def finish_movie(movie: MovieFile, number: int, last: Output, store: Store, version: int) -> None:
    """Write the movie's row, also when only its name or place changed, and delete what is no longer part of it."""
    known = asdict(movie)
    output = store.output([Movie], stage="movies", shard=movie.movie_id, version=version, config=known,
                          inputs=[last.fingerprint])  # fmt: skip
    if not output.is_current():
        with output.writer() as write:
            write(_movie_row(movie, last.notes))
    delete_shards(movie.movie_id, number + 1, store)
    if not movie.error:
        for path in (movie.path, *movie.other_paths):
            _forget_unreadable(id_of_path(path), store)


def _movie_row(movie: MovieFile, notes: dict[str, Any]) -> Movie:
    return movie_row(
        movie,
        width=notes["width"],
        height=notes["height"],
        codec=notes["codec"],
        frame_rate=notes["frame_rate"],
        duration_seconds=notes["end_seconds"] if notes["decoded"] else None,
        decoded_frames=notes["decoded"],
        damaged_frames=notes["damaged"],
        status=notes["status"],
        error=notes["error"],
    )


def movie_row(movie: MovieFile, **seen: Any) -> Movie:
    """What a movie's row says of its file, and what was `seen` in it: the other columns of the table."""
    return Movie(
        movie_id=movie.movie_id,
        title=movie.title,
        path=movie.path,
        other_paths=list(movie.other_paths),
        sha256=movie.sha256,
        size_bytes=movie.size_bytes,
        **seen,
    )


def delete_shards(movie_id: str, first: int, store: Store) -> None:
    """Delete a movie's shards from `first` on, of every table; frames last, so that a killed clean-up is seen again."""
    old = [path for path in store.files.under(f"frames/movie_id={movie_id}") if int(_stem(path)) >= first]
    if not old:
        return
    stale = {_stem(path) for path in old}
    for path in _files_of(movie_id, store):
        table, name = path.partition("/")[0], _stem(path)
        by_shard = name.rpartition("@")[2] if table == "judgements" and "@" in name else name.removesuffix(MENDED)
        if by_shard in stale:
            store.files.delete(path)


def delete_movie(movie_id: str, store: Store) -> None:
    """Delete all that the store has of a movie; its row last, so that a killed clean-up is seen again."""
    for path in _files_of(movie_id, store):
        store.files.delete(path)
    store.files.delete(path_of("movies", movie_id))


def _files_of(movie_id: str, store: Store) -> Iterator[str]:
    """A movie's files of every table, but its row and what was logged of work on it; its frames last."""
    for table in [*sorted(set(TABLES) - {"frames", "movies", "stage_runs"}), "frames"]:
        deep = table in BY_CAPTIONER or table == "failures"
        for path in store.files.under(table if deep else f"{table}/movie_id={movie_id}"):
            if f"movie_id={movie_id}" in path.split("/"):
                yield path


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".parquet")


def _forget_unreadable(movie_id: str, store: Store) -> None:
    """A path that could not be read before and now can: its row of that time says nothing true any more."""
    row = f"movies/{movie_id}.parquet"
    if store.files.exists(row):
        delete_shards(movie_id, 0, store)
        store.files.delete(row)
