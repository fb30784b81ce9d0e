"""Movies before a run: how long they are, by their packets; how often they cut and how fast they decode, by samples.

Packets are read without decoding them, so a movie's length is exact, whatever its header says. Shots can only be found
by decoding: that is done with the run's own detector, in windows spread over the movie, for as long as there is time.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import av.error

from tasks import pictures
from tasks.decoding import Decoded, OpenMovie, UnusableMovieError, open_movie
from tasks.errors import MovieError, TransientError
from tasks.frame_sampling import keyframe_places
from tasks.frames import FramesConfig
from tasks.movie_files import MovieFile
from tasks.movie_rows import END_TOLERANCE_SECONDS
from tasks.shot_detection import ShotDetector

WINDOW_SECONDS = 12.0
"""Of movie, decoded in one piece."""
LEAST_SECONDS = 0.5
"""Of decoding, after which it is told how long all of the movie would take."""
LOOKS_EVERY = 10
"""Frames, between two looks whether it goes on."""
PICTURE_AT = 5
"""The frame of a window of which a picture is made."""


@dataclass
class Length:
    """What a movie's packets say."""

    frames: int = 0
    """Packets of video; one with two fields in two packets is rare, and counted twice."""
    seconds: float = 0.0
    """From the first frame to the end of the last."""
    last_frame_seconds: float = 0.0
    """Where the last frame begins, likewise."""
    damaged: int = 0
    """Packets that the container itself flags as corrupt."""
    error: str | None = None
    """Why nothing of it can be used, and what to do."""
    note: str | None = None
    """What a run will say of it all the same."""


@dataclass
class Samples:
    """What was seen of a movie by decoding all of it, or windows of it."""

    whole: bool = False
    """All of it was decoded, if `reached_end`."""
    reached_end: bool = False
    frames: int = 0
    seconds_of_movie: float = 0.0
    cuts: int = 0
    keyframes: int = 0
    """That would be taken of the shots seen."""
    decoding_seconds: float = 0.0
    """Finding cuts included."""
    picture_bytes: list[int] = field(default_factory=list)
    """Of pictures as a run would store them: one of each window."""
    picture_seconds: float = 0.0
    """That making these took."""

    @property
    def exact(self) -> bool:
        """Whether the shots are counted, not estimated."""
        return self.whole and self.reached_end

    def add(self, window: "Samples") -> None:
        """Count a window in."""
        self.frames += window.frames
        self.seconds_of_movie += window.seconds_of_movie
        self.cuts += window.cuts
        self.decoding_seconds += window.decoding_seconds
        self.picture_bytes += window.picture_bytes
        self.picture_seconds += window.picture_seconds


def measure_length(movie: MovieFile) -> Length:
    """Read all packets of a movie's video. What cannot be used is said in `error`; nothing is raised for it."""
    if movie.error:
        return Length(error=movie.error)
    found = Length()
    try:
        with open_movie(movie.path) as opened:
            _read_packets(opened, found)
            stated = opened.stated_seconds
    except (UnusableMovieError, MovieError, TransientError) as error:
        return Length(error=str(error))
    if not found.frames:
        return Length(error="no frame of its video is in it. Copy it again from its source.")
    if stated and opened.states_video_seconds and stated - found.seconds > max(END_TOLERANCE_SECONDS, 0.01 * stated):
        found.note = f"it ends at {found.seconds:.1f} s of the {stated:.1f} s its header states"
    elif found.damaged:
        found.note = f"{found.damaged} damaged packets"
    return found


def _read_packets(opened: OpenMovie, found: Length) -> None:
    base = opened.stream.time_base
    first = last = latest = None
    try:
        for packet in opened.container.demux(opened.stream):
            if not packet.size:
                continue
            found.frames += 1
            found.damaged += packet.is_corrupt
            if (stamp := packet.pts if packet.pts is not None else packet.dts) is not None:
                end = stamp + (packet.duration or 0)
                first, last = min(stamp, stamp if first is None else first), max(end, end if last is None else last)
                latest = max(stamp, stamp if latest is None else latest)
    except av.error.FFmpegError:
        found.damaged += 1
    nominal = found.frames * opened.frame_seconds
    if first is None or last is None or latest is None:
        found.seconds, found.last_frame_seconds = nominal, max(0.0, nominal - opened.frame_seconds)
    else:
        found.seconds, found.last_frame_seconds = float((last - first) * base), float((latest - first) * base)


