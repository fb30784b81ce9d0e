"""Draws a planned movie and writes it as H.264 in MP4: `python -m toyworld.movies OUT.mp4 --seed 1`.

Options: --seconds, --shots, --size 448x256, --frame-rate, and --truth STORE for a store of what it really shows.
"""

import argparse
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from toyworld.drawing import draw_image
from toyworld.movie_plans import Plan, plan_movie

CRF = "20"
"""x264's constant quality."""


def render_movie(
    plan: Plan, path: str | Path, tell: Callable[[int, int], None] = lambda done, of: None
) -> None:  # fmt: skip
    """Write a movie's file; `tell` hears how many frames are drawn, and of how many. The same plan gives the same
    bytes with the same FFmpeg, from about 128 x 64 pixels on: on smaller pictures x264 itself differs now and then.

    Its frame `number` is shown from number / frame_rate seconds on.
    """
    with av.open(str(path), "w", format="mp4") as output:
        # One thread: with more, x264 may decide otherwise from run to run. No B-frames: every frame is shown when it
        # is decoded, so the file begins at 0.
        options = {"crf": CRF, "preset": "veryfast", "threads": "1", "bf": "0", "x264-params": "threads=1"}
        stream: Any = output.add_stream("libx264", rate=plan.frame_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = plan.width, plan.height, "yuv420p"
        stream.thread_count = 1
        for number, image in enumerate(images(plan)):
            tell(number, plan.frames)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, plan.frame_rate)
            output.mux(stream.encode(frame.reformat(format="yuv420p")))
        output.mux(stream.encode(None))


def images(plan: Plan) -> Iterator[NDArray[np.uint8]]:
    """The movie's frames in order: (height, width, 3) RGB."""
    return (image(plan, number) for number in range(plan.frames))


def image(plan: Plan, number: int) -> NDArray[np.uint8]:
    """One frame as it is shown: (height, width, 3) RGB, faded or blended with another shot's where shots join."""
    shown = _drawn(plan, plan.shot_of(number), number)
    brightness, other, share = plan.light(number)
    if other is None and brightness == 1.0:
        return shown
    lit = shown.astype(np.float32) * brightness
    if other is not None:
        lit = lit * (1 - share) + _drawn(plan, other, number).astype(np.float32) * share
    return np.asarray(np.rint(lit), np.uint8)


def _drawn(plan: Plan, index: int, number: int) -> NDArray[np.uint8]:
    return draw_image(plan.scene(index, number), plan.width, plan.height)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m toyworld.movies", description="Draw a movie by seed.")
    parser.add_argument("movie", help="the file to write, .mp4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--shots", type=int, default=12)
    parser.add_argument("--size", default="448x256", help="WIDTHxHEIGHT in pixels")
    parser.add_argument("--frame-rate", type=int, default=12, help="frames per second")
    parser.add_argument("--truth", metavar="STORE", help="also write a store of what the movie really shows")
    given = parser.parse_args(arguments)
    try:
        plan = plan_movie(
            given.seed, seconds=given.seconds, shots=given.shots, size=_size(given.size), frame_rate=given.frame_rate
        )
    except ValueError as error:
        parser.error(str(error))
    render_movie(plan, given.movie)
    if given.truth:
        from storage.store import Store  # the store's libraries only where they are asked for
        from toyworld.truth import write_truth

        write_truth(plan, given.movie, Store(given.truth))


def _size(said: str) -> tuple[int, int]:
    width, cross, height = said.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError(f"--size {said}: give WIDTHxHEIGHT in pixels, such as 448x256")
    return int(width), int(height)


if __name__ == "__main__":
    main()
