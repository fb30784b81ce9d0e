"""The stage: frames in, detections and failures out."""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow
from safetensors.torch import load_file, save_file

from storage.store import Store, TableRef
from storage.tables import Detection, Failure, Frame, Image
from tasks import detectors
from tasks.detections import DetectConfig, detect_objects
from tasks.errors import CheckpointError, ConfigError, TransientError, UnknownNameError
from tasks.masks import Mask
from tasks.object_naming import Segment
from toyworld.tiny_detector import build_tiny_detector

SCRIPTED = DetectConfig(backend="scripted", checkpoint="")
MOVIE = "m0123456789abcde"


def picture(seed: int, width: int = 96, height: int = 64) -> bytes:
    """A JPEG of a few coloured rectangles."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3), np.uint8) + rng.integers(0, 255, 3).astype(np.uint8)
    for _ in range(4):
        x, y = rng.integers(0, width), rng.integers(0, height)
        pixels[y : y + height // 2, x : x + width // 2] = rng.integers(0, 255, 3)
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def write_frames(store: Store, pictures: Sequence[bytes], shard: str = f"{MOVIE}/0000") -> TableRef:
    output = store.output([Frame], stage="extract", shard=shard, version=1, config={"n": len(pictures)})
    with output.writer() as write:
        for index, data in enumerate(pictures):
            write(
                Frame(
                    frame_id=f"{MOVIE}_{index:06d}", movie_id=MOVIE, shot_index=0, frame_index=index,
                    pts_seconds=index / 25, width=96, height=64, image=Image(bytes=data, path=f"{index}.jpg"),
                )
            )  # fmt: skip
    return output.ref


def failures(store: Store, ref: TableRef) -> list[Failure]:
    path = f"failures/stage=detect/movie_id={MOVIE}/{ref.shard.rpartition('/')[2]}.parquet"
    return list(store.read(TableRef("failures", ref.shard, path, 0, ""), Failure))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_detections_are_in_prompt_order_with_ids_from_zero(store: Store) -> None:
    frames = write_frames(store, [picture(seed) for seed in range(11)])
    ref = detect_objects(frames, store, replace(SCRIPTED, batch_size=4))
    rows = list(store.read(ref, Detection))
    assert ref.table == "detections"
    assert ref.rows == len(rows)
    by_frame: dict[str, list[Detection]] = {}
    for row in rows:
        by_frame.setdefault(row.frame_id, []).append(row)
    assert list(by_frame) == sorted(by_frame), "frames keep their order"
    assert len(by_frame) >= 8
    for found in by_frame.values():
        assert [row.object_index for row in found] == list(range(len(found)))
        for label in {row.label for row in found}:
            ids = [row.object_id for row in found if row.label == label]
            assert ids == [f"{label}-{n}" for n in range(len(ids))]
    assert failures(store, ref) == []


def test_masks_areas_and_sizes_belong_to_the_picture(store: Store) -> None:
    frames = write_frames(store, [picture(3), picture(4, 50, 90)])
    for row in store.read(detect_objects(frames, store, SCRIPTED), Detection):
        size = (96, 64) if row.frame_id.endswith("0") else (50, 90)
        assert (row.mask_width, row.mask_height) == size
        assert row.mask is not None
        mask = Mask(row.mask_height, row.mask_width, row.mask)
        assert row.area == mask.area_px / (size[0] * size[1])
        assert row.area > 0
        if row.is_thing:
            left, top, right, bottom = mask.corners_px
            assert np.allclose([row.box.x * size[0], row.box.y * size[1]], [left, top])
            assert np.allclose([row.box.w * size[0], row.box.h * size[1]], [right - left, bottom - top])


def test_without_masks_the_column_is_null_and_the_rest_is_the_same(store: Store, tmp_path: Path) -> None:
    frames = write_frames(store, [picture(1), picture(2)])
    whole = list(store.read(detect_objects(frames, store, SCRIPTED), Detection))
    bare = list(store.read(detect_objects(frames, store, replace(SCRIPTED, masks=False)), Detection))
    assert bare == [replace(row, mask=None) for row in whole]


def test_notes_hold_every_label_the_detector_can_say(store: Store) -> None:
    ref = detect_objects(write_frames(store, [picture(1)]), store, SCRIPTED)
    footer = store.footer(ref.path)
    assert footer is not None
    labels = footer.notes["labels"]
    assert len(labels) == len(set(labels)) == 133
    assert {"person", "dining-table", "sky", "floor-wood"} <= set(labels)
    assert footer.weights == {"detector": detectors.digest(SCRIPTED)}


def test_finished_work_is_not_done_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = write_frames(store, [picture(1)])
    first = detect_objects(frames, store, SCRIPTED)
    with monkeypatch.context() as patch:
        patch.setattr(detectors, "load", lambda config: pytest.fail("the model was loaded for finished work"))
        assert detect_objects(frames, store, replace(SCRIPTED, batch_size=3, device="cpu")) == first
    again = detect_objects(frames, store, replace(SCRIPTED, threshold=0.9))
    assert again.path == first.path
    assert again.fingerprint != first.fingerprint


def test_another_script_is_other_work_and_another_path_to_it_is_not(store: Store, tmp_path: Path) -> None:
    frames = write_frames(store, [picture(1)])
    script = {"segments": [{"label": "person", "box": [0.25, 0.5, 0.5, 0.5], "score": 0.8}]}
    one, other, copy = (tmp_path / name for name in ("one.json", "other.json", "copy.json"))
    one.write_text(json.dumps(script))
    copy.write_text(json.dumps(script))
    script["segments"][0]["label"] = "dog"
    other.write_text(json.dumps(script))
    first = detect_objects(frames, store, replace(SCRIPTED, checkpoint=str(one)))
    (row,) = store.read(first, Detection)
    assert (row.object_id, row.score, row.box.x, row.box.y) == ("person-0", 0.8, 0.25, 0.5)
    assert detect_objects(frames, store, replace(SCRIPTED, checkpoint=str(copy))) == first
    assert detect_objects(frames, store, replace(SCRIPTED, checkpoint=str(other))) != first


def test_a_frame_that_is_no_picture_is_a_failure_and_the_others_are_finished(store: Store) -> None:
    whole = picture(1)
    broken = [b"", b"not a picture", whole[: len(whole) // 2]]
    frames = write_frames(store, [picture(0), *broken, picture(2)])
    ref = detect_objects(frames, store, replace(SCRIPTED, batch_size=2))
    assert {row.frame_id[-1] for row in store.read(ref, Detection)} == {"0", "4"}
    failed = failures(store, ref)
    assert [row.frame_id[-1] for row in failed] == ["1", "2", "3"]
    assert all("cannot be decoded" in row.error and "0x" not in row.error for row in failed)
    assert {row.stage for row in failed} == {"detect"}


class Fussy:
    """Fails on any batch with a picture of the wrong width, as a model's code would."""

    labels: tuple[str, ...] = ("person",)
    digest = "fussy"

    def __init__(self, wrong: int) -> None:
        self.wrong, self.batches = wrong, list[int]()

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Segment]]:
        self.batches.append(len(images))
        if any(image.shape[1] == self.wrong for image in images):
            raise RuntimeError("shape mismatch")
        return [[] for _ in images]


