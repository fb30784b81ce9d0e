"""Movies to decoded frames: PyAV, streaming, one frame at a time. Damage is counted, never fatal.

The picture is the largest video stream that is not a still picture (cover art). Presentation times are the
container's own. A packet that fails to decode is dropped and the next one is tried; so is a frame that the decoder
flags as corrupt. Interlaced frames go through FFmpeg's yadif; progressive ones pass it untouched.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

import av
import av.error
from av.stream import Disposition

from tasks.errors import MovieError, TransientError

READ_ERRORS_IN_A_ROW = 16
"""So many failed reads without a packet between them, and the rest of the file is given up."""
FRAME_SECONDS = 1 / 25
"""Length of a frame where the container says nothing at all."""
DURATION_IN_HEADER = frozenset({"mov", "matroska", "webm", "avi", "asf", "flv", "mxf", "nut"})
"""Containers whose duration is written down, not estimated from the bit rate or the last time stamp."""


class UnusableMovieError(MovieError):
    """A movie that gives no frames at all: `status` says whether it is `unreadable` or has `no_video`."""

    def __init__(self, status: Literal["unreadable", "no_video"], reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Decoded:
    """One decoded frame."""

    picture: Any
    """av.VideoFrame: deinterlaced, not yet rotated or scaled."""
    pts: int | None
    """Presentation time stamp in the stream's time base; None where the container has none."""
    seconds: float | None
    """The same in seconds, on the container's clock."""
    length_seconds: float | None
    """How long it is shown; None where the container does not say."""
    rotation: int
    """Degrees counter-clockwise that make it upright; of quarter turns only."""
    damaged_before: int
    """Packets and frames that were dropped between the frame before this one and this one."""


@dataclass
class OpenMovie:
    """An opened movie and what its container says."""

    path: str
    threads: int
    container: Any
    stream: Any
    damaged_at_end: int = 0
    """Dropped after the last frame; known when `frames` has run to its end."""
    read_error: str | None = None
    """Why reading ended before the end of the file."""
    last_packet_seconds: float | None = None
    """End of the last packet of any stream; known when `frames` has run to its end."""
    deinterlacing: bool = False
    _pending_damage: int = field(default=0, repr=False)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return str(self.stream.codec.canonical_name)

    @property
    def frame_rate(self) -> float | None:
        """Average frames per second as stated."""
        return float(self.stream.average_rate) if self.stream.average_rate else None

    @property
    def frame_seconds(self) -> float:
        """Nominal length of one frame."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(1 / rate) if rate else FRAME_SECONDS

    @property
    def sample_aspect_ratio(self) -> Fraction:
        """Width of a sample over its height; 1 where it is unknown or absurd."""
        ratio = self.stream.sample_aspect_ratio
        return Fraction(ratio) if ratio and Fraction(1, 10) <= ratio <= 10 else Fraction(1)

    @property
    def stated_seconds(self) -> float | None:
        """Length of the video as the container's header states it; None where it states none that can be trusted."""
        if not DURATION_IN_HEADER.intersection(self.container.format.name.split(",")):
            return None
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / av.time_base if self.container.duration else None

    @property
    def states_video_seconds(self) -> bool:
        """Whether `stated_seconds` is of the video stream; else it is of the longest stream."""
        return bool(self.stream.duration)

    def seek(self, pts: int) -> bool:
        """Go to a keyframe at or before `pts`, as far as the container knows one. False where it cannot."""
        try:
            self.container.seek(pts, stream=self.stream, backward=True, any_frame=False)
        except (av.error.FFmpegError, OverflowError):
            return False
        return True

    def restart(self) -> None:
        """Go back to the very start, for containers that cannot seek."""
        self.container.close()
        self.container, self.stream = _open(self.path, self.threads)
        self.damaged_at_end, self.read_error, self.last_packet_seconds = 0, None, None
        self.deinterlacing, self._pending_damage = False, 0

    def frames(self) -> Iterator[Decoded]:
        """The frames from here on, in order of presentation."""
        deinterlacer = _Deinterlacer(self.deinterlacing)
        for decoded in self._decoded():
            yield from deinterlacer.push(decoded)
            self.deinterlacing = deinterlacer.active
        yield from deinterlacer.flush()
        self.damaged_at_end = self._pending_damage

    def _decoded(self) -> Iterator[Decoded]:
        for packet in self._packets():
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:
                self._pending_damage += 1
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    self._pending_damage += 1
                    continue
                yield self._stamped(picture)

    def _stamped(self, picture: Any) -> Decoded:
        pts = picture.pts if picture.pts is not None else picture.dts
        base = self.stream.time_base
        seconds = None if pts is None else float(pts * base)
        length = float(picture.duration * base) if picture.duration else None
        damaged, self._pending_damage = self._pending_damage, 0
        return Decoded(picture, pts, seconds, length, round(picture.rotation / 90) * 90 % 360, damaged)

    def _packets(self) -> Iterator[Any]:
        """Packets of the video stream. A failed read is tried again: many containers find their feet."""
        streams = [self.stream, *self.container.streams.audio]
        failures = 0
        while failures < READ_ERRORS_IN_A_ROW:
            try:
                for packet in self.container.demux(streams):
                    failures = 0
                    self._note_end(packet)
                    if packet.stream is self.stream or packet.stream.index == self.stream.index:
                        yield packet
                return
            except av.error.FFmpegError as error:
                failures += 1
                self.read_error = str(error)
                self._pending_damage += 1

    def _note_end(self, packet: Any) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None and packet.time_base:
            end = float((stamp + (packet.duration or 0)) * packet.time_base)
            self.last_packet_seconds = max(self.last_packet_seconds or end, end)


