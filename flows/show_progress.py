"""How far a run is: counted once, shown as bars in a terminal, lines in a log, an artifact in Prefect."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import ClassVar, ParamSpec, TypeVar

from flows.keep_memory_small import give_back
from flows.stop_gently import pieces

P = ParamSpec("P")
T = TypeVar("T")
Say = Callable[[str], None]
DONE = {
    "extract": "extracted",
    "detect": "detected",
    "caption": "captioned",
    "mend": "mended",
    "check": "checked",
    "choose": "chosen",
    "score": "scored",
}
"""What is said of a shard when a stage is done with it."""
STAGES = tuple(DONE)
UNITS = dict(zip(STAGES, ("frames", "objects", "captions", "mended", "verdicts", "ranked", "scores"), strict=True))
"""What the rows of a stage are called."""
EVERY_SECONDS = 10.0
"""Between two lines while something changes."""
SILENT_ROUNDS = 3
"""So many times EVERY_SECONDS pass at most without a line: half a minute, in which a large model may finish nothing."""
LONGEST_SECONDS_SAID = 100 * 3600.0
"""What is estimated to last longer is not said to the second."""


@dataclass
class Progress:
    """Rows and shards done per stage. Every stage after the first has the extracted shards as its total."""

    running: ClassVar[dict[str, "Progress"]] = {}
    listeners: ClassVar[list[Callable[["Progress"], None]]] = []
    """Called at every change."""
    lines: ClassVar[list[Say]] = []
    """Told a line now and then, and one at the end."""

    run_id: str
    movies: int
    log: Say | None = None
    """The log of this run: told the same lines."""
    publish: Callable[[], None] | None = None
    """Called every EVERY_SECONDS, so that whatever it asks of others is asked at that rate and no faster."""
    titles: dict[str, str] = field(default_factory=dict)
    """Of the run's movies, by movie_id."""
    movies_done: set[str] = field(default_factory=set)
    shards: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    """Those of the shards that stood there finished already."""
    rows: Counter[str] = field(default_factory=Counter)
    rows_found: Counter[str] = field(default_factory=Counter)
    """Those of the rows that stood there already."""
    stages: tuple[str, ...] = STAGES
    """What the run does; no others are told."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, from any moment on."""
    began: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)
    _speaking: threading.Lock = field(default_factory=threading.Lock)
    _said: str = ""
    _silent: int = 0

    def __post_init__(self) -> None:
        self.began, self._said = self.clock(), self.as_line()

    @classmethod
    def start(cls, run_id: str, movies: int, log: Say | None = None, stages: tuple[str, ...] = STAGES) -> "Progress":
        """Begin to count a run. Runs that ended before their report are forgotten: a process has one at a time."""
        for old in list(cls.running.values()):
            old.forget()
        cls.running[run_id] = one = cls(run_id, movies, log, stages=stages)
        # The run's log asks the context which server it writes to.
        threading.Thread(target=copy_context().run, args=(one._say_now_and_then,), daemon=True).start()
        one.tell()
        return one

    def finish(self, how: str = "done") -> None:
        """Stop counting, and say the last line."""
        if self.run_id in self.running:
            self.forget()
            self.tell()
            with self._speaking:  # after a line that is being said now
                self.say("; ".join(filter(None, [f"{how}: {self.as_line()}", self.rate()])))

    def forget(self) -> None:
        """Stop counting without a word."""
        self.running.pop(self.run_id, None)
        self._ended.set()

    def advance(self, stage: str, rows: int, *, found: bool = False) -> None:
        """One shard of a stage is done."""
        with self._lock:
            self.shards[stage] += 1
            self.found[stage] += found
            self.rows[stage] += rows
            self.rows_found[stage] += rows if found else 0
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

    def say(self, line: str) -> None:
        """Say a line, with the time since the start."""
        seconds = timedelta(seconds=round(self.clock() - self.began))
        for say in [*self.lines, *filter(None, [self.log])]:
            say(f"{seconds} {line}")

    def as_line(self) -> str:
        """Movies and frames, or the captions where none is decoded, and the shards that each stage is done with."""
        done = [f"{DONE[stage]} {self.shards[stage]}{self._found(stage)}" for stage in self.stages]
        known = f"{self.rows['caption']} captions"
        if STAGES[0] in self.stages:
            known = f"{len(self.movies_done)} of {self.movies} movies decoded, {self.rows['extract']} frames"
        return f"{known}; shards {', '.join(done)}"

    def of_stage(self, stage: str) -> str:
        """The same of one stage, as far as is known: shards of movies that are not decoded yet are in no total."""
        known, rows = self.shards["extract"], f"{self.rows[stage]} {UNITS[stage]}"
        decoded = len(self.movies_done)
        movies = f"{decoded} of {self.movies} movies decoded"
        if stage == STAGES[0]:
            return f"{movies}; {known} shards{self._found(stage)}, {rows}"
        far = " known so far" if decoded < self.movies else ""
        done = f"{self.shards[stage]} of {max(known, self.shards[stage])} shards{far} {DONE[stage]}"
        counts = f"{done}{self._found(stage)}, {rows}"
        return f"{counts}; {movies}" if STAGES[0] in self.stages else counts

    def _found(self, stage: str) -> str:
        return f" ({self.found[stage]} found finished)" if self.found[stage] else ""

    def rate(self) -> str:
        """Captions a second, of those that this run has made; empty before the first."""
        made, seconds = self.rows["caption"] - self.rows_found["caption"], self.clock() - self.began
        if not made or seconds <= 0:
            return ""
        a_second = made / seconds
        return f"{a_second:.1f} captions a second" if a_second >= 1 else f"{60 * a_second:.1f} captions a minute"

    def time_left(self) -> str:
        """How long the rest will take, as this run has gone so far: by shards that went through every stage."""
        if (fraction := self.fraction) >= 1:
            return ""
        made, seconds = self.shards["score"] - self.found["score"], self.clock() - self.began
        if not made or not fraction:
            return "time left not known yet"
        left = seconds / made * self.shards["score"] * (1 / fraction - 1)
        if left > LONGEST_SECONDS_SAID:
            return f"about {left / 86400:.0f} days left"
        return f"about {timedelta(seconds=round(left))} left"

    def say_if_due(self) -> None:
        """Called every EVERY_SECONDS: say a line when something has changed, and at times anyway."""
        with self._speaking:
            line = self.as_line()
            self._silent += 1
            if not self._ended.is_set() and (line != self._said or self._silent >= SILENT_ROUNDS):
                self.say("; ".join(filter(None, [line, self.rate(), self.time_left()])))
                self._said, self._silent = line, 0

    def _say_now_and_then(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            self.say_if_due()
            if self.publish is not None:
                self.publish()

    @property
    def fraction(self) -> float:
        """Part of the run that is done, 0 to 1; shards of movies not decoded yet are estimated from those that are."""
        return self.fraction_of("score")

    def fraction_of(self, stage: str) -> float:
        """Part of a stage that is done, 0 to 1, estimated likewise; of the first one, the movies that are decoded."""
        decoded = len(self.movies_done) / self.movies if self.movies else 1.0
        if stage == STAGES[0]:
            return decoded
        known = self.shards["extract"]
        return decoded * min(1.0, self.shards[stage] / known) if known else 0.0


def watched(stage: Callable[P, T], name: str) -> Callable[P, T]:
    """A stage that tells its run's progress when it is done, and leaves no free memory behind. The store is among its
    arguments. Not begun when the run is being stopped.
    """

    @wraps(stage)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with pieces.one():
            done = stage(*args, **kwargs)
        store = next((one for one in (*args, *kwargs.values()) if hasattr(one, "run_id")), None)
        if store is not None and (progress := Progress.running.get(store.run_id)):
            ref = getattr(done, "frames", done)
            progress.advance(name, int(getattr(ref, "rows", 0)), found=getattr(ref, "found", False))
        give_back()
        return done

    return run
