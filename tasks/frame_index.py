"""Which frame of a store is meant: by its id, by its picture's name, or by movie and time."""

import bisect
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

import pyarrow.parquet as pq

from storage.store import Store

TOLERANCE_SECONDS = 0.5
"""How far the nearest frame may lie from a time that is asked for."""


class NoFrameError(LookupError):
    """No frame of the store is meant, or several; says which words did not match. Never leaves a stage."""


@dataclass
class FrameIndex:
    """The frames of a store by everything they go by. Holds names and times, no picture."""

    shards: dict[str, str] = field(default_factory=dict)
    """frame_id to '<movie_id>/<shard>'."""
    _seconds: dict[str, float] = field(default_factory=dict)
    _pictures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _movies: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _times: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, store: Store) -> "FrameIndex":
        """Read ids, times and names of every frame."""
        index = cls()
        for path in store.files.under("frames"):
            movie_id, _, shard = path.removeprefix("frames/movie_id=").rpartition("/")
            index._movies[movie_id].add(movie_id)
            for frame_id, seconds, picture in _frames(store, path):
                index.shards[frame_id] = f"{movie_id}/{shard.removesuffix('.parquet')}"
                index._seconds[frame_id] = seconds
                index._times[movie_id].append((seconds, frame_id))
                for name in {picture, PurePath(picture).stem}:
                    index._pictures[name].append(frame_id)
        for times in index._times.values():
            times.sort()
        for movie_id, names in _movie_names(store):
            for name in names:
                index._movies[name].add(movie_id)
        return index

    def by_id(self, frame_id: str, seconds: float | None = None) -> str:
        """The frame of this id; where `seconds` is given it has to lie there too. Raises NoFrameError."""
        if frame_id not in self.shards:
            raise NoFrameError(f"frame {frame_id!r} is not in the store")
        if seconds is not None and abs(self._seconds[frame_id] - seconds) > TOLERANCE_SECONDS:
            raise NoFrameError(f"frame {frame_id!r} is at {self._seconds[frame_id]:.2f} s here, not at {seconds:.2f} s")
        return frame_id

    def by_picture(self, name: str) -> str:
        """The frame whose picture has this file name, with or without folder and ending; or this id.

        COCO writes image ids with twelve digits in file names, and as plain numbers in JSON: either is found. Raises
        NoFrameError.
        """
        last = PurePath(name.replace("\\", "/")).name
        tried = [name, last, PurePath(last).stem, *([name.zfill(12)] if name.isdigit() else [])]
        for one in dict.fromkeys(tried):
            if one in self.shards:
                return one
            found = self._pictures.get(one, [])
            if len(found) == 1:
                return found[0]
            if found:
                raise NoFrameError(f"{name!r} is the picture of {len(found)} frames, such as {found[0]} and {found[1]}")
        raise NoFrameError(f"no frame's picture is called {name!r}")

    def at(self, movie: str, seconds: float) -> str:
        """The frame nearest to a time of a movie, which goes by its id, title or file name. Raises NoFrameError."""
        ids = self._movies.get(movie) or self._movies.get(PurePath(movie.replace("\\", "/")).name) or set()
        if not ids:
            raise NoFrameError(f"no movie in the store is called {movie!r}")
        if len(ids) > 1:
            raise NoFrameError(f"{len(ids)} movies are called {movie!r}; name the movie_id: {', '.join(sorted(ids))}")
        times = self._times[next(iter(ids))]
        place = bisect.bisect_left(times, (seconds, ""))
        near = min(times[max(0, place - 1) : place + 1], key=lambda one: abs(one[0] - seconds), default=None)
        if near is None or abs(near[0] - seconds) > TOLERANCE_SECONDS:
            lies = f"the nearest is at {near[0]:.2f} s" if near else "it has none"
            raise NoFrameError(f"no frame of {movie!r} within {TOLERANCE_SECONDS} s of {seconds:.2f} s; {lies}")
        if sum(one[0] == near[0] for one in times) > 1:  # an imported dataset has no times
            raise NoFrameError(f"several frames of {movie!r} are at {near[0]:.2f} s; name them by frame_id or image")
        return near[1]


def _frames(store: Store, path: str) -> Iterator[tuple[str, float, str]]:
    with store.files.open(path) as source, pq.ParquetFile(source) as file:
        table = file.read(columns=["frame_id", "pts_seconds", "image.path"])
    pictures = [image["path"] for image in table["image"].to_pylist()]
    yield from zip(table["frame_id"].to_pylist(), table["pts_seconds"].to_pylist(), pictures, strict=True)


def _movie_names(store: Store) -> Iterator[tuple[str, set[str]]]:
    for path in store.files.under("movies"):
        with store.files.open(path) as source:
            for row in pq.read_table(source, columns=["movie_id", "title", "path", "other_paths"]).to_pylist():
                paths = [row["path"], *row["other_paths"]]
                yield row["movie_id"], {row["title"], *paths, *(PurePath(one).name for one in paths)}


def seconds_of(value: object) -> float:
    """A time of a movie in seconds: a number, or [hours:]minutes:seconds. Raises ValueError."""
    if isinstance(value, str) and (parts := re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", value.strip())):
        hours, minutes, seconds = parts.groups(default="0")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        found = None
    if found is None or not 0 <= found < float("inf"):
        raise ValueError(f"{value!r} is no time; give seconds, or hours:minutes:seconds")
    return found
