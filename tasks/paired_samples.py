"""A value of two captioners on the same frames: over resamples of the frames, and with captions exchanged by coins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.metrics import CaptionMetric
from tasks.resampling import AT_ONCE, Numbers, added_up, coins, draw_batches

Values = Callable[[Numbers], Mapping[str, Numbers]]
"""Sums (resamples, numbers) to values by name."""


@dataclass
class Samples:
    """A value of both sides: as it is, over resamples, and with captions exchanged."""

    values: tuple[float, float]
    resampled: tuple[Numbers, Numbers]
    exchanged: tuple[Numbers, Numbers]


class Sampler:
    """Draws and exchanges the frames of both sides, always in the same way."""

    def __init__(self, frame_ids: Sequence[str], resamples: int, seed: int) -> None:
        """Of so many resamples, and as many trials."""
        self.frame_ids, self.count, self.seed = frame_ids, resamples, seed

    def samples(self, one: Numbers, other: Numbers, values: Values) -> dict[str, Samples]:
        """Of statistics (frames, numbers) of both sides."""
        both = np.hstack([one, other])
        width = one.shape[1]
        drawn = added_up(both, draw_batches(self.frame_ids, self.count, self.seed))
        total = both.sum(axis=0, keepdims=True)
        moved = self._moved(other - one)
        sums = [(total[:, :width], total[:, width:]), (drawn[:, :width], drawn[:, width:])]
        sums.append((total[:, :width] + moved, total[:, width:] - moved))
        table = [[values(part) for part in pair] for pair in sums]
        return {
            name: Samples(
                values=(float(table[0][0][name][0]), float(table[0][1][name][0])),
                resampled=(table[1][0][name], table[1][1][name]),
                exchanged=(table[2][0][name], table[2][1][name]),
            )
            for name in table[0][0]
        }

    def _moved(self, differences: Numbers) -> Numbers:
        """What the first side's sums change by in each trial."""
        total = np.zeros((self.count, differences.shape[1]))
        for start in range(0, len(self.frame_ids), AT_ONCE):
            flips = coins(self.frame_ids[start : start + AT_ONCE], self.count, self.seed)
            total += flips.T @ differences[start : start + AT_ONCE]
        return total


def pooling(metric: CaptionMetric) -> Values:
    """A metric's `pool` over many sums; the first column is how many captions."""

    def values(sums: Numbers) -> dict[str, Numbers]:
        found = {name: np.full(len(sums), np.nan) for name in metric.pooled}
        for number, row in enumerate(sums.tolist()):
            if row[0] > 0:
                for name, value in metric.pool(dict(zip(metric.values, row[1:], strict=True)), row[0]).items():
                    found[name][number] = value
        return found

    return values
