"""Which Prefect server a run on this machine talks to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.choose_server import DATABASE, _hold, _kill_orphans, prefect_server
from tasks.errors import TransientError


def test_two_runs_never_share_a_database(tmp_path: Path) -> None:
    assert _hold(tmp_path / "0.db")
    assert not _hold(tmp_path / "0.db")
    assert _hold(tmp_path / "1.db")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux tells the environment of a process")
def test_the_server_of_a_killed_run_is_killed_by_the_next_run_on_its_database() -> None:
    def server(**environment: str) -> "subprocess.Popen[bytes]":
        program = "import time; print(flush=True); time.sleep(600)"
        command = [sys.executable, "-c", program]
        return subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.PIPE)

    left = server(**{DATABASE: "sqlite:///mine", "PREFECT__SERVER_EPHEMERAL": "1"})
    others = [
        server(**{DATABASE: "sqlite:///yours", "PREFECT__SERVER_EPHEMERAL": "1"}),
        server(**{DATABASE: "sqlite:///mine"}),  # brought up by hand
    ]
    try:
        for one in (left, *others):
            assert one.stdout
            assert one.stdout.readline()  # it has its environment now
        _kill_orphans("sqlite:///mine")
        assert left.wait(60) == -signal.SIGKILL
        assert [one.poll() for one in others] == [None, None]
    finally:
        for one in (left, *others):
            one.kill()
            one.communicate()


@pytest.mark.usefixtures("on_server")
def test_a_server_that_comes_up_too_slowly_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(**_: object) -> None:
        raise httpx.ReadTimeout("timed out")

    monkeypatch.setattr("flows.choose_server.get_client", slow)
    with pytest.raises(TransientError, match="timed out"), prefect_server():
        pass


@pytest.mark.usefixtures("on_server")
def test_a_server_that_is_there_is_used() -> None:
    with prefect_server():
        assert PREFECT_API_URL.value()


def test_a_server_that_does_not_answer_is_an_error_with_the_remedy() -> None:
    with (
        temporary_settings(updates={PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(TransientError, match=r"127\.0\.0\.1:9/api does not answer.*unset PREFECT_API_URL"),
        prefect_server(),
    ):
        pass
