"""Stage extract: movies to shots and frames, one shard after the other.

A shard is a pure function of the movie's bytes, the configuration and where the shard before it ended. That place
stands in the footer of the shard before (`Continuation`), and its fingerprint is an input of this one. So a killed run
loses at most the shard it was in, memory does not grow with the movie, and any shard can be made again alone.

A shard starts by seeking to a keyframe before its place and decoding `WARM_UP` frames through the shot detectors; they
must be the very frames the shard before saw there (time stamps and checksums), or the movie is decoded from its start.
Detectors remember less than `WARM_UP` frames, so shots and frames do not depend on where shards end.

With keyframes a shard ends at the first cut after `shard_frames` frames; in the other modes also inside a shot, whose
row in `shots` is then written by the shard in which it ends.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from typing import Any, Literal

from storage.errors import StoreError
from storage.store import EXECUTION, Output, Store, TableRef
from storage.tables import Frame, Image, Shot
from tasks import pictures
from tasks.decoding import OpenMovie, UnusableMovieError, open_movie
from tasks.errors import ConfigError, MovieError
from tasks.frame_sampling import EveryFrame, EverySeconds, KeyframesPerShot, Sampler
from tasks.movie_files import MovieFile, find_movies, identify_movies
from tasks.movie_rows import finish_movie, judge
from tasks.shot_detection import ShotsConfig
from tasks.timeline import Continuation, Timed, Timeline

__all__ = ["Extracted", "FramesConfig", "MovieFile", "extract_shard", "find_movies", "identify_movies"]

VERSION = 1
MOST_KEYFRAMES = 32


@dataclass(frozen=True, kw_only=True)
class FramesConfig:
    """Which frames are taken, and how they are stored."""

    mode: Literal["keyframes_per_shot", "every_seconds", "every_frame"] = "keyframes_per_shot"
    """Some frames of each shot, one each so many seconds, or all."""
    keyframes_per_shot: int = 3
    """Near the start, the middle and the end for 3 (MovieNet's rule); n: evenly between."""
    every_seconds: float = 1.0
    """The first frame at or after each multiple of this, counted from the movie's first frame."""
    longest_edge: int | None = 1024
    """Pictures are shrunk to this many pixels, never enlarged; 0 or None keeps their size."""
    jpeg_quality: int = 90
    """Of the stored pictures, 1 to 100."""
    shard_frames: int = 192
    """About so many frames make a shard."""
    shots: ShotsConfig = field(default_factory=ShotsConfig)
    threads: int = field(default=0, metadata=EXECUTION)
    """For decoding; 0 takes all cores."""

    def __post_init__(self) -> None:
        modes = ("keyframes_per_shot", "every_seconds", "every_frame")
        _check(self.mode in modes, f"mode is {self.mode!r}; give one of {', '.join(modes)}.")
        _check(1 <= self.keyframes_per_shot <= MOST_KEYFRAMES, f"keyframes_per_shot is 1 to {MOST_KEYFRAMES}.")
        _check(0 < self.every_seconds < float("inf"), "every_seconds is a positive number of seconds.")
        _check(not self.longest_edge or 16 <= self.longest_edge <= 16384, "longest_edge is 16 to 16384, or 0 for all.")
        _check(1 <= self.jpeg_quality <= 100, "jpeg_quality is 1 to 100.")
        _check(1 <= self.shard_frames <= 10_000, "shard_frames is 1 to 10000.")
        _check(self.threads >= 0, "threads is 0 (all cores) or more.")


def _check(good: bool, rule: str) -> None:
    if not good:
        raise ConfigError(f"frames: {rule}")


@dataclass(frozen=True)
class Extracted:
    """One shard of frames, and whether it is the movie's last."""

    frames: TableRef
    last: bool


def extract_shard(movie: MovieFile, number: int, store: Store, config: FramesConfig) -> Extracted:
    """Make shard `number` of a movie, from 0; the shards before it have to be there. A current one is left alone.

    The last shard also brings the movie's row up to date, and deletes shards of it that an older configuration left.
    A movie that cannot be used gives one empty shard. Raises StoreError when the shard before is not there or was the
    last, MovieError when the file went away or changed since it was identified.
    """
    before = _outputs(movie, number, store, config)
    output = before.pop()
    notes = _notes_before(before, number)
    if not output.is_current():
        _write_shard(movie, output, Continuation.of(notes), config)
    last = bool(output.notes["last"])
    if last:
        finish_movie(movie, number, output, store, VERSION)
    return Extracted(output.ref, last)


def _outputs(movie: MovieFile, number: int, store: Store, config: FramesConfig) -> list[Output]:
    """The outputs of shards 0 to `number`."""
    return list(islice(outputs_of(movie, store, config), number + 1))


def outputs_of(movie: MovieFile, store: Store, config: FramesConfig) -> Iterator[Output]:
    """The outputs of a movie's shards from 0 on, without end; each one's fingerprint is an input of the next."""
    before = movie.error or ""
    for number in count():
        output = store.output(
            [Frame, Shot],
            stage="extract",
            shard=f"{movie.movie_id}/{number:05d}",
            version=VERSION,
            config=config,
            inputs=[movie.sha256, before],
        )
        before = output.fingerprint
        yield output


def _notes_before(before: list[Output], number: int) -> dict[str, Any] | None:
    if not before:
        return None
    if not before[-1].is_current():
        raise StoreError(
            f"{before[-1].shard} is not there, or of another configuration. Extract it before {number:05d}."
        )
    notes = before[-1].notes
    if notes["last"]:
        raise StoreError(f"{before[-1].shard} is the movie's last shard; there is no {number:05d}.")
    return notes


def _write_shard(movie: MovieFile, output: Output, start: Continuation, config: FramesConfig) -> None:
    with output.writer() as write:
        try:
            if movie.error:
                raise UnusableMovieError("unreadable", movie.error)
            with open_movie(movie.path, config.threads) as opened:
                _refuse_changed(movie)
                shard = _Shard(movie, opened, start, config, write)
                write.notes.update(shard.run())
        except UnusableMovieError as error:
            write.notes.update(last=True, status=error.status, error=str(error), **asdict(start))


def _refuse_changed(movie: MovieFile) -> None:
    if os.path.getsize(movie.path) != movie.size_bytes:
        raise MovieError(f"{movie.path} changed while we worked. Run again when it is at rest.")


class _Shard:
    """One shard in the making."""

    def __init__(
        self, movie: MovieFile, opened: OpenMovie, start: Continuation, config: FramesConfig, write: Any
    ) -> None:
        self.movie, self.opened, self.config, self.write = movie, opened, config, write
        self.timeline = Timeline(opened, start, config.shots)
        self.sampler = _sampler(config, start)
        self.shot_index, self.shot_start, self.shot_frames = (
            start.shot_index,
            start.shot_start_seconds,
            start.shot_frames,
        )
        self.frame_index = start.frame_index
        self.written = 0

    def run(self) -> dict[str, Any]:
        """Write the shard's rows; what the footer notes of it."""
        for timed in self.timeline.frames():
            if timed.starts_shot:
                self._end_shot(timed.seconds)
            if self._is_full(timed):
                return {"last": False} | asdict(self._place())
            self.shot_frames += 1
            self._write_frames(self.sampler.add(timed))
        self._end_shot(self.timeline.place.end_seconds)
        status, error = judge(self.opened, self.timeline.place)
        return {"last": True, "status": status, "error": error} | asdict(self._place())

    def _is_full(self, timed: Timed) -> bool:
        at_cut = timed.starts_shot or self.config.mode != "keyframes_per_shot"
        return self.written >= self.config.shard_frames and at_cut

    def _end_shot(self, end_seconds: float) -> None:
        if self.shot_frames == 0:
            return
        self._write_frames(self.sampler.end_shot())
        self.write(
            Shot(
                movie_id=self.movie.movie_id,
                shot_index=self.shot_index,
                start_seconds=self.shot_start,
                end_seconds=end_seconds,
                frames=self.shot_frames,
            )
        )
        self.shot_index, self.shot_start, self.shot_frames = self.shot_index + 1, end_seconds, 0

    def _write_frames(self, frames: Sequence[Timed]) -> None:
        for timed in frames:
            size = pictures.fitted_size(*timed.upright_size, self.config.longest_edge)
            pixels = pictures.picture(timed.picture, size, timed.rotation, timed.matrix)
            frame_id = f"{self.movie.movie_id}_{self.frame_index:06d}"
            self.write(
                Frame(
                    frame_id=frame_id,
                    movie_id=self.movie.movie_id,
                    shot_index=self.shot_index,
                    frame_index=self.frame_index,
                    pts_seconds=timed.seconds,
                    width=pixels.shape[1],
                    height=pixels.shape[0],
                    image=Image(bytes=pictures.jpeg(pixels, self.config.jpeg_quality), path=f"{frame_id}.jpg"),
                )
            )
            self.frame_index += 1
            self.written += 1
            self.write.frames = self.written

    def _place(self) -> Continuation:
        return self.timeline.continuation(
            shot_index=self.shot_index,
            shot_start_seconds=self.shot_start,
            shot_frames=self.shot_frames,
            frame_index=self.frame_index,
            next_multiple=self.sampler.next_multiple,
        )


def _sampler(config: FramesConfig, start: Continuation) -> Sampler:
    if config.mode == "keyframes_per_shot":
        return KeyframesPerShot(config.keyframes_per_shot, config.longest_edge)
    if config.mode == "every_seconds":
        return EverySeconds(config.every_seconds, start.next_multiple)
    return EveryFrame()
