"""The command: help, answers, exit codes, and that the README tells the truth about it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rows import Settings, movie

from flows.command_line import main
from storage import catalog
from storage.store import Store
from storage.tables import Movie

REPOSITORY = Path(__file__).parents[1]
COMMANDS = ["run", "demo", "sql", "status", "check", "references"]


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
        "sys.exit(bool({'torch', 'prefect', 'transformers', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True).returncode == 0


def test_sql_answers_as_table_csv_and_json(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "select movie_id, status from movies", "--store", store, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["movie_id,status", "mabc,ok"]
    assert main(["sql", "select movie_id, other_paths from movies", "--store", store, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"movie_id": "mabc", "other_paths": []}
    assert main(["sql", "movie_status", "--store", store]) == 0
    assert "mabc" in capsys.readouterr().out


def test_sql_without_a_query_lists_the_questions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql"]) == 0
    said = capsys.readouterr().out
    assert all(name in said and query.question in said for name, query in catalog.queries().items())


def test_wrong_words_say_the_remedy(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "movie_statu", "--store", store]) == 1
    assert "Did you mean 'movie_status'" in capsys.readouterr().err
    assert main(["sql", "select 1", "from", "movies", "--store", store]) == 2
    assert "quotes" in capsys.readouterr().err
    assert main(["status", "--store", store + "-not-there"]) == 1
    assert "caption-movies run" in capsys.readouterr().err
    assert main(["run", "nothing", "--store", store, "--profile", "groundcp"]) == 1
    assert "groundcap" in capsys.readouterr().err


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
    assert all(f"\n{target}:" in makefile for target in re.findall(r"^make (\w+)", readme, re.MULTILINE))
