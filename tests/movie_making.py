"""Small movies of all kinds for tests, made with PyAV."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

Picture = np.ndarray
"""(height, width, 3) uint8, RGB."""


def moving_square(width: int, height: int, frames: int) -> Iterator[Picture]:
    """A white square that moves to the right over a slope of colours; its place tells the frame's number."""
    slope = np.zeros((height, width, 3), np.uint8)
    slope[..., 0] = np.linspace(40, 160, width, dtype=np.uint8)[None, :]
    slope[..., 1] = np.linspace(160, 40, height, dtype=np.uint8)[:, None]
    side = max(1, min(width, height) // 5)
    for number in range(frames):
        picture = slope.copy()
        left = number * (width - side) // max(frames, 1)
        picture[height // 3 : height // 3 + side, left : left + side] = 255
        yield picture


def write_movie(
    path: Path,
    pictures: Sequence[Picture] | Iterator[Picture],
    *,
    codec: str = "mpeg4",
    rate: int = 25,
    pixels: str = "yuv420p",
    container: str | None = None,
    container_options: dict[str, str] | None = None,
    times: Callable[[int], int] | None = None,
    options: dict[str, str] | None = None,
    setup: Callable[[Any], None] | None = None,
    each: Callable[[Any], None] | None = None,
) -> Path:
    """Encode pictures; `times` gives frame numbers their time stamps in 1/rate, `setup` changes the stream first."""
    with av.open(str(path), "w", format=container, options=container_options or {}) as output:
        stream: Any = None
        for number, picture in enumerate(pictures):
            if stream is None:
                stream = output.add_stream(codec, rate=rate, options=options or {})
                stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], pixels
                if setup:
                    setup(stream)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = times(number) if times else number, Fraction(1, rate)
            if each:
                each(frame)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path
