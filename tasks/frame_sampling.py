"""Which frames of a shot are kept: three rules, each fed frame by frame, none remembering more than it must."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tasks import pictures
from tasks.timeline import Timed

MARGIN_FRAMES = 3
"""Keyframes keep this far from a cut: the frames beside it may still show the other shot (blends, codecs)."""
RESERVOIR_FRAMES = 32
HELD_PIXELS = 2_200_000
"""Frames with more pixels than this (1080p has fewer) are shrunk to their stored size while they wait."""


class Sampler(Protocol):
    """Says which frames to write."""

    next_multiple: int

    def add(self, frame: Timed) -> Sequence[Timed]:
        """Take the next frame of the shot; the frames to write now."""
        ...

    def end_shot(self) -> Sequence[Timed]:
        """The shot is complete; the frames to write now."""
        ...


@dataclass
class EveryFrame:
    """Every decoded frame."""

    next_multiple: int = 0

    def add(self, frame: Timed) -> Sequence[Timed]:
        """The frame itself."""
        return [frame]

    def end_shot(self) -> Sequence[Timed]:
        """Nothing is waiting."""
        return []


@dataclass
class EverySeconds:
    """The first frame at or after each multiple of `seconds`; a gap in the movie gives one frame, not many."""

    seconds: float
    next_multiple: int = 0

    def add(self, frame: Timed) -> Sequence[Timed]:
        """The frame, when a multiple has been reached."""
        if frame.seconds < self.next_multiple * self.seconds - 1e-9:
            return []
        self.next_multiple = int((frame.seconds + 1e-9) / self.seconds) + 1
        return [frame]

    def end_shot(self) -> Sequence[Timed]:
        """Nothing is waiting."""
        return []


@dataclass
class KeyframesPerShot:
    """`count` frames of each shot, evenly from MARGIN_FRAMES after its start to MARGIN_FRAMES before its end.

    A shot of fewer frames has smaller margins (a quarter of it at most) and gives fewer keyframes, never one twice. How
    long a shot is shows only at its end, so frames wait: the first few, the last few, and a reservoir of every 2^k-th,
    k growing so that it never holds more than RESERVOIR_FRAMES. A keyframe is the waiting frame nearest to its place,
    so one in the middle is off by at most 1/32 of the shot, and memory does not grow with it.
    """

    count: int
    longest_edge: int | None
    next_multiple: int = 0
    _length: int = 0
    _stride: int = 1
    _head: dict[int, Timed] = field(default_factory=dict)
    _reservoir: dict[int, Timed] = field(default_factory=dict)
    _tail: deque[tuple[int, Timed]] = field(default_factory=lambda: deque(maxlen=MARGIN_FRAMES + 1))

    def add(self, frame: Timed) -> Sequence[Timed]:
        """Nothing yet; the frame waits."""
        index, frame = self._length, _light(frame, self.longest_edge)
        self._length += 1
        if index <= MARGIN_FRAMES:
            self._head[index] = frame
        self._tail.append((index, frame))
        if index % self._stride == 0:
            self._reservoir[index] = frame
        if len(self._reservoir) > RESERVOIR_FRAMES:
            self._stride *= 2
            self._reservoir = {i: held for i, held in self._reservoir.items() if i % self._stride == 0}
        return []

    def end_shot(self) -> Sequence[Timed]:
        """The shot's keyframes, in order."""
        waiting = self._reservoir | self._head | dict(self._tail)
        chosen = {
            min(waiting, key=lambda i: (abs(i - place), i)) for place in keyframe_places(self._length, self.count)
        }
        self._length, self._stride, self._head, self._reservoir = 0, 1, {}, {}
        self._tail.clear()
        return [waiting[index] for index in sorted(chosen)]


def keyframe_places(length: int, count: int) -> list[int]:
    """Places of `count` keyframes in a shot of `length` frames, from 0, in order, none twice."""
    margin = min(MARGIN_FRAMES, (length - 1) // 4)
    first, last = margin, length - 1 - margin
    if count == 1:
        return [(first + last) // 2]
    return sorted({first + (last - first) * i // (count - 1) for i in range(count)})


def _light(frame: Timed, longest_edge: int | None) -> Timed:
    if frame.picture.width * frame.picture.height <= HELD_PIXELS:
        return frame
    size = pictures.fitted_size(*frame.upright_size, longest_edge)
    return replace(frame, picture=pictures.shrunk(frame.picture, size, frame.rotation))
