"""`prefect deployment run caption-movies/gpu` on a real server with a real worker, as prefect.yaml deploys it."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pipeline_help import hear_ctrl_c, scripted_profile
from prefect.testing.cli import CycloptsCliRunner
from prefect_help import Api, using_server
from test_flow import run

from storage import catalog

REPOSITORY = Path(__file__).parents[1]
CLIPS = Path(__file__).parent / "data" / "videos"


@pytest.fixture(scope="module")
def prefect(prefect_environment: dict[str, str]) -> "Prefect":
    return Prefect(prefect_environment)


class Prefect:
    """The `prefect` command in the repository's root.

    Called, it works in this process: a process of its own takes seconds to begin, at every command.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment

    def __call__(self, *arguments: str, expect: int = 0) -> str:
        with using_server(self.environment), contextlib.chdir(REPOSITORY):
            done = CycloptsCliRunner().invoke([*arguments])
        assert done.exit_code == expect, done.output
        return done.stdout

    def start(self, log: Path, *arguments: str) -> "subprocess.Popen[bytes]":
        with log.open("a") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                env=self.environment, cwd=REPOSITORY, stdout=out, stderr=subprocess.STDOUT,
                preexec_fn=hear_ctrl_c,  # else a worker of tests in the background would never hear of its end
            )  # fmt: skip


@pytest.fixture(scope="module")
def worker(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    for pool in ("gpu", "cpu"):
        prefect("work-pool", "create", pool, "--type", "process")
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    assert prefect.start(log, "deploy", "--all").wait(240) == 0, log.read_text()
    with contextlib.ExitStack() as stack:
        for pool in ("gpu", "cpu"):
            process = prefect.start(log, "worker", "start", "--pool", pool, "--name", f"test-box-{pool}")
            stack.callback(end, process)
        yield log


def end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def test_the_gpu_deployment_captions_a_movie(prefect: Prefect, worker: Path, tmp_path: Path, checkpoints: Path) -> None:
    movies, store = tmp_path / "movies", tmp_path / "store"
    movies.mkdir()
    shutil.copy(CLIPS / "bigbuckbunny.mp4", movies)
    profile = tmp_path / "small.toml"
    profile.write_text(
        "[frames]\nlongest_edge = 224\n"
        f'[detect]\ncheckpoint = "{checkpoints / "detector"}"\n'
        f'[caption]\ncheckpoint = "{checkpoints / "captioner"}"\nmax_new_tokens = 24\nname = "small"\n'
    )
    said = prefect(
        "deployment", "run", "caption-movies/gpu", "--watch", "--param", f"movies={json.dumps([str(movies)])}",
        "--param", f"store={store}", "--param", f"config={profile}",
    )  # fmt: skip
    assert "Completed" in said, said + worker.read_text()
    with catalog.connect(str(store)) as connection:
        rows = connection.execute(
            "select captioner, text, checkpoint, error from captions join verdicts using (caption_id)"
        ).fetchall()
    assert len(rows) >= 3
    assert {row[0] for row in rows} == {"small"}
    assert all(row[3] is None and row[2].startswith("captioner@") for row in rows)
    (run_id,) = re.findall(r"UUID: ([0-9a-f-]{36})", said)
    api = Api(prefect.environment)
    assert api.name(run_id) == "movies (1) · small"
    table = json.loads(api.artifacts(run_id)["caption-movies-summary"]["data"])
    assert {"part": "captions", "what": "captions", "number": len(rows)} in table
    assert api.get("artifacts/caption-movies-progress/latest")["data"] == 100


@pytest.mark.usefixtures("worker")
def test_a_wrong_profile_fails_the_run_with_its_reason(prefect: Prefect, tmp_path: Path) -> None:
    said = prefect(
        "deployment", "run", "caption-movies/gpu", "--watch", "--param", f'movies=["{CLIPS}"]',
        "--param", f"store={tmp_path / 'store'}", "--param", "config=groundkap", expect=1,
    )  # fmt: skip
    assert "Did you mean 'groundcap'" in message_of(prefect, said)


def message_of(prefect: Prefect, said: str) -> str:
    """The message of the state in which the flow run ended that `deployment run` told of."""
    (run_id,) = re.findall(r"UUID: ([0-9a-f-]{36})", said)
    return str(Api(prefect.environment).get(f"flow_runs/{run_id}")["state"]["message"])


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory, prefect_environment: dict[str, str]) -> Path:
    """A store with captions of a movie."""
    folder = tmp_path_factory.mktemp("captioned")
    profile = scripted_profile(folder)
    profile.write_text(profile.read_text() + '\n[score]\nmetrics = ["grounding", "rouge_l"]\nresamples = 20\n')
    with using_server(prefect_environment):
        assert run(folder / "store", [CLIPS / "sintel140_h264.mp4"], profile) == 0
    return folder / "store"


