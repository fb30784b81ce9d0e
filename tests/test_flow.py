"""The main flow as a whole, on real clips, against a real Prefect server."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_help import files_of, finished_work, hear_ctrl_c, rows_of, scripted_profile, work_of
from prefect_help import using_server

from flows.command_line import main
from flows.stop_gently import LAST_WORDS, stop_gently
from storage import catalog
from storage.checks import check_store
from tasks.movie_files import MovieFile, identify_movies

REPOSITORY = Path(__file__).parents[1]
CLIPS = Path(__file__).parent / "data" / "videos"
MOVIES = ["sintel140_h264.mp4", "big_buck_bunny_432_433.webm"]
HERE = [CLIPS / name for name in MOVIES]
BAD = ["empty.mp4", "audio_only.m4a", "trunc60_faststart.mp4"]
STAGES = ["extract", "detect", "caption", "check", "choose", "score", "summarise"]


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


def made_in_one_go(folder: Path, environment: dict[str, str], *, every_seconds: float = 0.25) -> Path:
    """A store of the movies."""
    with using_server(environment):
        profile = scripted_profile(folder, every_seconds=every_seconds)
        assert run(folder / "store", HERE, profile) == 0
    return folder / "store"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Path:
    """What the runs that are killed or stopped have to come to; others go on from a copy of it."""
    return made_in_one_go(tmp_path_factory.mktemp("undisturbed"), prefect_environment)


@pytest.fixture(scope="module")
def otherwise(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Path:
    """A store of the same movies by another configuration."""
    return made_in_one_go(tmp_path_factory.mktemp("otherwise"), prefect_environment, every_seconds=0.4)


@pytest.fixture
def filled(tmp_path: Path, undisturbed: Path) -> Path:
    """A copy of that store."""
    return Path(shutil.copytree(undisturbed, tmp_path / "store"))


@pytest.mark.usefixtures("on_server")
def test_movies_in_checked_captions_out(tmp_path: Path, movies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "store"
    assert run(store, movies, scripted_profile(tmp_path)) == 0
    said = capsys.readouterr().out
    assert re.search(r"^movies +2 ok$", said, re.MULTILINE)
    assert f"store     {store}" in said
    assert check_store(str(store)) == []
    with catalog.connect(str(store)) as connection:
        (frames, captions, ok) = connection.execute(
            "select (select count(*) from frames), (select count(*) from captions), (select count(*) from captions_ok)"
        ).fetchone() or (0, 0, 0)
        assert frames == captions == ok > 20
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
def test_a_changed_prompt_recomputes_captions_and_what_follows_only(tmp_path: Path, filled: Path) -> None:
    before = files_of(filled)
    assert run(filled, HERE, scripted_profile(tmp_path, template="groundcap-story")) == 0
    changed = {path.split("/")[0] for path, stamp in files_of(filled).items() if before.get(path) != stamp}
    summarised = {"summaries", "metrics", "alarms"}
    assert changed == {"captions", "verdicts", "mentions", "violations", "choices", "scores", *summarised}
    assert check_store(str(filled)) == []


@pytest.mark.usefixtures("on_server")
def test_changed_bytes_are_another_movie_and_a_touched_or_renamed_file_is_not(
    tmp_path: Path, filled: Path, movies: Path
) -> None:
    store, profile = filled, scripted_profile(tmp_path)
    before = files_of(store)
    (movies / MOVIES[0]).rename(movies / "another name.mp4")
    assert run(store, movies, profile) == 0
    changed = {path for path, stamp in files_of(store).items() if before.get(path) != stamp}
    assert {path.split("/")[0] for path in changed} == {"movies"}  # their paths and titles, nothing else
    before = files_of(store)
    (movies / "another name.mp4").touch()
    assert run(store, movies, profile) == 0
    assert files_of(store) == before
    shutil.copy(CLIPS / "chaplin.mp4", movies / MOVIES[1])
    assert run(store, movies, profile) == 0
    with catalog.connect(str(store)) as connection:
        titles = connection.execute("select title from movies order by title").fetchall()
    assert titles == [
        ("another name",),
        ("big_buck_bunny_432_433",),
        ("big_buck_bunny_432_433",),
    ]  # the old content keeps its rows


@pytest.mark.usefixtures("on_server")
def test_bad_movies_are_rows_and_the_others_are_finished(
    tmp_path: Path, movies: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in BAD:
        shutil.copy(CLIPS / name, movies)
    (movies / "notes.mp4").write_text("not a movie at all")
    gone = movies / "gone.mp4"
    gone.touch()
    store = tmp_path / "store"

    def look(paths: list[str], tell: Callable[[int, int], None]) -> list[MovieFile]:
        gone.unlink()
        return identify_movies(paths, tell)

    monkeypatch.setattr("flows.run_state.identify_movies", look)
    assert run(store, sorted(movies.iterdir()), scripted_profile(tmp_path)) == 3
    with catalog.connect(str(store)) as connection:
        found = {title: (status, error) for title, status, error in connection.execute(
            "select title, status, error from movies").fetchall()}  # fmt: skip
    assert {title: status for title, (status, _) in found.items()} == {
        "sintel140_h264": "ok", "big_buck_bunny_432_433": "ok", "empty": "unreadable", "audio_only": "no_video",
        "trunc60_faststart": "truncated", "notes": "unreadable", "gone": "unreadable",
    }  # fmt: skip
    assert all((error is None) == (status == "ok") for status, error in found.values())
    assert "3 unreadable" in capsys.readouterr().out
    assert check_store(str(store)) == []


@pytest.mark.usefixtures("on_server")
def test_two_captioners_stand_side_by_side(tmp_path: Path, filled: Path) -> None:
    before = files_of(filled)
    assert run(filled, HERE, scripted_profile(tmp_path, name="two")) == 0
    assert before.items() <= files_of(filled).items()
    with catalog.connect(str(filled)) as connection:
        counts = connection.execute("select captioner, count(*) from captions_ok group by 1 order by 1").fetchall()
    assert [name for name, _ in counts] == ["scripted", "two"]
    assert counts[0][1] == counts[1][1]


def process(arguments: list[str], environment: dict[str, str], expect: int = 0) -> None:
    environment = environment | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")])}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == expect, done.stdout + done.stderr


def again(environment: dict[str, str], command: list[str], expect: int = 0) -> None:
    """The last run, in this process: it takes seconds to begin one."""
    with using_server(environment):
        assert main(command) == expect


def test_killed_in_the_middle_of_every_stage_and_run_again(
    tmp_path: Path, prefect_environment: dict[str, str], undisturbed: Path
) -> None:
    """One store, killed once in each stage: every run goes on where the one before it died."""
    store = tmp_path / "store"
    command = ["run", *map(str, HERE), "--store", str(store)]
    command += ["--profile", str(scripted_profile(tmp_path))]
    finished: dict[str, tuple[int, int]] = {}
    for stage in STAGES:
        process([str(REPOSITORY / "tests" / "kill_at.py"), stage, "3", *command], prefect_environment, -signal.SIGKILL)
        now = finished_work(store)
        assert finished.items() <= now.items(), f"finished work was written again, before {stage}"
        assert len(finished) < len(now) < len(finished_work(undisturbed)), stage
        finished = now
    again(prefect_environment, command)
    assert finished.items() <= files_of(store).items(), "finished work was written again"
    assert rows_of(store) == rows_of(undisturbed)
    assert files_of(store).keys() == files_of(undisturbed).keys()
    assert max(Counter(work_of(store)).values()) == 1, "finished work was done again"
    assert not list(store.rglob("*.tmp"))


@pytest.mark.parametrize("files", [3, 12])
def test_killed_between_two_files_while_the_configuration_changes(
    files: int, tmp_path: Path, prefect_environment: dict[str, str], undisturbed: Path, otherwise: Path
) -> None:
    """Nothing of the old configuration passes as good in between, and the end is as if it had never been."""
    store = Path(shutil.copytree(otherwise, tmp_path / "store"))
    command = ["run", *map(str, HERE), "--store", str(store)]
    command += ["--profile", str(scripted_profile(tmp_path))]
    bomb = [str(REPOSITORY / "tests" / "kill_at.py"), "publish", str(files)]
    process([*bomb, *command], prefect_environment, -signal.SIGKILL)
    with catalog.connect(str(store)) as connection:
        lost = connection.execute("select count(*) from captions_ok anti join frames using (frame_id)").fetchone()
    assert lost == (0,)
    again(prefect_environment, command)
    assert rows_of(store) == rows_of(undisturbed)
    assert files_of(store).keys() == files_of(undisturbed).keys()


@pytest.mark.parametrize(
    ("number", "code", "own_server"), [(signal.SIGTERM, 143, False), (signal.SIGINT, 130, True)], ids=["TERM", "Ctrl-C"]
)
def test_a_run_that_is_stopped_says_so_and_goes_on_when_run_again(
    number: signal.Signals, code: int, own_server: bool, tmp_path: Path, prefect_environment: dict[str, str],
    undisturbed: Path,
) -> None:  # fmt: skip
    """To the whole process group, as terminals and service managers do it: a server of the run's own gets it too."""
    store, log = tmp_path / "store", tmp_path / "log"
    environment = prefect_environment | {"PREFECT_HOME": str(tmp_path / "home")}
    if own_server:
        del environment["PREFECT_API_URL"]
    command = ["run", *map(str, HERE), "--store", str(store)]
    command += ["--profile", str(scripted_profile(tmp_path))]
    with log.open("w") as out:
        process_ = subprocess.Popen(
            [sys.executable, "-m", "flows.command_line", *command], env=environment, cwd=REPOSITORY, stdout=out,
            stderr=out, start_new_session=True, preexec_fn=hear_ctrl_c,
        )  # fmt: skip
    while process_.poll() is None and not list(store.glob("frames/*/*.parquet")):
        time.sleep(0.02)
    os.killpg(process_.pid, number)
    assert process_.wait(120) == code, log.read_text()
    said = log.read_text().splitlines()
    assert said[-1] == LAST_WORDS, said
    assert re.search(r"^\S+ stopped: \d of 2 movies decoded, \d+ frames; shards extracted \d", said[-2]), said
    assert "Traceback" not in log.read_text()
    again(prefect_environment, command)
    assert rows_of(store) == rows_of(undisturbed)