def use(monkeypatch: pytest.MonkeyPatch, detector: Any) -> None:
    monkeypatch.setattr(detectors, "load", lambda config: detector)
    monkeypatch.setattr(detectors, "digest", lambda config: detector.digest)


def test_a_frame_the_detector_fails_on_fails_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    fussy = Fussy(50)
    use(monkeypatch, fussy)
    frames = write_frames(store, [picture(0), picture(1), picture(2, width=50), picture(3), picture(4)])
    ref = detect_objects(frames, store, replace(SCRIPTED, batch_size=3))
    (failed,) = failures(store, ref)
    assert failed.frame_id.endswith("2")
    assert "RuntimeError: shape mismatch" in failed.error
    assert fussy.batches == [3, 1, 1, 1, 2], "only the batch that failed is asked about one by one"


def test_a_detector_that_fails_on_every_frame_is_an_error_not_failures(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Fussy(96))
    frames = write_frames(store, [picture(0), picture(1)])
    with pytest.raises(RuntimeError, match="shape mismatch"):
        detect_objects(frames, store, SCRIPTED)
    assert store.ref("detections", frames.shard) is None


class Crowded:
    """Has room for so many pictures at once, and none for those of a given width."""

    labels: tuple[str, ...] = ("person",)
    digest = "crowded"

    def __init__(self, room: int, too_wide: int = 0) -> None:
        self.room, self.too_wide, self.batches = room, too_wide, list[int]()

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Segment]]:
        self.batches.append(len(images))
        if len(images) > self.room or any(image.shape[1] == self.too_wide for image in images):
            raise MemoryError("no room")
        return [[] for _ in images]


def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowded = Crowded(room=2)
    use(monkeypatch, crowded)
    ref = detect_objects(
        write_frames(store, [picture(seed) for seed in range(10)]), store, replace(SCRIPTED, batch_size=5)
    )
    assert crowded.batches == [5, 2, 2, 1, 2, 2, 1]
    assert failures(store, ref) == []


def test_a_picture_that_does_not_fit_alone_is_a_failure(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Crowded(room=8, too_wide=50))
    frames = write_frames(store, [picture(0), picture(1, width=50), picture(2)])
    (failed,) = failures(store, detect_objects(frames, store, SCRIPTED))
    assert failed.frame_id.endswith("1")
    assert "memory does not suffice for this frame alone" in failed.error


