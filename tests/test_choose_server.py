"""Which Prefect server a run on this machine talks to."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.choose_server import _hold, prefect_server
from tasks.errors import TransientError


def test_two_runs_never_share_a_database(tmp_path: Path) -> None:
    assert _hold(tmp_path / "0.db")
    assert not _hold(tmp_path / "0.db")
    assert _hold(tmp_path / "1.db")


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