def sample_movie(
    movie: MovieFile, length: Length, config: FramesConfig, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Samples:
    """Decode a movie where that takes less than `seconds` of this machine's time, else windows of it for so long.

    The windows are taken so that those seen are spread evenly whenever time is over; one is decoded at least.
    """
    with open_movie(movie.path, config.threads) as opened:
        whole = Samples(whole=True)
        if _decode(opened, config, whole, lambda: _fits(whole, length, seconds)):
            return whole
        found, end = Samples(), clock() + seconds
        for number in spread(max(1, round(length.seconds / WINDOW_SECONDS))):
            if found.frames and clock() >= end:
                break
            place = (opened.stream.start_time or 0) + round(number * WINDOW_SECONDS / opened.stream.time_base)
            if opened.seek(place):
                window = Samples()
                _decode(opened, config, window, partial(_is_short, window))
                if not number and window.reached_end:
                    return replace(window, whole=True)
                found.add(window)
    return found if found.frames else whole


def _is_short(window: Samples) -> bool:
    return window.seconds_of_movie < WINDOW_SECONDS


def _fits(so_far: Samples, length: Length, seconds: float) -> bool:
    """Whether decoding the rest will take no longer than `seconds` in all, as far as can be told."""
    if so_far.decoding_seconds < LEAST_SECONDS:
        return True
    return so_far.decoding_seconds / max(1, so_far.frames) * length.frames <= seconds


def _decode(opened: OpenMovie, config: FramesConfig, found: Samples, goes_on: Callable[[], bool]) -> bool:
    """Decode from here on while it `goes_on`, and count cuts. Whether the end was reached.

    A cut in the first frames of a window belongs to what was before; the detector cannot tell it either.
    """
    detector, cuts = ShotDetector(config.shots), [0]
    lines = first = None
    begun = time.perf_counter()
    for decoded in opened.frames():
        lines = lines or pictures.detection_lines(decoded.picture.width, decoded.picture.height)
        cuts += [number for number in detector.push(pictures.detection_picture(decoded.picture, lines)) if number]
        found.frames += 1
        found.decoding_seconds = time.perf_counter() - begun
        if decoded.seconds is not None:
            first = decoded.seconds if first is None else first
            found.seconds_of_movie = decoded.seconds - first + opened.frame_seconds
        if found.frames == PICTURE_AT:
            _encode(opened, decoded, config, found)
            begun += found.picture_seconds
        if found.frames % LOOKS_EVERY == 0 and not goes_on():
            break
    else:
        found.reached_end = True
    cuts += [number for number in detector.finish() if number]
    found.cuts = len(cuts) - 1
    shots = [after - before for before, after in pairwise([*cuts, found.frames])]
    found.keyframes = sum(len(keyframe_places(frames, config.keyframes_per_shot)) for frames in shots if frames)
    return found.reached_end


def _encode(opened: OpenMovie, decoded: Decoded, config: FramesConfig, found: Samples) -> None:
    """Make the picture that a run would store of a frame: how long that takes, how many bytes it has."""
    begun, picture = time.perf_counter(), decoded.picture
    upright = pictures.upright_size(picture.width, picture.height, opened.sample_aspect_ratio, decoded.rotation)
    size = pictures.fitted_size(*upright, config.longest_edge)
    pixels = pictures.picture(picture, size, decoded.rotation, pictures.matrix_of(picture))
    found.picture_bytes.append(len(pictures.jpeg(pixels, config.jpeg_quality)))
    found.picture_seconds += time.perf_counter() - begun


def spread(count: int) -> Iterator[int]:
    """0 to count - 1, each once, so that any first few of them are spread evenly: van der Corput's sequence."""
    bits = max(1, (count - 1).bit_length())
    for number in range(1 << bits):
        place = int(f"{number:0{bits}b}"[::-1], 2)
        if place < count:
            yield place
