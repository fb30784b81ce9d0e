"""Shots against hand labels and against sequences whose cuts are known, and what a detector may not depend on."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from larger_data_help import NEEDS_DATA

from benchmarks.larger_data import DATA
from benchmarks.shots import DETECTORS, Counts, Truth, labelled, made, ours, read, score
from tasks.errors import ConfigError
from tasks.shot_detection import LAG, WARM_UP, ShotDetector, ShotsConfig

VIDEOS = Path(__file__).parent / "data" / "videos"
LABELS = json.loads((Path(__file__).parent / "golden" / "shots.json").read_text())["clips"]
LEAST_F1 = 0.95


def committed() -> list[str]:
    return [clip for clip in LABELS if (VIDEOS / Path(clip).name).exists()]


@pytest.mark.parametrize("clip", committed())
def test_hand_labelled_clips_in_the_repository(clip: str) -> None:
    label = LABELS[clip]
    truth = Truth(tuple(label["cuts"]), tuple((first, last) for first, last in label["fades"]))
    assert score(ours(read(VIDEOS / Path(clip).name)), truth) == Counts(len(truth.cuts) + len(truth.fades), 0, 0)


@NEEDS_DATA
@pytest.mark.parametrize("half", ["development", "held_out"])
def test_pooled_f1_over_all_labelled_clips(half: str) -> None:
    clips = list(labelled(half, DATA))
    sums = {name: sum((score(f(p), t) for _, p, t in clips), Counts()) for name, f in DETECTORS.items()}
    assert sums["ours"].f1 >= LEAST_F1
    assert sums["ours"].f1 >= max(sums["Adaptive"].f1, sums["Content"].f1)


@pytest.fixture(scope="module")
def scenes() -> list[list[np.ndarray]]:
    """Three shots of the Sintel excerpt, as detection pictures."""
    pictures = read(VIDEOS / "sintel140_h264.mp4")
    return [pictures[:23], pictures[23:73], pictures[73:110]]


def blended(picture: np.ndarray, level: int, share: float) -> np.ndarray:
    return np.rint(picture * (1 - share) + level * share).astype(np.uint8)


def test_cuts_eight_frames_apart(scenes: list[list[np.ndarray]]) -> None:
    first, second, third = scenes
    sequence = first[:20] + second[:8] + third[:8] + first[:8] + second[10:18] + third[10:30]
    assert ours(sequence) == [20, 28, 36, 44, 52]


@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("level", [0, 255])
def test_a_flash_does_not_split_a_shot(scenes: list[list[np.ndarray]], length: int, level: int) -> None:
    sequence = list(scenes[1])
    for i in range(20, 20 + length):
        sequence[i] = blended(sequence[i], level, 0.9)
    assert ours(sequence) == []


@pytest.mark.parametrize("level", [0, 255, 120])
@pytest.mark.parametrize("dark", [1, 6, 30, 100])
def test_a_fade_splits_once(scenes: list[list[np.ndarray]], level: int, dark: int) -> None:
    before, after = scenes[1][:40], scenes[2]
    out = [blended(before[-1], level, (i + 1) / 12) for i in range(12)]
    into = [blended(one, level, 1 - (i + 1) / 12) for i, one in enumerate(after[:12])]
    sequence = before + out + [blended(after[0], level, 1.0)] * dark + into + after[12:]
    (cut,) = ours(sequence)
    assert 40 <= cut <= 40 + 12 + dark + 12


def test_fade_in_at_the_start_and_fade_out_at_the_end_split_nothing(scenes: list[list[np.ndarray]]) -> None:
    shot = scenes[1]
    into = [blended(one, 0, 1 - i / 12) for i, one in enumerate(shot[:12])]
    out = [blended(one, 0, (i + 1) / 12) for i, one in enumerate(shot[-12:])]
    black = [blended(shot[0], 0, 1.0)]
    assert ours(black * 10 + into + shot[12:-12] + out + black * 10) == []


def test_a_cut_to_black_and_a_cut_from_black_are_one(scenes: list[list[np.ndarray]]) -> None:
    black = [blended(scenes[0][0], 0, 1.0)]
    assert ours(scenes[1] + black * 15 + scenes[2]) == [50 + 15]


def test_a_pan_is_one_shot(scenes: list[list[np.ndarray]]) -> None:
    picture = scenes[1][0]
    height, width = picture.shape[:2]
    wide = cv2.resize(picture, (width * 4, height))
    sweep = [wide[:, x : x + width] for x in range(0, 3 * width, 14)]
    assert ours([sweep[0]] * 12 + sweep + [sweep[-1]] * 12) == []


@pytest.mark.parametrize("start", [60, 75, 100])
def test_a_detector_agrees_after_its_warm_up(start: int) -> None:
    pictures = read(VIDEOS / "test_clip_10s.mp4")
    whole = [cut for cut in ours(pictures) if cut >= start]
    detector = ShotDetector(ShotsConfig(), continues=True)
    first = start - WARM_UP
    found = [cut for picture in pictures[first:] for cut in detector.push(picture)] + detector.finish()
    assert [cut + first for cut in found if cut + first >= start] == whole


def test_decisions_come_within_the_lag() -> None:
    detector = ShotDetector(ShotsConfig())
    for number, picture in enumerate(read(VIDEOS / "sintel140_h264.mp4")):
        assert all(number - cut <= LAG for cut in detector.push(picture))


@pytest.mark.parametrize("picture", [np.zeros((32, 256, 3), np.uint8), np.full((1024, 256, 3), 255, np.uint8)])
def test_nothing_to_see_is_one_shot(picture: np.ndarray) -> None:
    assert ours([picture] * 30) == []
    assert ours([picture]) == []
    assert ours([]) == []


def test_scoring() -> None:
    truth = Truth((10, 20), ((30, 40),))
    assert score([10, 21, 35], truth) == Counts(3, 0, 0)
    assert score([12, 20, 31, 33], truth) == Counts(2, 2, 1)
    assert score([], truth) == Counts(0, 0, 3)
    assert score([5], Truth()) == Counts(0, 1, 0)
    assert Counts(3, 1, 1).f1 == pytest.approx(0.75)


@NEEDS_DATA
def test_made_sequences_are_the_same_every_time() -> None:
    first, second = (next(made("held_out", DATA)) for _ in range(2))
    assert first[2] == second[2]
    assert all(np.array_equal(a, b) for a, b in zip(first[1], second[1], strict=True))


@pytest.mark.parametrize(
    "values", [{"adaptive_ratio": 1}, {"flash_frames": LAG}, {"same_scene_hash": 2}, {"flat_contrast": 0}]
)
def test_configuration_is_checked(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        ShotsConfig(**values)
