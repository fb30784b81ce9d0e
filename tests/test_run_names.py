"""What runs and their steps are called in Prefect, from whatever parameters they are given."""

from pathlib import Path

import pytest
from pipeline_help import scripted_profile
from prefect_help import Api

from flows.name_runs import LONGEST_PART, _captioner, _joined, movie_set, step_name, store_name
from flows.read_configuration import read_configuration
from flows.score_captions import score_captions
from flows.show_progress import Progress
from flows.train_captioner import train_captioner
from storage.store import Store, TableRef
from tasks.errors import CaptionMoviesError
from tasks.movie_files import MovieFile


def test_a_folder_is_called_by_its_name_and_how_many_movies_are_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "night trailers"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.mp4", "b.mkv", "notes.txt", "deep/c.mov"):
        (folder / name).touch()
    assert movie_set([str(folder)]) == "night trailers (3)"
    assert movie_set([f"{folder}/"]) == "night trailers (3)"
    assert movie_set([str(folder / "a.mp4")]) == "a"
    assert movie_set([str(folder / "a.mp4"), str(folder / "deep")]) == "a and 1 more (2)"
    assert movie_set([str(tmp_path / "gone.mp4")]) == "gone"
    assert movie_set([]) == "no movies"


def test_stores_are_called_by_the_last_part_of_their_place() -> None:
    assert store_name("/data/groundcap-test/") == "groundcap-test"
    assert store_name("s3://bucket/films") == "films"
    assert store_name("demo-store") == "demo-store"


def test_the_captioner_is_the_one_of_the_profile_and_a_wrong_profile_names_itself(tmp_path: Path) -> None:
    assert _captioner("groundcap") == read_configuration("groundcap").caption.name
    assert _captioner(str(scripted_profile(tmp_path, name="mine"))) == "mine"
    assert _captioner("groundkap") == "groundkap"


def test_names_are_short_and_show_no_letter_that_is_not_seen() -> None:
    assert _joined("x" * 500, "\x1b[31mred\u202e") == f"{'x' * LONGEST_PART} · [U+001B][31mred[U+202E]"


def test_steps_are_called_by_movie_and_shard(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), "run-1")
    ref = TableRef("captions", "mabc/00003", "captions/x.parquet", 1, "f", "alpha")
    file = MovieFile("mabc", "/a.mp4", (), "A walk", "0" * 64, 1, None)
    assert step_name("extract")({"movie": file, "number": 3, "store": store}) == "extract A walk 00003"
    assert step_name("score")({"captions": ref, "store": store}) == "score mabc 00003 · alpha"
    progress = Progress("run-1", 1, titles={"mabc": "A walk"})
    Progress.running["run-1"] = progress
    try:
        assert step_name("score")({"captions": ref, "store": store}) == "score A walk 00003 · alpha"
    finally:
        progress.forget()
    assert step_name("summarise")({"captioner": "alpha", "store": store}) == "summarise alpha"


@pytest.mark.usefixtures("on_server")
def test_a_run_that_fails_at_its_parameters_has_a_name_too(tmp_path: Path, prefect_environment: dict[str, str]) -> None:
    store = str(tmp_path / "my films")
    names = []
    for flow, given in (
        (score_captions, {"captioners": ["pixtral", "blip2"]}),
        (score_captions, {}),
        (train_captioner, {"recipe": "no-such-recipe"}),
        (train_captioner, {"recipe": "groundcap", "name": "mine"}),
    ):
        state = flow(store, **given, return_state=True)  # type: ignore[operator]
        assert isinstance(state.result(raise_on_failure=False), CaptionMoviesError)
        names.append(Api(prefect_environment).name(str(state.state_details.flow_run_id)))
    assert names == [
        "my films · pixtral, blip2", "my films · all captioners", "my films · no-such-recipe", "my films · mine"
    ]  # fmt: skip
