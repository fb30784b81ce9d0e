"""How far a run is: counted once, shown as a bar in the terminal and as a progress artifact in Prefect."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar, ParamSpec, TypeVar

from flows.keep_memory_small import give_back

P = ParamSpec("P")
T = TypeVar("T")
STAGES = ("extract", "detect", "caption", "check", "score")


@dataclass
class Progress:
    """Rows and shards done per stage. Every stage after the first has the extracted shards as its total."""

    running: ClassVar[dict[str, "Progress"]] = {}
    listeners: ClassVar[list[Callable[["Progress"], None]]] = []

    run_id: str
    movies: int
    movies_done: set[str] = field(default_factory=set)
    shards: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def start(cls, run_id: str, movies: int) -> "Progress":
        """Begin to count a run. Runs that ended before their report are forgotten: a process has one at a time."""
        cls.running.clear()
        cls.running[run_id] = one = cls(run_id, movies)
        one.tell()
        return one

    def finish(self) -> None:
        """Stop counting."""
        self.tell()
        self.running.pop(self.run_id, None)

    def advance(self, stage: str, rows: int) -> None:
        """One shard of a stage is done."""
        with self._lock:
            self.shards[stage] += 1
            self.rows[stage] += rows
        self.tell()

    def movie_done(self, movie_id: str) -> None:
        """The last shard of a movie is decoded."""
        with self._lock:
            self.movies_done.add(movie_id)
        self.tell()

    def tell(self) -> None:
        """Tell everyone who listens."""
        for listener in list(self.listeners):
            listener(self)

    @property
    def fraction(self) -> float:
        """Part of the run that is done, 0 to 1; shards of movies not decoded yet are estimated from those that are."""
        decoded = len(self.movies_done) / self.movies if self.movies else 1.0
        known = self.shards["extract"]
        return decoded * self.shards["score"] / known if known else 0.0


def watched(stage: Callable[P, T], name: str) -> Callable[P, T]:
    """A stage that tells its run's progress when it is done, and leaves no free memory behind. The store is among its
    arguments.
    """

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        done = stage(*args, **kwargs)
        store = next((one for one in (*args, *kwargs.values()) if hasattr(one, "run_id")), None)
        if store is not None and (progress := Progress.running.get(store.run_id)):
            progress.advance(name, _rows(done))
        give_back()
        return done

    return run


def _rows(done: Any) -> int:
    return int(getattr(getattr(done, "frames", done), "rows", 0))
