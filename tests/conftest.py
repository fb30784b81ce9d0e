"""What tests share: the small checkpoints, real clips, one real Prefect server for the whole run."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks.machine import whole_cores

REPOSITORY = Path(__file__).parents[1]
CLIPS = REPOSITORY / "tests" / "data" / "videos"
SERVER_START_SECONDS = 280
LONGEST = (
    "test_flow", "test_docs_blocks", "test_deployment", "test_mended_flow", "test_training_run", "test_score_flow",
    "test_train_flow", "test_training_processes", "test_prefect_artifacts", "test_metrics", "test_plots",
    "test_tags", "test_toyworld_captioner", "test_checkpoints", "test_publishing", "test_toyworld_report",
    "test_continuous_batching", "test_imports",
)  # fmt: skip
"""Files of tests that take half a minute and more, the longest first."""

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before any import of a hub client: tests never go out
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")


def pytest_configure() -> None:
    """Not when tests are collected: with several workers the message would be lost in theirs."""
    gone = [name for name in LONGEST if not (REPOSITORY / "tests" / f"{name}.py").exists()]
    if gone:  # a file under a new name would be taken up last, and nobody would notice
        raise pytest.UsageError(f"LONGEST in tests/conftest.py names files that are not there: {', '.join(gone)}.")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests wait for servers, and for processes that they started, a good part of their time."""
    return whole_cores() + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: a worker that comes to one of them last keeps the others waiting for minutes."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `detector` and `captioner`: random weights, real classes, the hub's file layout."""
    from toyworld.make_checkpoints import make_checkpoints

    folder = tmp_path_factory.mktemp("checkpoints")
    make_checkpoints(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Pixtral that adapters are made for."""
    from toyworld.tiny_captioner import build_tiny_captioner

    return build_tiny_captioner(tmp_path_factory.mktemp("tiny") / "base")


@pytest.fixture(scope="session")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of its text model."""
    from adapter_making import TEXT_MODEL, save_pixtral_adapter

    return save_pixtral_adapter(base, tmp_path_factory.mktemp("adapter") / "lora", TEXT_MODEL)


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., tuple[str, Any]]]:
    """Start servers of small captioners in threads of this process; see benchmarks.caption_server.served."""
    from benchmarks.caption_server import served

    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(served(*arguments))


@pytest.fixture
def start() -> Iterator[Callable[..., Any]]:
    """Start servers that behave as they are told; see tests/hostile_server.py."""
    from hostile_server import hostile

    with ExitStack() as stack:
        yield lambda behave: stack.enter_context(hostile(behave))


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries that are over at once, and no key in the environment."""
    from server_asking import KEY

    from tasks import chat_server

    monkeypatch.setattr(chat_server, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture(scope="session")
def prefect_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment that points at a real Prefect server (SQLite, loopback), started once for the whole run."""
    home = tmp_path_factory.mktemp("prefect")
    port = _free_port()
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",  # nobody looks at it here, and every start would copy its files
    }
    log = (home / "server.log").open("w")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=home)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/health", server, home / "server.log")
        yield environment
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + SERVER_START_SECONDS
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail(f"the Prefect server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture
def on_server(prefect_environment: dict[str, str]) -> Iterator[None]:
    """Flows called in this process run against the real server."""
    from prefect_help import using_server

    with using_server(prefect_environment):
        yield


@pytest.fixture(scope="session")
def gallery_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """See gallery_making.small_store."""
    from gallery_making import small_store

    return small_store(tmp_path_factory.mktemp("gallery") / "store")


@pytest.fixture(scope="session")
def gallery_site(gallery_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gallery of that store, in a folder whose name has to be escaped in addresses."""
    from gallery.shards import select_frames
    from gallery.static_site import write_site

    folder = tmp_path_factory.mktemp("gallery") / "a site & more"
    write_site(select_frames(gallery_store, None), folder)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[tuple[Any, dict[str, Any]]]:
    """A headless Chromium and the devices it can play; see browser_help.headless_chromium."""
    from browser_help import headless_chromium

    with headless_chromium() as found:
        yield found


@pytest.fixture
def visit(chromium: tuple[Any, dict[str, Any]], gallery_site: Path) -> Iterator[Callable[..., Any]]:
    """Open the gallery; at the end nothing may have gone wrong, nor anything been asked for outside its folder."""
    from browser_help import DESK, Visit

    browser, devices = chromium
    opened = []

    def begin(folder: Path = gallery_site, *, device: str | None = None, **options: Any) -> Visit:
        context = browser.new_context(**((devices[device] if device else DESK) | options))
        opened.append((context, folder, Visit(context.new_page(), (folder / "index.html").as_uri())))
        return opened[-1][2]

    yield begin
    for context, folder, one in opened:
        context.close()
        assert one.errors == []
        assert all(request.startswith(f"{folder.as_uri()}/") for request in one.requests)
