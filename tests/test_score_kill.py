"""`score` is killed while it writes, and started again: nothing is lost, nothing half, and the rows are the same."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pipeline_help import files_of, rows_of
from score_making import store_of, told
from test_score_flow import GOOD, references

from flows.command_line import main
from storage.checks import check_store
from tasks.scores import ScoreConfig

REPOSITORY = Path(__file__).parents[1]
QUICK = ScoreConfig(metrics=["grounding", "rouge_l", "length"], resamples=20)


@pytest.mark.usefixtures("on_server")
def test_killed_at_any_file_and_started_again_the_store_is_the_same(
    tmp_path: Path, prefect_environment: dict[str, str]
) -> None:
    """Killed three times, each further on, when it is about to put one more file in its place."""
    store_of(tmp_path / "store", {"good": GOOD, "copies": [told(n) for n in range(12)]}, QUICK, references=False)
    for table in ("scores", "summaries", "metrics", "alarms", "verdicts", "mentions", "violations"):
        shutil.rmtree(tmp_path / "store" / table, ignore_errors=True)
    shutil.copytree(tmp_path / "store", tmp_path / "undisturbed")
    profile = tmp_path / "profile.toml"
    profile.write_text('[score]\nmetrics = ["grounding", "rouge_l", "length"]\nresamples = 20\n')
    command = ["--references", str(references(tmp_path / "store", tmp_path)), "--profile", str(profile)]
    assert main(["score", "--store", str(tmp_path / "undisturbed"), *command]) == 0
    whole = files_of(tmp_path / "undisturbed")
    begun = files_of(tmp_path / "store")
    given = len(begun)
    for files in (2, 4, 3):  # counted from where the one before was killed
        bomb = [sys.executable, str(REPOSITORY / "tests" / "kill_at.py"), "publish", str(files)]
        done = subprocess.run([*bomb, "score", "--store", str(tmp_path / "store"), *command],
                              cwd=REPOSITORY, env=prefect_environment, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        left = files_of(tmp_path / "store")
        assert begun.items() <= left.items(), "what was finished is gone, or was made anew"
        begun = left
    assert given < len(begun) < len(whole), "it was never killed amid its files"
    assert main(["score", "--store", str(tmp_path / "store"), *command]) == 0
    assert files_of(tmp_path / "store").keys() == whole.keys()
    assert rows_of(tmp_path / "store") == rows_of(tmp_path / "undisturbed")
    assert check_store(str(tmp_path / "store")) == []
