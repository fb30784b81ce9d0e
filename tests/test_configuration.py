"""Profiles: ready ones, files, and what is said of wrong ones."""

import re
from pathlib import Path

import pytest

from flows.read_configuration import PipelineConfig, profiles, read_configuration
from flows.run_state import not_taken
from tasks.captioners import completed
from tasks.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize("name", ["demo", "groundcap", "blip", "blip2"])
def test_ready_profiles_load(name: str) -> None:
    assert name in profiles()
    config = read_configuration(name)
    assert config.frames.keyframes_per_shot == 3
    assert read_configuration(config) is config
    assert completed(config.caption).max_new_tokens > 0, "template and backend agree"


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
    (tmp_path / "adapter").mkdir()
    (tmp_path / "profiles" / "detector").mkdir(parents=True)
    path = tmp_path / "profiles" / "mine.toml"
    path.write_text('[detect]\ncheckpoint = "./detector"\n[caption]\nadapter = "../adapter"\n')
    config = read_configuration(str(path))
    assert config.detect.checkpoint == str(tmp_path / "profiles" / "detector")
    assert config.caption.adapter == str(tmp_path / "adapter")
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


@pytest.mark.parametrize(
    ("section", "key", "value", "place"),
    [
        ("detect", "checkpoint", "../../toyworld/checkpoints/detector", "../../toyworld/checkpoints/detector"),
        ("caption", "checkpoint", "/no/such/folder", "/no/such/folder"),
        ("caption", "adapter", "~/no-such-adapter", "~/no-such-adapter"),
        ("caption", "adapter", "models/pixtral/adapter", "models/pixtral/adapter"),
    ],
)
def test_a_path_where_nothing_is_is_said_with_profile_key_and_place(
    section: str, key: str, value: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b" / "c"
    (folder / "models").mkdir(parents=True)
    monkeypatch.chdir(folder)
    path = folder / "demo copy.toml"
    path.write_text(f'[{section}]\n{key} = "{value}"\n')
    resolved = str((folder / Path(place).expanduser()).resolve())
    with pytest.raises(ConfigError, match=re.escape(f"demo copy.toml: [{section}] {key} = '{value}'")) as error:
        read_configuration(str(path))
    assert f"nothing is at {resolved}. " in str(error.value)


@pytest.mark.parametrize("value", ["owner/name", "name", "models/here", ""])
def test_a_hub_id_or_a_path_that_is_there_is_taken(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.toml"
    path.write_text(f'[detect]\ncheckpoint = "{value}"\n')
    assert read_configuration(str(path)).detect.checkpoint == value


@pytest.mark.parametrize(("section", "says"), [("detect", "mask2former"), ("caption", "pixtral")])
def test_an_unknown_backend_is_said_at_once(section: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'[{section}]\nbackend = "{says}x"\n')
    with pytest.raises(UnknownNameError, match=f"Did you mean '{says}'"):
        read_configuration(str(path))


def test_an_unknown_profile_lists_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'groundcap'.*demo, groundcap"):
        read_configuration("groundcp")


def test_files_left_out_of_folders_are_said_with_the_remedy(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.m4a", "LICENSE"):
        (tmp_path / name).touch()
    assert not_taken([str(tmp_path / "a.mp4")]) == ""
    said = not_taken([str(tmp_path)])
    assert "1 without ending, 1 .m4a" in said
    assert "name the file itself" in said
    for number in range(20):
        (tmp_path / f"c.{number:02}").touch()
    assert "1 without ending, 1 .00, 1 .01, 1 .02, 1 .03, 1 .04, 1 .05, 1 .06, 14 others;" in not_taken([str(tmp_path)])


SERVER = (
    '[caption]\nbackend = "server"\ncheckpoint = "/on/the/server"\nadapter = "./there"\n[caption.server]\nurl = "{}"\n'
)


def test_names_at_a_server_are_taken_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SERVER.format("http://localhost:8000/v1"))
    caption = read_configuration(str(path)).caption
    assert (caption.checkpoint, caption.adapter) == ("/on/the/server", "./there")
    assert caption.server is not None
    assert caption.server.url == "http://localhost:8000/v1"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (SERVER.format("http://a:1/v1") + "retry = 3\n", UnknownNameError, "caption.server.*Did you mean 'retries'"),
        (SERVER.format("http://a:1/v1") + "retries = -1\n", ConfigError, "0 or more"),
        (SERVER.format("http://a:1/v1") + "timeout_seconds = inf\n", ConfigError, "timeout_seconds is inf"),
        (SERVER.format("http://a:1/v1") + "requests_in_flight = 0\n", ConfigError, "at least 1"),
        (SERVER.format("localhost:8000/v1"), ConfigError, "no address of a server"),
        (SERVER.format("http://a:b/v1"), ConfigError, "no address"),
        (SERVER.format("http://me:secret@a/v1"), ConfigError, "api_key_variable"),
        ('[caption]\nbackend = "server"\n', ConfigError, r"needs a section \[caption.server\]"),
        ('[caption]\n[caption.server]\nurl = "http://a/v1"\n', ConfigError, "other backends, none"),
        ("[caption]\nserver = 3\n", ConfigError, "caption.server is a section"),
    ],
)
def test_a_wrong_server_section_says_what_is_wrong(
    text: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(error, match=says) as raised:
        read_configuration(str(path))
    assert "secret" not in str(raised.value)
