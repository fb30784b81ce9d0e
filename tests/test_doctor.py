"""The command `doctor`: what it sees of this machine, of models, servers and libraries, and that it touches nothing."""

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_server import Asked, completion
from plot_making import write_training
from server_asking import config

from flows.check_machine import checks, wanted_models
from flows.check_prefect import check_server, check_settings
from flows.command_line import main
from flows.read_configuration import read_configuration
from storage.store import Store
from tasks import machine
from tasks.captioners.server import TRIAL_ANSWER
from tasks.doctor import Finding, examine, in_units, libraries, models
from tasks.doctor import machine as machine_checks
from tasks.doctor.models import Wanted, look_at
from tasks.errors import ConfigError

REPOSITORY = Path(__file__).parents[1]
EMBEDDED = REPOSITORY / "toyworld" / "checkpoints" / "captioner"


def states(found: Any) -> list[str]:
    return [one.state for one in found]


def test_this_machine_is_fit_for_the_demo_and_nothing_is_touched(tmp_path: Path) -> None:
    place = tmp_path / "work"
    place.mkdir()
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("PREFECT_API_URL", "PREFECT_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "flows.command_line", "doctor", "--json", "--store", "s"],
        env=environment, cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["problems"] == 0
    found = {one["subject"]: one for one in said["findings"]}
    assert found["detector"]["state"] == found["captioner"]["state"] == found["codecs"]["state"] == "ok"
    assert found["codecs"]["seen"].endswith("decodes h264, hevc, av1")
    assert {"Python", "libraries", "GPU", "memory", "cores", "store", "Java", "Prefect server"} <= found.keys()
    assert [one for one in tmp_path.rglob("*") if one != place] == []


def test_a_problem_has_a_remedy_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def some(*_: Any) -> dict[str, Any]:
        return {name: check for name, check in checks(*_).items() if name in ("store", "detector")}

    monkeypatch.setattr("flows.check_machine.checks", some)
    (tmp_path / "file").touch()
    profile = tmp_path / "own.toml"
    profile.write_text('[detect]\nbackend = "mask2former"\ncheckpoint = "nobody/knows-this"\n')
    assert main(["doctor", "--profile", str(profile), "--store", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().out
    assert f"PROBLEM  store           {tmp_path}/file is a file, not a folder" in said
    assert "nobody/knows-this is not on this machine, and HF_HUB_OFFLINE is set" in said
    assert "-> unset HF_HUB_OFFLINE" in said
    assert "2 problems for the profile" in said


def test_a_check_that_hangs_or_breaks_is_a_problem_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    def hangs() -> Iterator[Finding]:
        threading.Event().wait(60)
        yield Finding("never", "ok", "")

    def breaks() -> Iterator[Finding]:
        yield Finding("half", "ok", "")
        raise ZeroDivisionError("why")

    def refuses() -> Iterator[Finding]:
        raise ConfigError("it is so. Do this.")
        yield

    every: dict[str, Any] = {"a": hangs, "b": breaks, "c": refuses, "d": lambda: [Finding("fine", "ok", "")]}
    found = list(examine(every, 0.05))
    assert states(found) == ["problem", "problem", "problem", "ok"]
    assert [one.seen for one in found[:3]] == ["no answer within 0.05 seconds", "ZeroDivisionError: why", "it is so"]
    assert found[2].remedy == "Do this."
    (said,) = caplog.records
    assert said.getMessage() == "the check of b broke"
    assert said.exc_info
    assert isinstance(said.exc_info[1], ZeroDivisionError)


class Panic(BaseException):
    """As what libraries in Rust raise: no Exception."""


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (SystemExit("torch is for another Python"), "SystemExit: torch is for another Python"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit(), "SystemExit"),
        (Panic("index out of\nbounds"), "Panic: index out of bounds"),
    ],
)
def test_a_check_that_ends_its_thread_is_a_problem_too(error: BaseException, seen: str) -> None:
    def ends() -> Iterator[Finding]:
        yield Finding("half", "ok", "")
        raise error

    first, second = examine({"a": ends, "b": lambda: [Finding("fine", "ok", "")]})
    assert (first.subject, first.state, first.seen) == ("a", "problem", seen)
    assert first.remedy
    assert second.state == "ok"


def test_models_of_a_profile_are_those_a_run_loads() -> None:
    assert [one.source for one in wanted_models(read_configuration("groundcap"))] == [
        "facebook/mask2former-swin-large-coco-panoptic", "mistral-community/pixtral-12b", "daniel3303/PixtralGroundCap"
    ]  # fmt: skip
    assert [one.what for one in wanted_models(read_configuration("vllm"))] == ["detector"]
    assert "server" in checks(read_configuration("vllm"), "store")


def test_a_name_that_a_training_gave_stands_for_its_folder_as_in_a_run(tmp_path: Path) -> None:
    store, profile = Store(str(tmp_path / "store")), tmp_path / "own.toml"
    write_training(store, "mine", path=str(EMBEDDED))
    profile.write_text('[caption]\nbackend = "pixtral"\ncheckpoint = "mine"\n')

    def look() -> Finding:
        (found,) = examine({"captioner": checks(read_configuration(str(profile)), store.location)["captioner"]})
        return found

    assert look().state == "ok"
    assert str(EMBEDDED) in look().seen
    write_training(store, "mine", path=str(tmp_path / "gone"))
    assert look().state == "problem"
    assert "which is not on this machine" in look().seen


class TestModels:
    def test_what_a_folder_holds(self) -> None:
        found = look_at(EMBEDDED)
        assert found.faults == []
        assert found.bytes_on_disk == (EMBEDDED / "model.safetensors").stat().st_size
        assert 3_000_000 < found.parameters < 4_000_000

    def test_weights_that_are_cut_off_are_seen(self, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(EMBEDDED, tmp_path / "copy"))
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        (one,) = models.model(Wanted("captioner", str(folder)))
        assert one.state == "problem"
        assert "its header says" in one.seen
        weights.write_bytes(b"no weights")
        assert look_at(folder).faults == ["model.safetensors is no safetensors file, or cut off"]

    def test_missing_and_pickled_parts_are_named(self, tmp_path: Path) -> None:
        (tmp_path / "pytorch_model.bin").touch()
        index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        assert look_at(tmp_path).faults == [
            "no config.json", "only pickled weights (pytorch_model.bin), which are never loaded",
            "model-1.safetensors is missing", "model-2.safetensors is missing",
        ]  # fmt: skip

    def test_weights_larger_than_memory_are_a_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(models, "memory_bytes", lambda: (10_000_000, 1))
        found = list(models.model(Wanted("captioner", str(EMBEDDED))))
        assert states(found) == ["ok", "problem"]
        assert "of weights in float32, and the machine has 10.0 MB" in found[1].seen


class TestServer:
    @pytest.fixture(autouse=True)
    def _quick(self, quick_retries: None) -> None: ...

    @staticmethod
    def check(server: Any, **changes: Any) -> Finding:
        asked = config(server, decoding="constrained", **changes)
        (found,) = examine({"server": lambda: models.server(asked)})
        return found

    def test_one_that_keeps_to_a_grammar_is_fine(self, start: Callable[..., Any]) -> None:
        server = start(lambda asked: asked.send(200, completion(TRIAL_ANSWER)))
        assert self.check(server).state == "ok"
        assert server.asked[-1].body["structured_outputs"] == {"grammar": f'root ::= "{TRIAL_ANSWER}"'}

    def test_one_that_passes_over_it_is_not(self, start: Callable[..., Any]) -> None:
        found = self.check(start(lambda asked: asked.send(200, completion("Two."))))
        assert found.state == "problem"
        assert "it said 'Two.'" in found.seen
        assert "grammar_field" in found.remedy

    def test_one_that_refuses_it_says_so(self, start: Callable[..., Any]) -> None:
        def behave(asked: Asked) -> None:
            asked.send(400, b'{"error": {"message": "no such field"}}')

        found = self.check(start(behave))
        assert found.state == "problem"
        assert "no such field" in found.seen

    def test_an_unknown_model_and_a_server_that_is_not_there(self, start: Callable[..., Any]) -> None:
        server = start(lambda asked: asked.send(200, completion(TRIAL_ANSWER)))
        assert "has no model 'other'" in self.check(server, checkpoint="other").seen
        gone = self.check("http://127.0.0.1:9/v1")
        assert (gone.state, gone.remedy) == ("problem", "Start it, or correct its address.")


class TestPrefect:
    def test_a_server_of_our_version(self, prefect_environment: dict[str, str]) -> None:
        server, pools = check_server(prefect_environment["PREFECT_API_URL"], {})
        assert server.state == "ok"
        assert pools.state in ("ok", "note")

    def test_another_version_another_key_and_none(self) -> None:
        class Old(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                right = self.headers["Authorization"] == f"Basic {base64.b64encode(b'me:secret').decode()}"
                self.send_response(200 if right else 401)
                self.end_headers()
                self.wfile.write(b'"2.1.0"')

            def do_POST(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"[]")

            def log_message(self, *_: Any) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Old) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{server.server_port}/api"
            (refused,) = check_server(url, {})
            assert (refused.state, "PREFECT_API_AUTH_STRING" in refused.remedy) == ("problem", True)
            old, pools = check_server(url, {"PREFECT_API_AUTH_STRING": "me:secret"})
            assert "is Prefect 2.1.0, this machine has" in old.seen
            assert "prefect work-pool create gpu --type process; prefect work-pool create cpu" in pools.remedy
            server.shutdown()
        (gone,) = check_server(url, {})
        assert "does not answer" in gone.seen

    def test_settings_that_hurt(self, tmp_path: Path) -> None:
        said = {"PREFECT_HOME": str(tmp_path / "new")}
        assert list(check_settings(said)) == []
        off, shared = check_settings(
            said | {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false", "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite://"}
        )
        assert (off.state, shared.state) == ("problem", "note")
        (tmp_path / "file").touch()
        (home,) = check_settings({"PREFECT_HOME": str(tmp_path / "file")})
        assert home.state == "problem"


class TestLibraries:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        lines = ["numpy>=1", 'fastapi<0.1; extra == "flows"', 'no-such-library>=3; extra == "plots"']
        monkeypatch.setattr(libraries.metadata, "requires", lambda _: lines)
        monkeypatch.setattr(libraries, "_torchvision", lambda: iter(()))
        libraries.requirements.cache_clear()
        yield lines
        libraries.requirements.cache_clear()

    @pytest.mark.usefixtures("asked")
    def test_what_is_not_as_asked_is_named_with_its_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Extras:
            def get_all(self, _: str) -> list[str]:
                return ["flows", "plots"]

        monkeypatch.setattr(libraries.metadata, "metadata", lambda _: Extras())
        _, there, fastapi, plots = libraries.versions({"flows"})
        assert there.seen.startswith("1 are as asked")
        assert (fastapi.state, fastapi.remedy) == ("problem", "pip install 'fastapi<0.1'")
        assert "Prefect's server does not start" in fastapi.seen
        assert (plots.state, plots.remedy) == ("note", "pip install 'caption-movies[plots]'")

    def test_without_java_scores_are_missing_and_runs_are_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libraries.java_metrics, "missing", lambda: "They need Java. Install it with: pip it")
        (one,) = libraries.java()
        assert (one.state, one.remedy) == ("note", "pip it")

    def test_a_java_that_does_not_start_is_a_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(libraries.java_metrics, "java", lambda: "/no/java")
        (one,) = libraries.java()
        assert (one.state, "could not be started" in one.seen) == ("problem", True)

    def test_a_codec_that_is_missing_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(libraries.SAMPLES, "new", ("h264", "AAAA"))
        good, bad = libraries.codecs()
        assert good.seen.endswith("h264, hevc, av1")
        assert bad.seen == "new cannot be decoded"


class TestMachine:
    def test_a_cpu_build_of_torch_beside_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(machine_checks, "_has_nvidia", lambda: True)
        monkeypatch.setattr(torch.version, "cuda", None)
        (one,) = machine_checks.gpu("auto")
        assert one.state == "problem"
        assert "is a CPU build" in one.seen
        monkeypatch.setattr(machine_checks, "_has_nvidia", lambda: False)
        assert states([*machine_checks.gpu("auto"), *machine_checks.gpu("cuda")]) == ["ok", "problem"]

    @pytest.mark.parametrize("version", [1, 2])
    def test_what_a_container_leaves(self, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "GROUPS", tmp_path)
        monkeypatch.setattr(machine, "OWN", tmp_path / "own")
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if version == 1 else ("memory.max", "memory.current")
        (tmp_path / "own").write_text("3:cpu,cpuacct:/box\n4:memory:/box\n" if version == 1 else "0::/box\n")
        assert machine.group_limit_bytes() is None
        memory = tmp_path / "memory" / "box" if version == 1 else tmp_path / "box"
        memory.mkdir(parents=True)
        (memory / names[0]).write_text("max\n" if version == 2 else f"{2**63 - 4096}\n")
        (memory / names[1]).write_text("1000\n")
        assert machine.group_limit_bytes() is None
        (memory.parent / names[0]).write_text("5000000\n")
        (memory.parent / names[1]).write_text("2000000\n")
        assert machine.memory_bytes() == (5_000_000, 3_000_000)
        (low,) = machine_checks.memory()
        assert (low.state, low.seen) == ("problem", "3.0 MB of 5.0 MB free (the container's limit)")
        quota = tmp_path / "cpu" / "box" if version == 1 else memory
        quota.mkdir(parents=True, exist_ok=True)
        said = (
            {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"}
            if version == 1
            else {"cpu.max": "50000 100000"}
        )
        for name, value in said.items():
            (quota / name).write_text(value)
        assert machine.cores()[1] == 0.5
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        (note,) = machine_checks.processors()
        assert (note.state, note.remedy.split()[:2]) == ("note", ["export", "OMP_NUM_THREADS=1"])

    @pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_without_the_right_to_write(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        (one, _) = machine_checks.disk(str(tmp_path / "store"))
        assert (one.state, "chmod" in one.remedy) == ("problem", True)

    def test_sizes_for_people(self) -> None:
        assert [in_units(size) for size in (0, 999, 1400, 150e6, 2.5e9, 3e12, 4e15)] == [
            "0 bytes", "999 bytes", "1.4 kB", "150 MB", "2.5 GB", "3.0 TB", "4000.0 TB"
        ]  # fmt: skip
