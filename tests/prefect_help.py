"""What a run left in a real Prefect server, read back through its API."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, PREFECT_LOGGING_LEVEL, temporary_settings


@contextmanager
def using_server(environment: Mapping[str, str]) -> Iterator[None]:
    """Flows called in this process run against the server of an environment."""
    updates = {
        PREFECT_API_URL: environment["PREFECT_API_URL"],
        PREFECT_HOME: environment["PREFECT_HOME"],
        PREFECT_LOGGING_LEVEL: "WARNING",
    }
    with temporary_settings(updates=updates):
        yield


class Api:
    """Prefect's API at an address."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.url = environment["PREFECT_API_URL"]

    def ask(self, path: str, **body: Any) -> Any:
        """The answer to a question by POST."""
        return httpx.post(f"{self.url}/{path}", json=body, timeout=60).raise_for_status().json()

    def get(self, path: str) -> Any:
        """The answer to a question by GET."""
        return httpx.get(f"{self.url}/{path}", timeout=60).raise_for_status().json()

    def artifacts(self, flow_run_id: str) -> dict[str, dict[str, Any]]:
        """By key the artifacts of a run."""
        found = self.ask("artifacts/filter", artifacts={"flow_run_id": {"any_": [flow_run_id]}}, limit=200)
        assert len({one["key"] for one in found}) == len(found)
        return {one["key"]: one for one in found}

    def name(self, flow_run_id: str) -> str:
        """Of a flow run."""
        return str(self.get(f"flow_runs/{flow_run_id}")["name"])

    def step_names(self, flow_run_id: str) -> list[str]:
        """Of the task runs of a flow run, sorted."""
        found = self.ask("task_runs/filter", flow_runs={"id": {"any_": [flow_run_id]}}, limit=200)
        return sorted(one["name"] for one in found)
