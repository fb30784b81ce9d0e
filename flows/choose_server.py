"""Which Prefect server a run on this machine talks to."""

import atexit
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from contextvars import copy_context
from functools import cache
from itertools import count
from pathlib import Path

from httpx import HTTPError
from prefect.client.orchestration import get_client
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_HOME,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    get_current_settings,
    temporary_settings,
)

from flows.stop_gently import kill_server
from tasks.errors import TransientError

DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"


@contextmanager
def prefect_server() -> Iterator[None]:
    """The server that PREFECT_API_URL names; without one, a small one of this process, on a database of its own.

    Of its own, because in PREFECT_HOME/prefect.db it would wait for the locks of every other server of the same home,
    and SQLite's patience ends in errors. It is killed at the end of the process: asked to end while it still stores
    events, it prints tracebacks of SQLAlchemy after the last lines of the run. Raises TransientError when the server
    does not answer.
    """
    own = PREFECT_API_URL.value() is None
    told = DATABASE in get_current_settings().to_environment_variables(exclude_unset=True)
    updates = {PREFECT_SERVER_DATABASE_CONNECTION_URL: _database()} if own and not told else {}
    with temporary_settings(updates=updates) if updates else nullcontext():
        if error := _reach():
            raise TransientError(_remedy(PREFECT_API_URL.value(), error)) from error
        if own:
            atexit.register(kill_server)  # it runs before Prefect's own handler, which asks the server to end itself
        yield


def _remedy(url: str | None, error: Exception) -> str:
    if url is None:
        return f"Prefect did not bring its server up: {error}. Run again; with --verbose it says more."
    return (
        f"the Prefect server at {url} does not answer: {error}. Start it (prefect server start), or run without it: "
        "unset PREFECT_API_URL, in Prefect's profile too (prefect config unset PREFECT_API_URL)."
    )


@cache
def _database() -> str:
    """URL of the first database that no other run of this home holds; this process holds it to its end.

    Not a new one for every run: to make its tables takes seconds.
    """
    folder = Path(PREFECT_HOME.value())
    folder.mkdir(parents=True, exist_ok=True)
    free = next(path for number in count() if _hold(path := folder / f"caption-movies-{number}.db"))
    url = f"sqlite+aiosqlite:///{free}"
    _kill_orphans(url)
    return url


def _hold(path: Path) -> bool:
    """Whether no other process holds it; then this one does. The system lets go of it when the process ends."""
    lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def _kill_orphans(url: str) -> None:
    """Kill the server that a killed run left behind on this database. Only Linux tells who it is."""
    signs = {f"{DATABASE}={url}".encode(), b"PREFECT__SERVER_EPHEMERAL=1"}
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if signs <= set(environment.read_bytes().split(b"\0")):
                os.kill(int(environment.parent.name), signal.SIGKILL)


def _reach() -> Exception | None:
    """Bring the server up where it is ours, and ask whether it answers.

    In a thread that takes no Ctrl-C: the server inherits that, and a terminal sends Ctrl-C to it too. It has to outlive
    this process, which stops it.
    """
    said: list[Exception | None] = []

    def ask() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with get_client(sync_client=True) as client:
                said.append(client.api_healthcheck())
        except (HTTPError, RuntimeError, ValueError, OSError) as error:
            said.append(error)

    thread = threading.Thread(target=copy_context().run, args=(ask,), daemon=True)
    thread.start()
    thread.join()
    return said[0] if said else RuntimeError("it ended before it was up")