def test_memory_that_suffices_for_no_frame_is_transient(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Crowded(room=0))
    frames = write_frames(store, [picture(0), picture(1), picture(2)])
    with pytest.raises(TransientError, match="memory"):
        detect_objects(frames, store, SCRIPTED)
    assert store.ref("detections", frames.shard) is None


@pytest.mark.parametrize("raised", [TransientError("the device failed"), ConfigError("a value that cannot be")])
def test_what_is_about_no_frame_is_no_failure_of_a_frame(
    store: Store, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    class Dying(Fussy):
        def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Segment]]:
            if self.batches:
                raise raised
            return super().__call__(images)

    use(monkeypatch, Dying(0))
    frames = write_frames(store, [picture(seed) for seed in range(6)])
    with pytest.raises(type(raised)):
        detect_objects(frames, store, replace(SCRIPTED, batch_size=2))
    assert store.ref("detections", frames.shard) is None


@pytest.mark.parametrize("part", ["class_predictor.weight", "mask_embedder"])
def test_a_model_whose_output_is_not_a_number_found_not_nothing(store: Store, tmp_path: Path, part: str) -> None:
    folder = build_tiny_detector(tmp_path / "tiny")
    weights = load_file(folder / "model.safetensors")
    for name in [name for name in weights if part in name and name.endswith("weight")]:
        weights[name] *= float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = DetectConfig(checkpoint=str(folder), device="cpu")
    (failed,) = failures(store, detect_objects(write_frames(store, [picture(0)]), store, config))
    assert "not a number" in failed.error
    assert "float32" in failed.error
    with pytest.raises(ValueError, match="not a number"):
        detect_objects(write_frames(store, [picture(0), picture(1)]), store, config)


def test_scores_are_written_without_the_digits_that_hang_on_the_batch(store: Store, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"segments": [{"label": "person", "box": [0, 0, 1, 1], "score": 0.87654321}]}))
    ref = detect_objects(write_frames(store, [picture(0)]), store, replace(SCRIPTED, checkpoint=str(script)))
    (row,) = store.read(ref, Detection)
    assert row.score == 0.8765


def test_a_shard_without_frames_is_an_empty_file(store: Store) -> None:
    ref = detect_objects(write_frames(store, []), store, SCRIPTED)
    assert ref.rows == 0
    assert list(store.read(ref, Detection)) == []


def test_batch_size_does_not_change_what_mask2former_finds(store: Store, tmp_path: Path) -> None:
    folder = build_tiny_detector(tmp_path / "tiny", seed=3)
    config = DetectConfig(checkpoint=str(folder), device="cpu")
    frames = write_frames(store, [picture(seed, 96 + 16 * (seed % 3), 64) for seed in range(5)])
    found = []
    for number, size in enumerate((1, 3, 5)):
        other = Store(str(tmp_path / f"store{number}"))
        ref = write_frames(other, [frame.image.bytes for frame in store.read(frames, Frame)])
        found.append(list(other.read(detect_objects(ref, other, replace(config, batch_size=size)), Detection)))
    assert len(found[0]) >= 10
    for rows in found[1:]:
        assert [(row.frame_id, row.object_id) for row in rows] == [(row.frame_id, row.object_id) for row in found[0]]
        # A matrix product over a batch rounds unlike one over a single picture: the last digit may differ.
        for row, first in zip(rows, found[0], strict=True):
            assert row.score == pytest.approx(first.score, abs=2e-4)
            assert row.area == pytest.approx(first.area, abs=1e-3)


@pytest.mark.parametrize(
    "values",
    [
        {"threshold": 1.5},
        {"threshold": -0.1},
        {"mask_threshold": 2},
        {"overlap_mask_area_threshold": -1},
        {"max_detections": 0},
        {"stuff_boxes": 0},
        {"batch_size": 0},
        {"dtype": "int8"},
    ],
)
def test_configurations_that_cannot_be_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        DetectConfig(**values)


def test_an_unknown_backend_answers_with_the_list(store: Store) -> None:
    frames = write_frames(store, [picture(1)])
    with pytest.raises(UnknownNameError, match="mask2former"):
        detect_objects(frames, store, DetectConfig(backend="mask2fromer"))


def test_a_checkpoint_that_is_not_there_is_an_error_with_a_remedy(store: Store, tmp_path: Path) -> None:
    frames = write_frames(store, [picture(1)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="safetensors"):
        detect_objects(frames, store, DetectConfig(checkpoint=str(tmp_path / "empty")))
    with pytest.raises(CheckpointError, match="JSON"):
        detect_objects(frames, store, replace(SCRIPTED, checkpoint=str(tmp_path / "nothing.json")))