class _Deinterlacer:
    """Passes frames on; from the first interlaced one on through FFmpeg's yadif, which gives one frame for each."""

    def __init__(self, active: bool) -> None:
        self.active = active
        self._graph: Any = None
        self._shape: tuple[int, int, str] | None = None
        self._inside: deque[Decoded] = deque()

    def push(self, decoded: Decoded) -> Iterator[Decoded]:
        picture = decoded.picture
        fits = min(picture.width, picture.height) >= 3  # yadif takes nothing smaller
        self.active = self.active or (picture.interlaced_frame and fits)
        if not (self.active and fits):
            yield from self.flush()
            yield decoded
            return
        shape = (picture.width, picture.height, picture.format.name)
        if shape != self._shape:
            yield from self.flush()
            self._graph, self._shape = _yadif(picture), shape
        self._inside.append(decoded)
        self._graph.push(picture)
        yield from self._pull()

    def flush(self) -> Iterator[Decoded]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
        self._graph = self._shape = None

    def _pull(self) -> Iterator[Decoded]:
        while self._inside:
            try:
                picture = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield replace(self._inside.popleft(), picture=picture)


def _yadif(picture: Any) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=picture.width,
        height=picture.height,
        format=picture.format.name,
        time_base=picture.time_base or Fraction(1, 1000),
    )
    yadif = graph.add("yadif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(yadif)
    yadif.link_to(sink)
    graph.configure()
    return graph


@contextmanager
def open_movie(path: str, threads: int = 0) -> Iterator[OpenMovie]:
    """Open a movie; `threads` for decoding, 0 takes all cores.

    Raises UnusableMovieError for bytes that are no movie, MovieError for a file that went away since it was found.
    """
    opened = OpenMovie(path, threads, *_open(path, threads))
    try:
        yield opened
    finally:
        opened.container.close()


def _open(path: str, threads: int) -> tuple[Any, Any]:
    try:
        container = av.open(path, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise _translated(path, error) from error
    try:
        stream = _largest_video(container)
    except UnusableMovieError:
        container.close()
        raise
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = threads
    return container, stream


def _translated(path: str, error: Any) -> MovieError | TransientError:
    if isinstance(error, FileNotFoundError | PermissionError):
        return MovieError(f"{path} went away while we worked: {error.strerror}. Put it back and run again.")
    if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError):
        return TransientError(f"{path} could not be read: {error.strerror}. Run again.")
    return UnusableMovieError(
        "unreadable",
        f"FFmpeg cannot open it ({error.strerror}): empty, cut off before its index, or not a movie. Copy it again "
        "from its source, or re-mux it with `ffmpeg -i FILE -c copy NEW.mkv`.",
    )


def _largest_video(container: Any) -> Any:
    """The stream with the largest picture; of equals the first. Cover art and thumbnails are no video."""
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    videos = [stream for stream in container.streams.video if not stream.disposition & stills]
    if not videos:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise UnusableMovieError("no_video", f"there is no video stream in it, only {kinds}. Give a file with video.")
    usable = [stream for stream in videos if stream.codec_context is not None]
    if not usable:
        raise UnusableMovieError(
            "unreadable", "FFmpeg has no decoder for its video. Convert it with `ffmpeg -i FILE -c:v libx264 NEW.mp4`."
        )
    return max(usable, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
