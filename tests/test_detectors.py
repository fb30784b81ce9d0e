"""Every detector passes the same tests; then what is particular to each."""

import dataclasses
import threading
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import Mask2FormerImageProcessorPil

from tasks import detectors
from tasks.accelerator import device_errors
from tasks.coco_panoptic import LABELS
from tasks.detectors import DetectConfig, Detector, mask2former
from tasks.detectors.detectron2 import Detectron2, Names
from tasks.detectors.mask2former import Mask2Former, things_of
from tasks.errors import CheckpointError, ConfigError, TransientError
from tasks.object_naming import is_coco, name_objects
from tasks.panoptic import Content
from toyworld.tiny_detector import build_tiny_detector

Picture = NDArray[np.uint8]
SIZES = [(64, 96), (96, 64), (50, 120), (1, 1), (3, 200), (64, 96)]
"""Landscape, portrait, odd, and as small and as thin as pictures get."""


def picture(height: int, width: int, seed: int = 0) -> Picture:
    """Coloured rectangles."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = rng.integers(0, 255, 3)
    for _ in range(5):
        x, y = rng.integers(0, width), rng.integers(0, height)
        pixels[y : y + 1 + height // 2, x : x + 1 + width // 2] = rng.integers(0, 255, 3)
    return pixels


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_detector(tmp_path_factory.mktemp("tiny"), seed=1)


def _mask2former(tiny: Path) -> DetectConfig:
    return DetectConfig(backend="mask2former", checkpoint=str(tiny), device="cpu")


CONFIGS: dict[str, Callable[[Path], DetectConfig]] = {"mask2former": _mask2former}
"""How to make a small one of a backend; without an entry: no checkpoint."""


NEEDS = {
    "detectron2": pytest.mark.skipif(
        find_spec("detectron2") is None, reason="detectron2 is on no package index; see docs/detectron2.md"
    )
}
"""The one backend whose library the test environment may lack. Where it is installed, whatever fails is a failure."""


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=NEEDS.get(name, ())) for name in detectors.available()]
)
def detector(request: pytest.FixtureRequest, tiny: Path) -> Detector:
    """Each backend there is."""
    name = request.param
    config = CONFIGS[name](tiny) if name in CONFIGS else DetectConfig(backend=name, checkpoint="", device="cpu")
    return detectors.load(config)


def test_there_are_the_backends_of_the_folder() -> None:
    assert detectors.available() == ["detectron2", "mask2former", "scripted"]


class TestEveryDetector:
    def test_gives_segments_of_the_pictures_size_that_do_not_overlap(self, detector: Detector) -> None:
        images = [picture(*size, seed) for seed, size in enumerate(SIZES)]
        found = detector(images)
        assert len(found) == len(images)
        assert sum(map(len, found)) >= 3, "the test is of something"
        for image, segments in zip(images, found, strict=True):
            assert [one.segment_id for one in segments] == list(range(1, len(segments) + 1))
            painted = np.zeros(image.shape[:2], int)
            for one in segments:
                assert (one.mask.height, one.mask.width) == image.shape[:2]
                assert one.mask.area_px > 0
                assert 0 <= one.score <= 1
                painted += one.mask.pixels()
            assert painted.max(initial=0) <= 1

    def test_labels_are_an_index_of_categories(self, detector: Detector) -> None:
        assert len(set(detector.labels)) == len(detector.labels) > 0
        for segments in detector([picture(*size, seed) for seed, size in enumerate(SIZES)]):
            for one in segments:
                assert detector.labels[one.category_id] == one.label

    def test_answers_the_same_again(self, detector: Detector) -> None:
        images = [picture(*size, seed) for seed, size in enumerate(SIZES)]
        assert detector(images) == detector(images)

    def test_answers_do_not_hang_on_the_neighbours(self, detector: Detector) -> None:
        images = [picture(*size, seed) for seed, size in enumerate(SIZES)]
        together = detector(images)
        for image, segments in zip(images, together, strict=True):
            (alone,) = detector([image])
            # A matrix product over a batch rounds unlike one over a single picture.
            assert [one.label for one in alone] == [one.label for one in segments]
            for a, b in zip(alone, segments, strict=True):
                assert a.score == pytest.approx(b.score, abs=1e-4)
                assert abs(a.mask.area_px - b.mask.area_px) <= 1 + image.size // 3000

    def test_no_pictures_no_answers(self, detector: Detector) -> None:
        assert detector([]) == []

    def test_does_not_write_into_the_picture(self, detector: Detector) -> None:
        image = picture(40, 60)
        image.flags.writeable = False
        detector([image])

    def test_segments_become_objects(self, detector: Detector) -> None:
        (segments,) = detector([picture(64, 96)])
        objects = name_objects(segments, coco=is_coco(detector.labels))
        assert len({one.object_id for one in objects}) == len(objects)


# One instance per process


def test_two_threads_get_one_detector(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    gate = threading.Barrier(4)

    class Loaded:
        digest = "scripted-1"

    def slow_load(config: DetectConfig) -> object:
        loads.append(config)
        threading.Event().wait(0.05)
        return Loaded()

    monkeypatch.setattr("tasks.detectors.scripted.load", slow_load)
    monkeypatch.setattr(detectors, "_loaded", {})
    config = DetectConfig(backend="scripted", checkpoint="")
    got: list[object] = []

    def ask(number: int) -> None:
        gate.wait()
        got.append(detectors.load(dataclasses.replace(config, batch_size=number + 1, max_detections=number + 1)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1, "batch size and number of detections do not make another detector"
    assert len({id(one) for one in got}) == 1
    detectors.load(dataclasses.replace(config, threshold=0.1))
    assert len(loads) == 2


# Mask2Former


def test_digest_follows_the_weights(tmp_path: Path, tiny: Path) -> None:
    config = DetectConfig(checkpoint=str(tiny), device="cpu")
    same = build_tiny_detector(tmp_path / "same", seed=1)
    other = build_tiny_detector(tmp_path / "other", seed=2)
    assert detectors.digest(config) == detectors.load(config).digest
    assert detectors.digest(dataclasses.replace(config, checkpoint=str(same))) == detectors.digest(config)
    assert detectors.digest(dataclasses.replace(config, checkpoint=str(other))) != detectors.digest(config)


def test_tiny_checkpoint_does_not_disturb_random_numbers(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_tiny_detector(tmp_path, seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, tiny: Path) -> None:
    for name, text in {"config.json": "{}", "preprocessor_config.json": "{}"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="Mask2Former"):
        detectors.load(DetectConfig(checkpoint=str(tmp_path), device="cpu"))


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path, tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((tiny / name).read_text())
    weights = load_file(tiny / "model.safetensors")
    del weights["class_predictor.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"class_predictor\.weight"):
        detectors.load(DetectConfig(checkpoint=str(tmp_path), device="cpu"))


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="device"):
        detectors.load(DetectConfig(checkpoint=str(tiny), device="cuda:99"))


def test_pickled_weights_are_refused(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "config.json").write_text((tiny / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match="pickled"):
        detectors.load(DetectConfig(checkpoint=str(tmp_path)))


def test_bfloat16_runs(tiny: Path) -> None:
    detector = detectors.load(DetectConfig(checkpoint=str(tiny), device="cpu", dtype="bfloat16"))
    assert any(detector([picture(64, 96, seed) for seed in range(6)]))


def test_things_are_cocos_by_name_unless_the_checkpoint_says_otherwise() -> None:
    class Silent:
        pass

    class Telling:
        thing_ids = (1,)

    assert things_of(Silent(), LABELS) == [True] * 80 + [False] * 53
    assert things_of(Silent(), ["tree", "robot", "sky", "Wall"]) == [False, True, False, False]
    assert things_of(Telling(), ["tree", "robot", "sky"]) == [False, True, False]


class Eye:
    """Stands in for the model: sees what is bright in its input as a thing, what is dark as stuff."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pixel_values: torch.Tensor) -> Any:
        self.shapes.append(tuple(pixel_values.shape))
        light = torch.nn.functional.avg_pool2d(pixel_values.mean(1, keepdim=True), 4)
        sees = torch.cat([light, -light], 1) * 20

        class Said:
            class_queries_logits = torch.tensor([[20.0, 0, 0], [0, 20.0, 0]]).expand(len(pixel_values), -1, -1)
            masks_queries_logits = sees

        return Said


