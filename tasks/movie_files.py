"""Which movies are meant, and which movie each file is: known by its bytes, whatever it is called."""

import difflib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MOVIE_ENDINGS = frozenset(
    [
        ".3gp",
        ".asf",
        ".avi",
        ".divx",
        ".dv",
        ".f4v",
        ".flv",
        ".gif",
        ".h264",
        ".h265",
        ".hevc",
        ".ivf",
        ".m2ts",
        ".m2v",
        ".m4v",
        ".mj2",
        ".mkv",
        ".mov",
        ".mp4",
        ".mpe",
        ".mpeg",
        ".mpg",
        ".mts",
        ".mxf",
        ".nut",
        ".obu",
        ".ogm",
        ".ogv",
        ".qt",
        ".rm",
        ".rmvb",
        ".ts",
        ".vob",
        ".webm",
        ".wmv",
        ".wtv",
        ".y4m",
    ]
)
"""What is taken from a folder. A file that is named itself is taken whatever its ending."""

HASHING_THREADS = 4


@dataclass(frozen=True)
class MovieFile:
    """One movie as found on disk: all files of the same bytes are one movie."""

    movie_id: str
    path: str
    other_paths: tuple[str, ...]
    title: str
    sha256: str
    size_bytes: int
    error: str | None


def find_movies(paths: Sequence[str]) -> list[str]:
    """Files as given, and the movies of folders at any depth, sorted within each folder. Nothing twice, nothing hidden:
    what macOS leaves on foreign disks is called `._name.mp4`.

    A path that does not exist stays in the list: a movie that went away becomes a row that says so. See `missing`.
    Symbolic links to folders are not followed.
    """
    found = [one for path in paths for one in (_movies_below(path) if os.path.isdir(path) else [path])]
    return list(dict.fromkeys(found))


def missing(paths: Sequence[str]) -> list[str]:
    """Those of the paths where nothing is. One that is there and cannot be looked at, for want of a right, is not."""
    return [path for path in paths if not _is_there(path)]


def _is_there(path: str) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL byte
        return False
    except OSError:
        return True  # it becomes a row that says why it cannot be read
    return True


def nearest(path: str) -> str | None:
    """A path that is there and that a missing one may be meant for: its first part that is not there is misspelt."""
    gone = [one for one in (Path(path), *Path(path).parents) if not _is_there(str(one))]
    if not gone or not gone[-1].parent.is_dir():
        return None
    first = gone[-1]
    try:
        close = difflib.get_close_matches(first.name, sorted(os.listdir(first.parent)), n=1)
    except OSError:
        return None
    meant = [first.parent / name for name in close]
    whole = [one / Path(path).relative_to(first) for one in meant]
    return next((str(one) for one in (*whole, *meant) if one.exists()), None)


def passed_over(paths: Sequence[str]) -> dict[str, int]:
    """Ending to number of the files in folders that are not taken for movies, the most frequent ending first.

    Hidden files are not counted, and none that are named themselves. The ending of a file without one is ''.
    """
    named = {os.path.abspath(path) for path in paths}
    left = {
        path: _ending(path)
        for folder in paths
        if os.path.isdir(folder)
        for path in map(os.path.abspath, _files_below(folder))
        if _ending(path) not in MOVIE_ENDINGS and path not in named
    }
    return dict(sorted(Counter(left.values()).items(), key=lambda one: (-one[1], one[0])))


def _movies_below(folder: str) -> Iterator[str]:
    yield from sorted(path for path in _files_below(folder) if _ending(path) in MOVIE_ENDINGS)


def _files_below(folder: str) -> Iterator[str]:
    return (os.path.join(here, name) for here, _, names in os.walk(folder) for name in names if name[0] != ".")


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def identify_movies(paths: Sequence[str], tell: Callable[[int, int], None] = lambda done, of: None) -> list[MovieFile]:
    """The movies behind files, in order of their first mention; each file is read once, in small pieces.

    `tell` hears how many files are read, and of how many.
    Files of the same bytes are one MovieFile: `path` is the first of them by name, `other_paths` the rest, sorted. A
    file that cannot be read keeps its place, with an `error` and an id made of its absolute path.
    """
    different, seen = list(dict.fromkeys(paths)), list[MovieFile]()
    with ThreadPoolExecutor(HASHING_THREADS) as threads:
        for movie in threads.map(_look_at, different):
            seen.append(movie)
            tell(len(seen), len(different))
    same: dict[str, list[MovieFile]] = {}
    for movie in seen:
        same.setdefault(movie.movie_id, []).append(movie)
    return [_as_one(movies) for movies in same.values()]


def _as_one(movies: list[MovieFile]) -> MovieFile:
    first, *others = sorted(movies, key=lambda movie: movie.path)
    return MovieFile(
        first.movie_id, first.path, tuple(other.path for other in others), first.title, first.sha256, first.size_bytes,
        first.error,
    )  # fmt: skip


def _look_at(path: str) -> MovieFile:
    title = Path(path).stem
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}. Check the path and its permissions, then run again."
        return MovieFile(id_of_path(path), path, (), title, "", 0, reason)
    return MovieFile(f"m{sha256[:15]}", path, (), title, sha256, size, None)


def id_of_path(path: str) -> str:
    """The id of a file whose bytes cannot be read: 'm' and 15 hexadecimal digits of its absolute path's sha256."""
    return "m" + hashlib.sha256(os.path.abspath(path).encode(errors="surrogateescape")).hexdigest()[:15]
