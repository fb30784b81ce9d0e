"""Scores of a group's captions added up, and once more for every resample. Its size does not depend on their number."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tasks.metrics import CaptionMetric
from tasks.resampling import Numbers, RunningSums, interval

Bounds = dict[str, tuple[float, float]]
"""Low and high by name of value."""


@dataclass
class Tally:
    """Captions of a group: how many, and the sums of their values."""

    metrics: Sequence[CaptionMetric]
    resamples: int = 0
    captions: int = 0
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Name of a value to its sum over the captions that have it."""
    unscored: dict[str, str] = field(default_factory=dict)
    """Metric to the first caption that it did not score, as id."""
    scored: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Metric to how many captions it scored."""

    def __post_init__(self) -> None:
        """Take the memory for the resamples."""
        self._names = [name for metric in self.metrics for name in metric.values]
        self._drawn = RunningSums(1 + len(self._names), self.resamples) if self.resamples else None
        self._bounds: dict[str, Bounds] | None = None

    def add(self, caption_id: str, values: Mapping[str, float], drawn: Numbers | None = None) -> None:
        """One caption more, with its values by name; empty when it was not scored.

        `drawn`: how often each resample draws its frame.
        """
        self.captions += 1
        for metric in self.metrics:
            if not metric.values.keys() <= values.keys():
                self.unscored.setdefault(metric.name, caption_id)
                continue
            self.scored[metric.name] += 1
            for name in metric.values:
                self.sums[name] += values[name]
        if self._drawn and drawn is not None:
            self._drawn.add([1.0, *(values.get(name, 0.0) for name in self._names)], drawn)

    def bounds(self, metric: CaptionMetric) -> Bounds:
        """The interval of each of a metric's values; of counts there is none."""
        if self._bounds is not None:
            return self._bounds[metric.name]
        drawn = {name: values for name, values in self.resampled(metric).items() if not name.endswith("_total")}
        return {name: found for name, values in drawn.items() if (found := interval(values))}

    def close(self) -> None:
        """No caption comes any more: of the resamples only the intervals are kept."""
        self._bounds = {metric.name: self.bounds(metric) for metric in self.metrics}
        self._drawn = None

    def pooled(self, metric: CaptionMetric, captioner: str) -> tuple[dict[str, float], str | None]:
        """A metric's values over the captions, or why there are none: what was not scored may not leave the mean."""
        if not self.captions:
            return {}, f"there are no captions by {captioner!r}"
        if missing := self.captions - self.scored[metric.name]:
            such = self.unscored[metric.name]
            return {}, f"{missing} of {self.captions} captions are not scored yet, such as {such}; run again"
        return metric.pool(self.sums, self.captions), None

    def resampled(self, metric: CaptionMetric) -> dict[str, Numbers]:
        """A metric's values over the resamples; empty where nothing was resampled, or there is one caption only."""
        if self._drawn is None or self.captions < 2:
            return {}
        sums = self._drawn.settle()
        places = [1 + self._names.index(name) for name in metric.values]
        found = {name: np.full(len(sums), np.nan) for name in metric.pooled}
        for number in np.flatnonzero(sums[:, 0]):  # a resample may draw none of a few frames
            row = dict(zip(metric.values, sums[number, places].tolist(), strict=True))
            for name, value in metric.pool(row, sums[number, 0]).items():
                found[name][number] = value
        return found