@pytest.fixture
def store(captioned: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(captioned, tmp_path / "store"))


@pytest.mark.usefixtures("worker")
def test_the_scores_deployment_gives_the_table_and_fails_at_its_gate(prefect: Prefect, store: Path) -> None:

    def ask(*conditions: str, expect: int) -> str:
        given = ["--param", f"store={store}", "--param", f"fail_if={json.dumps(conditions)}"]
        return prefect("deployment", "run", "score-captions/scores", "--watch", *given, expect=expect)

    assert "Completed" in ask("grounding_f1_macro < 0.95 * baseline", "captions < 24", expect=0)
    page = Api(prefect.environment).get("artifacts/score-captions-summary/latest")["data"]
    assert "gate scripted: captions < 24: passed: captions is 24" in page
    assert page.index("| P |") < page.index("| BLEU-4 |") < page.index("| gMETEOR |")
    said = ask("grounding_f1_macro > 0", expect=1)
    assert "scripted: grounding_f1_macro > 0: FAILED: grounding_f1_macro is" in message_of(prefect, said)


def test_captions_of_a_store_have_a_deployment(prefect: Prefect, worker: Path, store: Path, tmp_path: Path) -> None:
    shown = Api(prefect.environment).get("deployments/name/caption-store/store")
    assert (shown["work_pool_name"], shown["entrypoint"]) == ("gpu", "flows/caption_store.py:caption_store")
    other = scripted_profile(tmp_path, name="other")
    given = ["--param", f"store={store}", "--param", f"config={other}"]
    said = prefect("deployment", "run", "caption-store/store", "--watch", *given)
    assert "Completed" in said, said + worker.read_text()
    with catalog.connect(str(store)) as connection:
        counts = connection.sql("select captioner, count(*) from captions group by 1 order by 1").fetchall()
    assert counts == [("other", 24), ("scripted", 24)]


@pytest.mark.usefixtures("worker")
def test_the_deployments_stand_there_with_a_paused_night_schedule(prefect: Prefect) -> None:
    listed = prefect("deployment", "ls")
    assert "caption-movies/gpu" in listed
    assert "caption-movies/vllm" in listed
    assert "caption-movies/cpu" in listed
    declared = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())["deployments"]
    pools = {one["name"]: one["work_pool"]["name"] for one in declared}
    assert pools.items() >= {"gpu": "gpu", "vllm": "cpu", "cpu": "cpu", "store": "gpu", "scores": "cpu"}.items()
    for one in declared:
        flow = one["entrypoint"].rpartition(":")[2].replace("_", "-")
        shown = Api(prefect.environment).get(f"deployments/name/{flow}/{one['name']}")
        assert [schedule["active"] for schedule in shown["schedules"]] == [False]


def test_the_automation_for_dead_machines_is_accepted(prefect: Prefect) -> None:
    prefect("automation", "create", "--from-file", "automations/unresponsive_runs.yaml")
    assert "Crash unresponsive" in prefect("automation", "ls")
