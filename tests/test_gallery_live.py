"""The gallery live: what it answers, to whom, and what happens on the page while the store is being written."""

import errno
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from browser_help import DESK, Visit, headless_chromium
from gallery_making import GOOD, PLAIN, said_by, write_movie
from playwright.sync_api import expect

from flows.command_line import main
from gallery.live_server import LiveGallery, LiveServer
from gallery.shards import Shard, select_frames
from gallery.static_site import write_site
from storage.files import Files
from storage.store import Store

TEXTS = {"alpha": [GOOD], "beta": [PLAIN]}
KEY = Shard("mabc/00000", 6).key


@contextmanager
def served(store: Store, query: str | None = None) -> Iterator[LiveServer]:
    with LiveServer(LiveGallery(store, query), 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[..., LiveServer]]:
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(served(*arguments))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    write_movie(made, TEXTS, frames=6)
    return made


def test_it_answers_what_the_static_site_holds(store: Store, tmp_path: Path, serve: Callable[..., LiveServer]) -> None:
    server = serve(store)
    write_site(select_frames(store, None), tmp_path / "site")
    names = [one.relative_to(tmp_path / "site") for one in (tmp_path / "site").rglob("*") if one.is_file()]
    with httpx.Client(base_url=server.address) as client:
        for name in names:
            answer = client.get(f"/{name.as_posix()}")
            assert answer.status_code == 200
            if name.as_posix() != "data/site.js":
                assert answer.content == (tmp_path / "site" / name).read_bytes()
        live, still = (said_by(one)[1] for one in (client.get("/data/site.js").content,
                                                   (tmp_path / "site/data/site.js").read_bytes()))  # fmt: skip
        assert live | {"live": False, "version": ""} == still
        assert client.get("/").content == (tmp_path / "site/index.html").read_bytes()
        assert client.head("/").headers["content-length"] == str(len(client.get("/").content))


def test_it_listens_on_loopback_only_and_to_nobody_else(store: Store, serve: Callable[..., LiveServer]) -> None:
    server = serve(store)
    assert server.socket.getsockname()[0] == "127.0.0.1"
    with httpx.Client(base_url=server.address) as client:
        assert client.get("/data/site.js", headers={"Host": "evil.example"}).status_code == 421
        assert client.get("/data/site.js", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        answer = client.get("/data/site.js", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.post("/data/site.js").status_code == 501


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/site/%2e%2e/static_site.py", "/data/movies/99.js", f"/pictures/{KEY}/99.jpg",
        f"/data/shards/{KEY}/frames-9.js", f"/data/shards/{KEY}/rows.js", "/data/shards/000000000000/facets.js",
        "/movies/mabc.parquet", "/site/index.html",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(path: str, store: Store, serve: Callable[..., LiveServer]) -> None:
    server = serve(store)
    connection = httpx.Client(base_url=server.address)
    with connection as client:
        request = client.build_request("GET", "/")
        request.url = request.url.copy_with(raw_path=path.encode())
        assert client.send(request).status_code == 404


def test_what_the_store_lacks_is_an_answer(store: Store, serve: Callable[..., LiveServer]) -> None:
    server = serve(store)
    (Path(store.location) / "frames/movie_id=mabc/00000.parquet").write_bytes(b"not a file of ours")
    answer = httpx.get(f"{server.address}data/site.js")
    assert answer.status_code == 503
    assert "No magic bytes found at end of file" in answer.text
    assert "00000.parquet" in answer.text


def test_what_the_system_refuses_is_an_answer(
    store: Store, serve: Callable[..., LiveServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(store)
    with httpx.Client(base_url=server.address) as client:
        assert client.get(f"/pictures/{KEY}/0.jpg").status_code == 200

        def refuse(files: Files, path: str) -> pa.NativeFile:
            raise PermissionError(errno.EACCES, "Permission denied", files.full(path))

        with monkeypatch.context() as patch:  # root, who runs tests too, may read anything
            patch.setattr(Files, "open", refuse)
            answer = client.get(f"/pictures/{KEY}/0.jpg")
        assert answer.status_code == 500
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert f"{store.location} cannot be read: [Errno 13] Permission denied: " in answer.text
        assert "00000.parquet" in answer.text
        assert client.get(f"/pictures/{KEY}/0.jpg").status_code == 200, "the connection is as it was"


def test_a_query_is_asked_again_as_the_store_grows(store: Store, serve: Callable[..., LiveServer]) -> None:
    server = serve(store, "select frame_id from frames where frame_index = 2")
    with httpx.Client(base_url=server.address) as client:
        before = said_by(client.get("/data/site.js").content)[1]
        write_movie(store, TEXTS, movie_id="mdef", frames=6)
        after = said_by(client.get("/data/site.js").content)[1]
    assert [len(said["movies"]) for said in (before, after)] == [1, 2]
    assert [shard[2:] for shard in after["shards"]] == [[1, 2], [1, 2]]


def test_the_page_follows_a_store_that_is_being_written(tmp_path: Path, serve: Callable[..., LiveServer]) -> None:
    store = Store(str(tmp_path / "empty"))
    Path(store.location).mkdir()
    server = serve(store)
    with headless_chromium() as (browser, _):
        visit = Visit(browser.new_context(**DESK).new_page(), server.address)
        page = visit.see("view=movies")
        expect(page.get_by_role("status")).to_have_text("0 movies, 0 frames, 0 captioners.")
        expect(page.get_by_label("Follow the store")).to_be_checked()
        write_movie(store, TEXTS, frames=6)
        expect(page.get_by_role("status")).to_have_text("1 movie, 6 frames, 2 captioners.", timeout=30_000)
        visit.see("view=frame&frame=mabc_000002")
        write_movie(store, TEXTS, movie_id="mdef", frames=6)
        page.get_by_role("button", name="Show what is new").click(timeout=30_000)
        expect(page.locator(".frame-head .pager")).to_contain_text("3 of 12")
        assert visit.errors == []
        assert all(request.startswith(server.address) for request in visit.requests)


def test_the_command_says_where_it_is_and_refuses_a_port_in_use(
    store: Store, serve: Callable[..., LiveServer], capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(serve(store).server_port)
    assert main(["serve", "--store", store.location, "--port", port]) == 1
    assert "Give another one with --port" in capsys.readouterr().err
    assert main(["serve", "--store", f"{store.location}-not-there", "--port", "0"]) == 1
    assert re.search("holds no tables", capsys.readouterr().err)
