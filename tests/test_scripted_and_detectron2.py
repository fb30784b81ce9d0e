"""The detectors that need no weights to test: scripted, and detectron2's conversion without detectron2."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks import detectors
from tasks.coco_panoptic import LABELS, STUFF, THINGS
from tasks.detectors import DetectConfig
from tasks.detectors.detectron2 import STUFF_SCORE, Names, to_segments
from tasks.errors import CheckpointError, MissingExtraError
from tasks.object_naming import clean_label, is_coco

# The script


def script(tmp_path: Path, **said: Any) -> DetectConfig:
    path = tmp_path / "script.json"
    path.write_text(json.dumps(said))
    return DetectConfig(backend="scripted", checkpoint=str(path))


def test_script_is_played_on_every_picture(tmp_path: Path) -> None:
    config = script(
        tmp_path,
        labels=["robot", "floor"],
        things=["robot"],
        segments=[
            {"label": "robot", "score": 0.9, "box": [0, 0, 0.5, 0.5]},
            {"label": "floor", "box": [0, 0.25, 1, 0.75]},
            {"label": "robot", "score": 0.6, "box": [0.9, 0.9, 0.1, 0.1]},
        ],
    )
    for segments in detectors.load(config)(
        [np.zeros((height, width, 3), np.uint8) for height, width in ((40, 80), (20, 20))]
    ):
        robot, floor = segments
        assert (robot.label, robot.is_thing, robot.category_id, robot.score) == ("robot", True, 0, 0.9)
        assert (floor.label, floor.is_thing, floor.category_id) == ("floor", False, 1)
        assert not (robot.mask.pixels() & floor.mask.pixels()).any(), "the first has the pixels"


@pytest.mark.parametrize(
    "said",
    [
        {"segments": [{"label": "unicorn", "box": [0, 0, 1, 1]}]},
        {"segments": [{"label": "person", "box": [0, 0, 1]}]},
        {"segments": [{"label": "person"}]},
        {"segmnets": []},
    ],
)
def test_scripts_that_cannot_be_played_are_refused(tmp_path: Path, said: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="script"):
        detectors.load(script(tmp_path, **said))


def test_scripted_detector_does_without_torch() -> None:
    code = (
        "import sys\nfrom tasks import detectors\n"
        "detectors.load(detectors.DetectConfig(backend='scripted', checkpoint=''))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


# detectron2, without detectron2

DETECTRON2 = Names(list(THINGS), ["things", *(name.replace("-other", "").replace("-merged", "") for name in STUFF)])
"""detectron2's own lists for COCO panoptic: stuff from 1 on, names shortened."""


def test_detectron2s_panoptic_output_becomes_segments() -> None:
    regions = np.zeros((4, 6), np.int32)
    regions[:2, :3], regions[2:, :], regions[0, 5] = 1, 3, 7
    infos = [
        {"id": 3, "isthing": False, "category_id": 1 + STUFF.index("sky-other-merged"), "area": 12},
        {"id": 1, "isthing": True, "score": 0.91, "category_id": 0, "instance_id": 4},
        {"id": 5, "isthing": True, "score": 0.8, "category_id": 2, "instance_id": 5},
        {"id": 7, "isthing": True, "score": 0.7, "category_id": 60, "instance_id": 6},
    ]
    person, sky, table = to_segments(regions, infos, DETECTRON2)
    assert (person.segment_id, person.label, person.category_id, person.score) == (1, "person", 0, 0.91)
    assert (sky.segment_id, sky.label, sky.category_id) == (2, "sky-other-merged", LABELS.index("sky-other-merged"))
    assert (sky.is_thing, sky.score) == (False, STUFF_SCORE)
    assert (table.segment_id, table.label) == (3, "dining table"), "a segment without pixels is none"
    assert np.array_equal(person.mask.pixels(), regions == 1)
    assert np.array_equal(sky.mask.pixels(), regions == 3)


def test_detectron2s_coco_labels_are_the_other_backends() -> None:
    assert DETECTRON2.labels == list(LABELS)
    assert is_coco(DETECTRON2.labels)
    for number in range(80):
        assert DETECTRON2.find({"isthing": True, "category_id": number}) == LABELS[number]
    for number in range(53):
        name = DETECTRON2.find({"isthing": False, "category_id": number + 1})
        assert clean_label(name) == clean_label(LABELS[80 + number])


def test_detectron2_with_other_labels_keeps_its_own() -> None:
    other = Names(["robot"], ["things", "floor"])
    assert other.labels == ["robot", "floor"]
    regions = np.ones((2, 2), np.int32)
    (floor,) = to_segments(regions, [{"id": 1, "isthing": False, "category_id": 1}], other)
    assert (floor.label, floor.category_id) == ("floor", 1)


def test_without_detectron2_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        detectors.load(DetectConfig(backend="detectron2", checkpoint="anything"))


def test_detectron2s_folder_needs_its_config(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    config = DetectConfig(backend="detectron2", checkpoint=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"config\.yaml"):
        detectors.digest(config)
    (tmp_path / "config.yaml").write_text("a: 1")
    first = detectors.digest(config)
    (tmp_path / "config.yaml").write_text("a: 2")
    assert detectors.digest(config) != first
