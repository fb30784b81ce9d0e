"""Peak memory of the whole job: 1 movie and 50, 1 minute and 30, each in a process of its own.

    python -m benchmarks.flow_memory [--data FOLDER] [--movies 1 50] [--minutes 1 30] [--width 448]

The movies are made by repeating real clips; each of many carries its own title, so its bytes are its own. The models
are the small embedded ones. Peak memory is the resident set of the `caption-movies run` process at its highest, in MiB,
over what the same process needs for one movie of one minute. Prefect's server runs beside it, once for all.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import httpx

from benchmarks.memory import DATA, make

REPOSITORY = Path(__file__).parents[1]
PORT = 4291
PROFILE = """
[frames]
keyframes_per_shot = 1
longest_edge = 224
shard_frames = 24

[detect]
checkpoint = "{checkpoints}/detector"

[caption]
name = "small"
checkpoint = "{checkpoints}/captioner"
max_new_tokens = 16
"""


def retitled(source: Path, target: Path, title: str) -> None:
    """The same pictures in a file of other bytes."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        new.metadata["title"] = title
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)


def run(movies: list[Path], folder: Path, environment: dict[str, str]) -> tuple[float, float, str]:
    """Caption the movies into a new store: peak MiB, seconds, the command's last lines."""
    command = [sys.executable, "-m", "flows.command_line", "run", *map(str, movies)]
    command += ["--store", str(folder / "store"), "--profile", str(folder / "profile.toml")]
    log = (folder / "log").open("w")
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    said = (folder / "log").read_text()
    if process.returncode not in (0, 3):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said}")
    return usage.ru_maxrss / 1024, seconds, said


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--movies", type=int, nargs=2, default=(1, 50))
    parser.add_argument("--minutes", type=float, nargs=2, default=(1, 30))
    parser.add_argument("--width", type=int, default=448)
    parser.add_argument("--checkpoints", type=Path, default=REPOSITORY / "toyworld" / "checkpoints")
    options = parser.parse_args()
    few, many = options.movies
    short, long = options.minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = os.environ | {"PREFECT_HOME": name, "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api"}
        environment |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        server = _server(folder, environment)
        try:
            base = 0.0
            print(f"{'movies':>6} {'minutes':>7} {'peak MiB':>9} {'ratio':>6} {'seconds':>8} {'frames':>7}")
            for count, minutes in ((few, short), (many, short), (few, long)):
                case = folder / f"{count}-{minutes}"
                case.mkdir()
                (case / "profile.toml").write_text(PROFILE.format(checkpoints=options.checkpoints.resolve()))
                make(case / "movie.mp4", minutes, options.data, options.width)
                movies = [case / f"movie-{number}.mp4" for number in range(count)]
                for movie in movies:
                    retitled(case / "movie.mp4", movie, movie.stem)
                peak, seconds, said = run(movies, case, environment)
                base = base or peak
                frames = next(line.split()[1] for line in said.splitlines() if line.startswith("frames "))
                print(f"{count:6} {minutes:7g} {peak:9.0f} {peak / base:6.2f} {seconds:8.1f} {frames:>7}", flush=True)
        finally:
            server.terminate()
            server.wait()


def _server(folder: Path, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    log = (folder / "server.log").open("w")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PORT)]
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    while server.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{PORT}/api/health", timeout=5).status_code == 200:
                return server
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit((folder / "server.log").read_text())


if __name__ == "__main__":
    main()
