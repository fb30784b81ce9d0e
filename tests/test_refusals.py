"""What cannot be is refused before anything runs: a path where nothing is, settings that a captioner cannot do."""

import shutil
from pathlib import Path

import pytest
from test_flow import CLIPS, run

from flows.caption_movies import caption_movies
from flows.read_configuration import PipelineConfig
from tasks.captioners import CaptionConfig
from tasks.errors import ConfigError, MissingPathError

CLIP = "sintel140_h264.mp4"
SCRIPTED = """
[detect]
backend = "scripted"
checkpoint = ""

[caption]
"""


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    (tmp_path / "movies").mkdir()
    return Path(shutil.copy(CLIPS / CLIP, tmp_path / "movies"))


def profile(folder: Path, caption: str) -> Path:
    path = folder / "profile.toml"
    path.write_text(SCRIPTED + caption)
    return path


@pytest.mark.parametrize("command_line", [True, False], ids=["command line", "deployment"])
@pytest.mark.usefixtures("on_server")
def test_of_several_paths_one_that_is_missing_stops_all(
    command_line: bool, tmp_path: Path, movie: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistyped path would else be an unreadable movie, and the run of the others look as if it had been all."""
    monkeypatch.setattr("flows.run_state.identify_movies", lambda *_: pytest.fail("a movie was opened"))
    store, wrong = tmp_path / "store", [tmp_path / "moveis" / CLIP, tmp_path / "gone.mp4"]
    if command_line:
        assert run(store, [movie, *wrong], profile(tmp_path, 'backend = "scripted"\ncheckpoint = ""')) == 2
        said = capsys.readouterr().err
    else:
        with pytest.raises(MissingPathError) as raised:
            caption_movies([str(movie), *map(str, wrong)], str(store), PipelineConfig())
        said = str(raised.value)
    assert f"there is nothing at {str(wrong[0])!r}, {str(wrong[1])!r}. Did you mean {str(movie)!r}?" in said
    assert str(movie) not in said.replace(f"Did you mean {str(movie)!r}", "")
    assert not store.exists()


IMPOSSIBLE = {
    'backend = "scripted"\ncheckpoint = ""\nnum_beams = 5': "cannot search with beams. Set num_beams = 1.",
    'backend = "scripted"\ncheckpoint = ""\ntemplate = "plain"': "which the captioner 'scripted' has to be told",
    'backend = "scripted"\ncheckpoint = ""\ndecoding = "constrained"': 'cannot be constrained. Set decoding = "free".',
    'backend = "blip"\ntemplate = "groundcap-card"': "'blip' does not read. Take plain or a-photo-of.",
    'backend = "blip"\ntemplate = "plain"': "'blip' needs a checkpoint",
}


@pytest.mark.parametrize("caption", IMPOSSIBLE)
@pytest.mark.usefixtures("on_server")
def test_what_a_captioner_cannot_do_is_said_before_the_first_movie_is_opened(
    caption: str, tmp_path: Path, movie: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.run_state.identify_movies", lambda *_: pytest.fail("a movie was opened"))
    assert run(tmp_path / "store", movie, profile(tmp_path, caption)) == 1
    assert IMPOSSIBLE[caption] in capsys.readouterr().err
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("on_server")
def test_a_deployment_refuses_it_too(tmp_path: Path, movie: Path) -> None:
    config = PipelineConfig(caption=CaptionConfig(backend="scripted", checkpoint="", num_beams=3))
    with pytest.raises(ConfigError, match="cannot search with beams"):
        caption_movies([str(movie)], str(tmp_path / "store"), config)
