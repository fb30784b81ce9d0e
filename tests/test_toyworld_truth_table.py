"""The table that holds a store against the truth of a drawn movie."""

import pytest

from storage import catalog
from storage.store import Store
from storage.tables import Caption, Frame
from tasks.movie_files import identify_movies
from toyworld import truth_table
from toyworld.movie_plans import Plan, plan_movie
from toyworld.movies import render_movie
from toyworld.truth import CAPTIONER, write_truth


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, str, Store]:
    """A short movie, its id, and a store that holds nothing but the truth."""
    folder = tmp_path_factory.mktemp("drawn")
    plan = plan_movie(3, seconds=10, shots=4, size=(224, 128))
    render_movie(plan, folder / "movie.mp4")
    store = Store(str(folder / "store"))
    write_truth(plan, folder / "movie.mp4", store)
    return plan, identify_movies([str(folder / "movie.mp4")])[0].movie_id, store


def test_the_truth_is_perfect(drawn: tuple[Plan, str, Store]) -> None:
    plan, movie_id, store = drawn
    said = {line.what.strip(): line.value for line in truth_table.compare(store, movie_id, CAPTIONER, plan)}
    assert said["shot boundaries found"] == "3 of 3"
    assert said["frames with a truth"] == "12"
    assert {said["panoptic quality"], said["things"], said["stuff"]} == {"1.00"}
    assert {value for what, value in said.items() if what.startswith("true claims, ")} <= {"1.00", "-"}
    assert said["true claims, kind of person"] == "1.00"


def test_the_log_of_its_shards_says_how_many_frames_they_have(drawn: tuple[Plan, str, Store]) -> None:
    with catalog.connect(drawn[2].location) as connection:
        said = connection.execute("select stage, frames from stage_runs order by stage").fetchall()
    assert {"extract": 12, "detect": 12, "caption": 12}.items() <= dict(said).items()


def test_another_movie_s_truth_is_not(drawn: tuple[Plan, str, Store]) -> None:
    """The same rows against a movie of other scenes: nothing fits."""
    _, movie_id, store = drawn
    other = plan_movie(4, seconds=10, shots=4, size=(224, 128))
    frames = list(truth_table.rows_of(store, Frame, movie_id))
    assert len(list(truth_table.rows_of(store, Caption, movie_id, CAPTIONER))) == 2 * len(frames)
    said = {line.what.strip(): line.value for line in truth_table.compare(store, movie_id, CAPTIONER, other)}
    assert float(said["things"]) < 0.3
    assert float(said["true claims, kind of person"]) < 0.6