@pytest.mark.usefixtures("on_server")
def test_signals_are_heard_while_the_movies_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect puts a handler of its own for SIGTERM when the flow begins, and to read large movies takes minutes."""
    handlers = []

    def look(paths: list[str], tell: Callable[[int, int], None]) -> list[MovieFile]:
        handlers.append(signal.getsignal(signal.SIGTERM))
        return identify_movies(paths, tell)

    monkeypatch.setattr("flows.run_state.identify_movies", look)
    (tmp_path / "empty.mp4").touch()
    assert run(tmp_path / "store", tmp_path / "empty.mp4", scripted_profile(tmp_path)) == 3
    assert [getattr(handler, "__func__", None) for handler in handlers] == [stop_gently._first]


@pytest.mark.usefixtures("on_server")
def test_a_step_that_fails_for_good_is_named_and_the_rest_is_kept(
    tmp_path: Path, movies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    wrong = tmp_path / "wrong.toml"
    (tmp_path / "no.json").write_text("no script")
    wrong.write_text(
        scripted_profile(tmp_path).read_text().replace('checkpoint = ""', f'checkpoint = "{tmp_path}/no.json"', 1)
    )
    assert run(store, movies, wrong) == 1
    said = capsys.readouterr().out
    assert re.search(r"^FAILED +detect m\w+/00000: .*no\.json", said, re.MULTILINE)
    assert "FAILED    caption" not in said  # what only waited for it is not named
    with catalog.connect(str(store)) as connection:
        assert (connection.execute("select count(*) from frames").fetchone() or (0,))[0] > 20
    assert run(store, movies, scripted_profile(tmp_path)) == 0


def test_what_is_wrong_from_the_start_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / "store", tmp_path / "empty", scripted_profile(tmp_path)) == 1
    assert "no movies in" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("on_server")
def test_a_store_that_cannot_be_written_is_an_error(
    tmp_path: Path, movies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file" / "store", movies, scripted_profile(tmp_path)) == 1
    assert "nothing can be written" in capsys.readouterr().err
