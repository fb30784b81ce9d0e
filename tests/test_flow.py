"""The main flow as a whole, on real clips, against a real Prefect server."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pipeline_help import files_of, rows_of, scripted_profile, work_of

from flows.command_line import main
from storage import catalog
from storage.checks import check_store

REPOSITORY = Path(__file__).parents[1]
CLIPS = Path(__file__).parent / "data" / "videos"
MOVIES = ["test_clip_10s.mp4", "bigbuckbunny.mp4"]
BAD = ["empty.mp4", "audio_only.m4a", "trunc60_faststart.mp4"]
STAGES = ["extract", "detect", "caption", "check", "score", "summarise"]


@pytest.fixture
def movies(tmp_path: Path) -> Path:
    folder = tmp_path / "movies"
    folder.mkdir()
    for name in MOVIES:
        shutil.copy(CLIPS / name, folder)
    return folder


def run(store: Path, movies: list[Path] | Path, profile: Path) -> int:
    given = movies if isinstance(movies, list) else [movies]
    return main(["run", *map(str, given), "--store", str(store), "--profile", str(profile)])


@pytest.mark.usefixtures("on_server")
def test_movies_in_checked_captions_out(tmp_path: Path, movies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    assert run(store, movies, scripted_profile(tmp_path)) == 0
    said = capsys.readouterr().out
    assert "2 ok" in said
    assert f"store     {store}" in said
    assert check_store(str(store)) == []
    with catalog.connect(str(store)) as connection:
        (frames, captions, ok) = connection.execute(
            "select (select count(*) from frames), (select count(*) from captions), (select count(*) from captions_ok)"
        ).fetchone() or (0, 0, 0)
        assert frames == captions == ok > 40
        origin = connection.execute(
            catalog.queries()["caption_origin"].sql,
            {"caption_id": first(connection, "select caption_id from captions")},
        ).fetchall()
        assert len(origin) == 1
        assert None not in origin[0][:4]
    before, rows = files_of(store), rows_of(store)
    assert run(store, movies, scripted_profile(tmp_path)) == 0
    assert files_of(store) == before  # nothing was written again
    assert rows_of(store) == rows


def first(connection: object, sql: str) -> object:
    return connection.execute(sql).fetchone()[0]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("on_server")
def test_a_changed_prompt_recomputes_captions_and_what_follows_only(tmp_path: Path, movies: Path) -> None:
    store = tmp_path / "store"
    assert run(store, movies, scripted_profile(tmp_path)) == 0
    before = files_of(store)
    assert run(store, movies, scripted_profile(tmp_path, template="groundcap-story")) == 0
    changed = {path.split("/")[0] for path, stamp in files_of(store).items() if before.get(path) != stamp}
    assert changed == {"captions", "verdicts", "mentions", "violations", "scores", "summaries"}
    assert check_store(str(store)) == []


@pytest.mark.usefixtures("on_server")
def test_changed_bytes_are_another_movie_and_a_touched_or_renamed_file_is_not(tmp_path: Path, movies: Path) -> None:
    store, profile = tmp_path / "store", scripted_profile(tmp_path)
    assert run(store, movies, profile) == 0
    before = files_of(store)
    (movies / MOVIES[0]).touch()
    assert run(store, movies, profile) == 0
    assert files_of(store) == before
    (movies / MOVIES[0]).rename(movies / "another name.mp4")
    assert run(store, movies, profile) == 0
    changed = {path for path, stamp in files_of(store).items() if before.get(path) != stamp}
    assert {path.split("/")[0] for path in changed} == {"movies"}  # its path and title, nothing else
    shutil.copy(CLIPS / "chaplin.mp4", movies / MOVIES[1])
    assert run(store, movies, profile) == 0
    with catalog.connect(str(store)) as connection:
        titles = connection.execute("select title from movies order by title").fetchall()
    assert titles == [("another name",), ("bigbuckbunny",), ("bigbuckbunny",)]  # the old content keeps its rows


@pytest.mark.usefixtures("on_server")
def test_bad_movies_are_rows_and_the_others_are_finished(
    tmp_path: Path, movies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in BAD:
        shutil.copy(CLIPS / name, movies)
    (movies / "notes.mp4").write_text("not a movie at all")
    store = tmp_path / "store"
    given = [*sorted(movies.iterdir()), tmp_path / "missing.mp4"]
    assert run(store, given, scripted_profile(tmp_path)) == 3
    with catalog.connect(str(store)) as connection:
        found = {title: (status, error) for title, status, error in connection.execute(
            "select title, status, error from movies").fetchall()}  # fmt: skip
    assert {title: status for title, (status, _) in found.items()} == {
        "test_clip_10s": "ok", "bigbuckbunny": "ok", "empty": "unreadable", "audio_only": "no_video",
        "trunc60_faststart": "truncated", "notes": "unreadable", "missing": "unreadable",
    }  # fmt: skip
    assert all((error is None) == (status == "ok") for status, error in found.values())
    assert "3 unreadable" in capsys.readouterr().out
    assert check_store(str(store)) == []


@pytest.mark.usefixtures("on_server")
def test_two_captioners_stand_side_by_side(tmp_path: Path, movies: Path) -> None:
    store = tmp_path / "store"
    assert run(store, movies, scripted_profile(tmp_path, name="one")) == 0
    before = files_of(store)
    assert run(store, movies, scripted_profile(tmp_path, name="two")) == 0
    assert before.items() <= files_of(store).items()
    with catalog.connect(str(store)) as connection:
        counts = connection.execute("select captioner, count(*) from captions_ok group by 1 order by 1").fetchall()
    assert [name for name, _ in counts] == ["one", "two"]
    assert counts[0][1] == counts[1][1]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Path:
    """A store made in one go."""
    folder = tmp_path_factory.mktemp("undisturbed")
    command = ["run", *(str(CLIPS / name) for name in MOVIES), "--store", str(folder / "store")]
    process(["-m", "flows.command_line", *command, "--profile", str(scripted_profile(folder))], prefect_environment)
    return folder / "store"


def process(arguments: list[str], environment: dict[str, str], expect: int = 0) -> None:
    environment = environment | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == expect, done.stdout + done.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_killed_in_the_middle_of_a_stage_and_run_again(
    stage: str, tmp_path: Path, prefect_environment: dict[str, str], undisturbed: Path
) -> None:
    store = tmp_path / "store"
    command = ["run", *(str(CLIPS / name) for name in MOVIES), "--store", str(store)]
    command += ["--profile", str(scripted_profile(tmp_path))]
    rows = "3" if stage == "summarise" else "11"  # the second shard of every other stage
    process([str(REPOSITORY / "tests" / "kill_at.py"), stage, rows, *command], prefect_environment, -signal.SIGKILL)
    finished = files_of(store)
    assert len(finished) < len(files_of(undisturbed))
    process(["-m", "flows.command_line", *command], prefect_environment)
    assert rows_of(store) == rows_of(undisturbed)
    assert files_of(store).keys() == files_of(undisturbed).keys()
    assert finished.items() <= files_of(store).items(), "finished work was written again"
    assert max(Counter(work_of(store)).values()) == 1, "finished work was done again"
    assert not list(store.rglob("*.tmp"))