BOX = (0.25, 0.25, 0.5, 0.5)


def bright_box(height: int, width: int) -> Picture:
    pixels = np.zeros((height, width, 3), np.uint8)
    x, y, w, h = BOX
    pixels[round(y * height) : round((y + h) * height), round(x * width) : round((x + w) * width)] = 255
    return pixels


@pytest.mark.parametrize(
    "size",
    [
        {"size": {"height": 96, "width": 96}},
        {"size": {"shortest_edge": 96, "longest_edge": 192}},
        {"size": {"shortest_edge": 96, "longest_edge": 192}, "pad_size": {"height": 192, "width": 192}},
    ],
    ids=["fixed", "shape kept", "shape kept and padded"],
)
def test_boxes_of_mixed_landscape_and_portrait_batches_are_exact(size: dict[str, Any]) -> None:
    processor = Mask2FormerImageProcessorPil(**size, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    eye = Eye()
    found = Mask2Former(eye, processor, ["box", "rest"], [True, False], "eye", DetectConfig())(
        [bright_box(*size) for size in [(120, 200), (200, 120), (96, 96), (120, 200), (96, 192)]]
    )
    for segments in found:
        (thing,) = [one for one in segments if one.is_thing]
        left, top, right, bottom = thing.mask.corners_px
        height, width = thing.mask.height, thing.mask.width
        x, y, w, h = BOX
        assert np.abs([left / width - x, right / width - x - w]).max() <= 0.02
        assert np.abs([top / height - y, bottom / height - y - h]).max() <= 0.02
    if "pad_size" in size:
        assert eye.shapes == [(5, 3, 192, 192)]


def test_where_the_picture_lies_is_read_from_the_processors_mask() -> None:
    processor = Mask2FormerImageProcessorPil(
        size={"shortest_edge": 96, "longest_edge": 192}, pad_size={"height": 192, "width": 224}
    )
    _, content = mask2former._prepare(processor, picture(50, 100))
    assert content == Content(96, 192, 192, 224)
    _, content = mask2former._prepare(Mask2FormerImageProcessorPil(size={"height": 96, "width": 96}), picture(50, 100))
    assert content is None


DEVICE_ERRORS = [
    (torch.OutOfMemoryError("CUDA out of memory"), MemoryError),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), MemoryError),
    (torch.AcceleratorError("CUDA error: device-side assert"), TransientError),
    (RuntimeError("sizes do not match"), RuntimeError),
]


