"""A movie's frames from a given place on: timed from the movie's first frame, each told whether it starts a shot."""

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import pictures
from tasks.decoding import Decoded, OpenMovie
from tasks.shot_detection import LAG, WARM_UP, ShotDetector, ShotsConfig

SEEK_SLACK = 8
"""Frames before the warm-up at which a seek aims: what a decoder or filter does differently at its start is over."""
SECOND_TRY_SECONDS = 10.0
"""A seek that landed late is tried again so much earlier: some containers know their keyframes only roughly."""
MOST_FRAMES_SOUGHT = 3000
"""After a seek, so many frames are looked through for the place; then the movie is decoded from its start."""


@dataclass(frozen=True)
class Continuation:
    """A place between two frames of a movie, and all that is known of the movie up to it."""

    decoded: int = 0
    """Good frames before this place."""
    warm_up: list[list[int | None]] = field(default_factory=list)
    """[time stamp, checksum] of the frames right before this place."""
    seek_pts: int | None = None
    first_seconds: float = 0.0
    """Of the movie's first frame, on the container's clock."""
    last_seconds: float = 0.0
    """Of the frame before this place, counted from the movie's first frame."""
    end_seconds: float = 0.0
    """End of that frame."""
    damaged: int = 0
    damaged_at_start: int = 0
    """Of the damaged, those before the first good frame."""
    damage_seconds: float | None = None
    """Where the first damage after a good frame is."""
    width: int = 0
    height: int = 0
    detection_lines: int = 0
    codec: str = ""
    frame_rate: float | None = None
    deinterlacing: bool = False
    blank: bool = True
    """Whether every frame so far was nothing but black or white."""
    shot_index: int = 0
    shot_start_seconds: float = 0.0
    shot_frames: int = 0
    frame_index: int = 0
    next_multiple: int = 0

    @classmethod
    def of(cls, notes: dict[str, Any] | None) -> "Continuation":
        """From a footer's notes; the movie's start without any."""
        return cls(**{name: value for name, value in (notes or {}).items() if name in cls.__dataclass_fields__})

    def notes(self) -> dict[str, Any]:
        """For a footer."""
        return asdict(self)


@dataclass(frozen=True)
class Timed:
    """One frame and its place in the movie."""

    picture: Any
    """av.VideoFrame, as decoded."""
    seconds: float
    """Presentation time from the movie's first frame; never less than that of the frame before."""
    end_seconds: float
    pts: int | None
    damaged_before: int
    rotation: int
    """Degrees counter-clockwise that make it upright."""
    upright_size: tuple[int, int]
    matrix: int | None
    """How its YUV is to be read: `pictures.matrix_of`."""
    deinterlacing: bool
    blank: bool
    checksum: int
    """Of its small picture."""
    starts_shot: bool = False


