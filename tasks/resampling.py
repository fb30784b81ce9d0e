"""How sure a number over captions is: bootstrap and approximate randomisation over frames, from what adds up.

Every resample draws frames with repetition. Here a frame's number of draws is Poisson(1) and depends on the seed and
the frame's id alone [Chamandy, Muralidharan, Najmi, Naidu: Estimating uncertainty for massive data streams, 2012]. So
captions can be added one by one, in any order, in memory that does not grow with them; every metric and every captioner
sees the same resamples; and what one metric derives from others is resampled with them. A corpus number is computed
anew from each resample's sums: nothing is tokenised, aligned or embedded twice.

Two captioners are compared over the frames that both have: an interval of the difference from the same resamples, and
a p-value from approximate randomisation, which exchanges the two captions of a frame by a coin [Noreen 1989; Riezler
and Maxwell: On some pitfalls in automatic evaluation and significance testing for MT, 2005].
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95
"""Of intervals: between the 2.5th and the 97.5th percentile of the resamples."""
SAID = "Poisson bootstrap over frames"
AT_ONCE = 256
"""Captions whose draws are held at once."""
Numbers = NDArray[np.float64]


def of_sums_is_a_mean(names: Sequence[str]) -> Callable[[Numbers], dict[str, Numbers]]:
    """How means come from sums: of columns [captions, value, value, ...]."""

    def values(sums: Numbers) -> dict[str, Numbers]:
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: sums[:, place] / sums[:, 0] for place, name in enumerate(names, 1)}

    return values


@dataclass(frozen=True)
class Statistics:
    """What a corpus number is made of."""

    rows: Numbers
    """(captions, numbers): what adds up, of each caption."""
    values: Callable[[Numbers], Mapping[str, Numbers]]
    """Sums (resamples, numbers) to values by name, (resamples,) each; NaN where there is none."""

    @classmethod
    def of_means(cls, each: Mapping[str, Sequence[float]]) -> "Statistics":
        """Of values whose corpus value is their mean."""
        columns = [np.asarray(values, dtype=np.float64) for values in each.values()]
        return cls(np.column_stack([np.ones(len(columns[0])), *columns]), of_sums_is_a_mean(list(each)))

    def resampled(self, draws: Iterable[Numbers]) -> dict[str, Numbers]:
        """Each value over the resamples; `draws` is what `draw_batches` gives for these captions' frames."""
        return dict(self.values(added_up(self.rows, draws)))


def added_up(rows: Numbers, draws: Iterable[Numbers]) -> Numbers:
    """Sums of each resample, (resamples, numbers), of rows (captions, numbers) in the order of the draws."""
    total, place = np.zeros((0, rows.shape[1])), 0
    for batch in draws:
        found = batch.T @ rows[place : place + len(batch)]
        total = total + found if place else found
        place += len(batch)
    return total


def draw_batches(frame_ids: Sequence[str], resamples: int, seed: int = 0) -> Iterable[Numbers]:
    """How often each resample draws each frame: (frames, resamples), some hundred frames at a time."""
    for start in range(0, len(frame_ids), AT_ONCE):
        yield draws(frame_ids[start : start + AT_ONCE], resamples, seed)


def draws(frame_ids: Sequence[str], resamples: int, seed: int = 0) -> Numbers:
    """(frames, resamples): Poisson(1) numbers, of each frame always the same."""
    return _POISSON[_bits(frame_ids, resamples, f"draw/{seed}")]


def coins(frame_ids: Sequence[str], trials: int, seed: int = 0) -> Numbers:
    """(frames, trials) of 0 and 1, of each frame always the same."""
    return (_bits(frame_ids, trials, f"coin/{seed}") & 1).astype(np.float64)


def interval(values: Numbers) -> tuple[float, float] | None:
    """The bounds of a value's interval, six digits each; None where the resamples have no numbers."""
    found = values[np.isfinite(values)]
    if not len(found):
        return None
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(f"{low:.6g}"), float(f"{high:.6g}")  # more digits than that would depend on the order of adding


def p_value(difference: float, by_chance: Numbers) -> float | None:
    """Two-sided: how often chance makes a difference at least as large. Never 0: the one that was found counts too.

    None where chance made no differences to count among.
    """
    found = by_chance[np.isfinite(by_chance)]
    if not len(found):
        return None
    as_large = np.abs(found) >= abs(difference) * (1 - 1e-9) - 1e-12
    return float((1 + np.count_nonzero(as_large)) / (1 + len(found)))


@dataclass
class RunningSums:
    """Sums of every resample over captions that come one by one. Its size does not depend on how many come."""

    width: int
    """Numbers per caption."""
    resamples: int
    total: Numbers = field(init=False)
    """(resamples, numbers), of what was settled."""
    _rows: Numbers = field(init=False)
    _draws: Numbers = field(init=False)
    _waiting: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Take the memory."""
        self.total = np.zeros((self.resamples, self.width))
        self._rows = np.zeros((AT_ONCE, self.width))
        self._draws = np.zeros((AT_ONCE, self.resamples), dtype=np.float64)

    def add(self, row: Sequence[float], drawn: Numbers) -> None:
        """One caption: its numbers, and how often each resample draws its frame."""
        self._rows[self._waiting], self._draws[self._waiting] = row, drawn
        self._waiting += 1
        if self._waiting == AT_ONCE:
            self.settle()

    def settle(self) -> Numbers:
        """The sums, with all that was added."""
        if self._waiting:
            self.total += self._draws[: self._waiting].T @ self._rows[: self._waiting]
            self._waiting = 0
        return self.total


_GOLDEN = 0x9E3779B97F4A7C15


def _bits(names: Sequence[str], count: int, salt: str) -> NDArray[np.uint64]:
    """16 random bits, (names, count): SplitMix64 [Steele, Lea, Flood 2014] from a hash of each name."""
    keys = [
        int.from_bytes(hashlib.blake2b(f"{salt}/{name}".encode(), digest_size=8).digest(), "little") for name in names
    ]
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
    state = np.array(keys, dtype=np.uint64)[:, None] + steps
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((state ^ (state >> np.uint64(31))) >> np.uint64(48), dtype=np.uint64)


def _poisson_table() -> Numbers:
    """Poisson(1) for each value of 16 bits."""
    below = np.cumsum([math.exp(-1) / math.factorial(count) for count in range(12)])
    return np.searchsorted(below, (np.arange(65536) + 0.5) / 65536).astype(np.float64)


_POISSON = _poisson_table()


GROUPS = 20
"""Of the jackknife."""


def groups_of(names: Sequence[str], seed: int = 0) -> NDArray[np.int64]:
    """The jackknife's group of each frame, 0 to GROUPS - 1; of each frame always the same."""
    return (_bits(names, 1, f"group/{seed}")[:, 0] % np.uint64(GROUPS)).astype(np.int64)


def jackknife_interval(value: float, without: Sequence[float]) -> tuple[float, float] | None:
    """The bounds of a value that is no sum, from its values without each group of frames; None of one group.

    The grouped jackknife's standard error, times the normal distribution's quantile [Efron and Tibshirani 1993, 11.5].
    """
    if len(without) < 2:
        return None
    found = np.asarray(without)
    error = math.sqrt((len(found) - 1) / len(found) * float(np.sum((found - found.mean()) ** 2)))
    reach = 1.959963984540054 * error
    return float(f"{value - reach:.6g}"), float(f"{value + reach:.6g}")
