"""Profiles: ready ones, files, and what is said of wrong ones."""

from pathlib import Path

import pytest

from flows.read_configuration import PipelineConfig, profiles, read_configuration
from tasks.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize("name", ["demo", "groundcap"])
def test_ready_profiles_load(name: str) -> None:
    assert name in profiles()
    config = read_configuration(name)
    assert config.frames.keyframes_per_shot == 3
    assert read_configuration(config) is config


def test_groundcap_is_the_published_system() -> None:
    config = read_configuration("groundcap")
    assert config.detect.checkpoint == "facebook/mask2former-swin-large-coco-panoptic"
    assert (config.caption.checkpoint, config.caption.adapter) == (
        "mistral-community/pixtral-12b",
        "daniel3303/PixtralGroundCap",
    )
    assert (config.detect.threshold, config.detect.mask_threshold, config.detect.max_detections) == (0.7, 0.5, 40)
    assert config.caption.template == "groundcap-card"


def test_a_path_that_begins_with_a_dot_is_beside_the_profile(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[detect]\ncheckpoint = "./detector"\n[caption]\nadapter = "../adapter"\n')
    config = read_configuration(str(path))
    assert config.detect.checkpoint == str(tmp_path / "detector")
    assert config.caption.adapter == str(tmp_path.parent / "adapter")
    assert config.caption.checkpoint == PipelineConfig().caption.checkpoint


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("[detekt]\n", UnknownNameError, "Did you mean 'detect'"),
        ("[detect]\ntreshold = 0.5\n", UnknownNameError, "Did you mean 'threshold'"),
        ("[detect]\nthreshold = 'high'\n", ConfigError, r"detect.*threshold"),
        ("[detect]\nthreshold = 1.5\n", ConfigError, "threshold"),
        ("[detect\n", ConfigError, "not TOML"),
        ("frames = 3\n", ConfigError, "frames is a section"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(error, match=says):
        read_configuration(str(path))


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'groundcap'.*demo, groundcap"):
        read_configuration("groundcp")
