"""The command: help, answers, exit codes, and that the README tells the truth about it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rows import Settings, frame, movie, write

from flows.command_line import main
from storage import catalog
from storage.store import Store
from storage.tables import Movie

REPOSITORY = Path(__file__).parents[1]
COMMANDS = [
    "run", "caption", "demo", "sql", "describe", "status", "check", "references", "import", "panoptic", "setup",
    "compare", "gallery", "serve", "show", "score", "export", "judge", "ratings", "agree", "train", "doctor", "plan",
    "plot", "completion",
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> str:
    made = Store(str(tmp_path / "store"), "run-1")
    output = made.output([Movie], stage="movies", shard="mabc", version=1, config=Settings())
    with output.writer() as write:
        write(movie())
    return made.location


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    said = capsys.readouterr().out
    assert "exit codes" in said
    assert len(said.splitlines()) > 5


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(re.search(rf"^ +{command}\b", said, re.MULTILINE) for command in COMMANDS)


def test_the_command_starts_without_loading_models_or_prefect() -> None:
    program = (
        "import sys, flows.command_line as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'prefect', 'transformers', 'cv2', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True).returncode == 0


def test_sql_answers_as_table_csv_and_json(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "select movie_id, status from movies", "--store", store, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["movie_id,status", "mabc,ok"]
    assert main(["sql", "select movie_id, other_paths from movies", "--store", store, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"movie_id": "mabc", "other_paths": []}
    assert main(["sql", "movie_status", "--store", store]) == 0
    assert "mabc" in capsys.readouterr().out


@pytest.mark.parametrize("columns", [80, 160])
def test_sql_without_a_query_lists_the_questions(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["sql"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(name in said and query.question in said for name, query in catalog.queries().items())


def test_wrong_words_say_the_remedy(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "movie_statu", "--store", store]) == 2
    assert "Did you mean 'movie_status'" in capsys.readouterr().err
    assert main(["sql", "select 1", "from", "movies", "--store", store]) == 2
    assert "quotes" in capsys.readouterr().err
    assert main(["status", "--store", store + "-not-there"]) == 1
    assert "caption-movies run" in capsys.readouterr().err
    assert main(["run", "nothing", "--store", store, "--profile", "groundcp"]) == 2
    assert "Did you mean 'groundcap'" in capsys.readouterr().err


def test_values_that_a_query_does_not_take_are_answered_with_those_it_takes(
    store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        (["caption_origin", "id=x"], "takes caption_id=...; missing: caption_id; unknown: id."),
        (["movie_status", "movie_id=x"], "'movie_status' takes no values; unknown: movie_id."),
        (["select title from movies where title = $title", "titel=A"], "unknown: titel. Did you mean 'title'"),
    ):  # fmt: skip
        assert main(["sql", *arguments, "--store", store]) == 2
        assert says in capsys.readouterr().err


def test_a_value_is_found_behind_dashes_in_a_text(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "select '--' || $word as said -- $not", "word=A", "--store", store, "--format", "csv"]) == 0
    assert capsys.readouterr().out.split() == ["said", "--A"]


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_an_answer_without_rows_says_so_beside_it(form: str, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["sql", "caption_origin", "caption_id=unknown", "--store", store, "--format", form]
    assert main(ask) == 0
    said = capsys.readouterr()
    assert said.err == f"caption-movies: nothing in {store} matches for caption_id=unknown\n"
    assert "nothing" not in said.out
    assert main(["sql", "select 1", "--store", store, "--format", form]) == 0
    assert capsys.readouterr().err == ""


def test_references_say_the_next_step(store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Store(store), [frame()])
    file = tmp_path / "references.jsonl"
    file.write_text('{"frame_id": "mabc_000000", "caption": "a dog"}\n')
    assert main(["references", str(file), "--store", store]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"1 reference by human in {store}\n")
    assert re.search(r"^next .*caption-movies score --store", said, re.MULTILINE)


def test_check_says_what_is_wrong(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--store", store]) == 0
    assert "as it should be" in capsys.readouterr().out
    (Path(store) / "movies" / "mabc.parquet").write_bytes(b"")
    assert main(["check", "--store", store]) == 1
    assert "damaged-file" in capsys.readouterr().out


def test_the_readme_names_only_what_there_is() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"caption-movies (\w+)", readme)) - {"gpu"}
    assert named <= set(COMMANDS)
    assert set(re.findall(r"caption-movies sql ([a-z_]+)", readme)) <= catalog.queries().keys()
    for link in re.findall(r"\]\(([^)]+)\)", readme):
        assert (REPOSITORY / link).exists(), link
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^make ([\w-]+)", readme, re.MULTILINE))


def test_the_last_lines_say_how_many_captions_cite_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    from flows.command_line import _print_end
    from flows.report_run import Report

    report = Report(
        store="s", run_id="r", captioner="tiny", files=1, movies={"ok": 1}, shots=1, frames=4, detections=9, captions=4,
        captions_ok=4, captions_mended=0, captions_citing_nothing=3, quarantined={}, failed_frames=0, shards_computed=5,
    )  # fmt: skip
    _print_end(report)
    assert re.search(r"^captions  4 ok of 4 by tiny\n +3 of 4 cite no object", capsys.readouterr().out, re.MULTILINE)