class Timeline:
    """The frames after a place. `place` moves on with each frame that was handed out and come back from."""

    def __init__(self, opened: OpenMovie, start: Continuation, config: ShotsConfig) -> None:
        self.opened = opened
        self.place = replace(start, codec=opened.codec, frame_rate=opened.frame_rate)
        self._start = start
        self._detector = ShotDetector(config, continues=start.decoded > len(start.warm_up) and not start.blank)
        self._recent = deque(start.warm_up, maxlen=WARM_UP + SEEK_SLACK)
        self._first_seconds, self._seconds, self._end = start.first_seconds, start.last_seconds, start.end_seconds
        self._lines = start.detection_lines

    def frames(self) -> Iterator[Timed]:
        """The frames after the starting place, in order. Each waits until the detectors have decided on it."""
        waiting: deque[tuple[int, Timed]] = deque()
        cuts: set[int] = set()
        for number, (decoded, small) in enumerate(self._from_warm_up()):
            cuts.update(self._detector.push(small))
            if decoded is not None:
                waiting.append((number, self._timed(decoded, small)))
            while waiting and waiting[0][0] <= number - LAG:
                yield from self._hand_out(*waiting.popleft(), cuts)
        cuts.update(self._detector.finish())
        for number, timed in waiting:
            yield from self._hand_out(number, timed, cuts)
        self.place = _after_damage(self.place, self.opened.damaged_at_end)

    def _hand_out(self, number: int, timed: Timed, cuts: set[int]) -> Iterator[Timed]:
        yield replace(timed, starts_shot=number in cuts)
        cuts.discard(number)
        place = _after_damage(self.place, timed.damaged_before)
        if not place.decoded:
            width, height = timed.upright_size
            place = replace(place, width=width, height=height, first_seconds=self._first_seconds)
        self.place = replace(
            place,
            decoded=place.decoded + 1,
            last_seconds=timed.seconds,
            end_seconds=timed.end_seconds,
            deinterlacing=timed.deinterlacing,
            blank=place.blank and timed.blank,
            detection_lines=self._lines,
        )
        self._recent.append([timed.pts, timed.checksum])

    def continuation(self, **of_shots: Any) -> Continuation:
        """The place reached, for the next shard; `of_shots` are the fields that the extraction keeps."""
        recent = list(self._recent)
        return replace(self.place, warm_up=recent[-WARM_UP:], seek_pts=recent[0][0] if recent else None, **of_shots)

    def _from_warm_up(self) -> Iterator[tuple[Decoded | None, NDArray[np.uint8]]]:
        """Frames and their small pictures, from the first of the warm-up on; of the warm-up only the latter."""
        start, opened = self._start, self.opened
        if start.decoded > len(start.warm_up) and start.seek_pts is not None:
            earlier = round(SECOND_TRY_SECONDS / opened.stream.time_base)
            for target in (start.seek_pts, start.seek_pts - earlier):
                if opened.seek(target):
                    opened.deinterlacing = start.deinterlacing
                    frames = opened.frames()
                    if warm_up := self._warm_up_in(frames):
                        yield from ((None, small) for small in warm_up)
                        yield from ((decoded, self._small(decoded)) for decoded in frames)
                        return
            opened.restart()
        skipped = start.decoded - len(start.warm_up)
        for number, decoded in enumerate(islice(opened.frames(), skipped, None)):
            yield (decoded if number >= len(start.warm_up) else None), self._small(decoded)

    def _warm_up_in(self, frames: Iterator[Decoded]) -> list[NDArray[np.uint8]]:
        """The warm-up's small pictures, when its frames are what the shard before saw; else nothing."""
        wanted = self._start.warm_up
        for decoded in islice(frames, MOST_FRAMES_SOUGHT):
            if decoded.pts is None or decoded.pts > (wanted[0][0] or 0):
                return []
            if decoded.pts == wanted[0][0]:
                found = [(one.pts, self._small(one)) for one in chain([decoded], islice(frames, len(wanted) - 1))]
                same = [[pts, _checksum(small)] for pts, small in found] == wanted
                return [small for _, small in found] if same else []
        return []

    def _small(self, decoded: Decoded) -> NDArray[np.uint8]:
        self._lines = self._lines or pictures.detection_lines(decoded.picture.width, decoded.picture.height)
        return pictures.detection_picture(decoded.picture, self._lines)

    def _timed(self, decoded: Decoded, small: NDArray[np.uint8]) -> Timed:
        """Times: the container's, from the first frame; a frame without one follows the frame before at once."""
        first = not self._seconds and not self._end
        if first and decoded.seconds is not None:
            self._first_seconds = decoded.seconds
        given = None if decoded.seconds is None else decoded.seconds - self._first_seconds
        self._seconds = max(self._seconds, self._end if given is None else given)
        self._end = self._seconds + (decoded.length_seconds or self.opened.frame_seconds)
        picture = decoded.picture
        size = pictures.upright_size(picture.width, picture.height, self.opened.sample_aspect_ratio, decoded.rotation)
        return Timed(
            picture=picture,
            seconds=self._seconds,
            end_seconds=self._end,
            pts=decoded.pts,
            damaged_before=decoded.damaged_before,
            rotation=decoded.rotation,
            upright_size=size,
            matrix=pictures.matrix_of(picture),
            deinterlacing=self.opened.deinterlacing,
            blank=self._detector.last_is_blank,
            checksum=_checksum(small),
        )


def _after_damage(place: Continuation, damaged: int) -> Continuation:
    if not damaged:
        return place
    if not place.decoded:
        return replace(place, damaged=place.damaged + damaged, damaged_at_start=place.damaged_at_start + damaged)
    where = place.end_seconds if place.damage_seconds is None else place.damage_seconds
    return replace(place, damaged=place.damaged + damaged, damage_seconds=where)


def _checksum(small: NDArray[np.uint8]) -> int:
    return zlib.crc32(small.tobytes())