@pytest.mark.parametrize(("raised", "expected"), DEVICE_ERRORS)
@pytest.mark.parametrize("backend", ["mask2former", "detectron2"])
def test_the_devices_errors_are_translated(
    tiny: Path, backend: str, raised: Exception, expected: type[Exception]
) -> None:
    class Broken:
        dtype, device = torch.float32, torch.device("cpu")

        def __call__(self, *_args: Any, **_given: Any) -> Any:
            raise raised

    class Unchanged:
        def get_transform(self, _image: Picture) -> "Unchanged":
            return self

        def apply_image(self, image: Picture) -> Picture:
            return image

    processor = Mask2FormerImageProcessorPil(size={"height": 96, "width": 96})
    detector: Detector = (
        Mask2Former(Broken(), processor, ["box"], [True], "broken", DetectConfig())
        if backend == "mask2former"
        else Detectron2(Broken(), Unchanged(), True, Names(["box"], ["things"]), "broken")
    )
    with pytest.raises(expected) as caught:
        detector([picture(64, 96)])
    assert type(caught.value) is expected


def test_what_did_not_fit_is_let_go_before_the_next_try() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def work() -> None:
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryError) as caught, device_errors():
        work()
    assert caught.value.__cause__ is not None
    assert held[0]() is None


@pytest.mark.parametrize("place", ["from_pretrained", "to"])
def test_memory_that_does_not_suffice_for_loading_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = build_tiny_detector(tmp_path / "full", seed=11)

    def full(*_args: Any, **_given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(mask2former.Mask2FormerForUniversalSegmentation, place, full)
    with pytest.raises(TransientError, match="loading"):
        detectors.load(DetectConfig(checkpoint=str(folder), device="cpu"))


def test_pictures_are_prepared_by_pillow_also_where_torchvision_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def remember(_folder: Path, **given: Any) -> Any:
        asked.update(given)
        return Mask2FormerImageProcessorPil()

    monkeypatch.setattr(mask2former.AutoImageProcessor, "from_pretrained", remember)
    monkeypatch.setattr(mask2former, "is_torchvision_available", lambda: True, raising=False)
    detectors.load(DetectConfig(checkpoint=str(build_tiny_detector(tmp_path / "pil", seed=12)), device="cpu"))
    assert asked["backend"] == "pil"


def test_a_checkpoint_that_is_written_anew_is_loaded_anew(tmp_path: Path) -> None:
    config = DetectConfig(checkpoint=str(build_tiny_detector(tmp_path / "again", seed=13)), device="cpu")
    first, digest = detectors.load(config), detectors.digest(config)
    assert detectors.load(config) is first
    build_tiny_detector(tmp_path / "again", seed=14)
    assert detectors.digest(config) != digest
    assert detectors.load(config).digest == detectors.digest(config)
