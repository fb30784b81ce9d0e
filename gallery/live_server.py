"""The gallery live: the pages of static_site over HTTP on this machine's loopback, made when they are asked for.

The store may be written meanwhile: what is said of a shard is what stands in its files at that moment, and the pages
ask for /data/version.js now and then, which changes with any file of the store. Nobody else's page can read any of it:
only the loopback address is listened on, a request has to name it as its host, and answers are for this origin alone.
"""

import hashlib
import http.server
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

from gallery.data_files import data_script
from gallery.overview import movie_page, overview
from gallery.shard_pages import page_of
from gallery.shard_rows import ShardRows, read_shard
from gallery.shards import Selection, Shard, select_frames
from gallery.static_site import PAGES, media_type, place_of, thumbnail
from storage.errors import CaptionMoviesError, StoreError
from storage.partial_reads import picture_of
from storage.store import Store

HOST = "127.0.0.1"
SHARDS_KEPT = 6
"""Shards whose rows are kept between requests."""
VERSION_DIGITS = 16
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types gallery"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_SHARD = re.compile(r"/data/(shards/([0-9a-f]{12})/([a-z]+(?:-\d{1,9})?))\.js")
_MOVIE = re.compile(r"/data/(movies/(\d{1,9}))\.js")
_PICTURE = re.compile(r"/(pictures|thumbnails)/([0-9a-f]{12})/(\d{1,9})\.jpg")


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int
    content_type: str
    body: bytes


@dataclass
class LiveGallery:
    """Answers requests for paths, over a store as it is now. One request at a time works on it."""

    store: Store
    query: str | None
    _selection: Selection | None = None
    _version: str = ""
    _site: dict[str, Any] = field(default_factory=dict)
    _shards: "OrderedDict[str, ShardRows]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str) -> Answer:
        """The page, data or picture at a path. What the store or the system says against it is an answer too."""
        try:
            with self._lock:
                found = self._page(path) or self._data(path)
            return found or self._picture(path) or _text(404, "There is no such page.")
        except CaptionMoviesError as error:
            return _text(503, str(error))
        except OSError as error:  # such as a file of the store that may not be read
            return _text(500, f"{self.store.location} cannot be read: {error}.")

    def _page(self, path: str) -> Answer | None:
        for page in PAGES.iterdir():
            if path == f"/{place_of(page.name)}" or (path == "/" and page.name == "index.html"):
                kind = TYPES[page.name.rpartition(".")[2]]
                return Answer(200, f"{kind}; charset=utf-8", page.read_bytes())
        return None

    def _data(self, path: str) -> Answer | None:
        if path == "/data/version.js":
            return _script("version", {"version": version_of(self.store)})
        if path == "/data/site.js":
            self._renew()
            return _script("site", self._site)
        if found := _MOVIE.fullmatch(path):
            selection, place = self._renewed(), int(found[2])
            if place < len(self._site["movies"]):
                return _script(found[1], movie_page(selection, self._site["movies"][place]["id"]))
        if found := _SHARD.fullmatch(path):
            selection = self._renewed()
            shard = self._shard(found[2])
            payload = page_of(self._rows(shard), selection.captioners, found[3]) if shard else None
            if payload is not None:
                return _script(found[1], payload)
        return None

    def _picture(self, path: str) -> Answer | None:
        found = _PICTURE.fullmatch(path)
        with self._lock:
            shard = self._shard(found[2]) if found and self._renewed() else None
        if not found or not shard:
            return None
        picture = picture_of(self.store.files, shard.frames_path, int(found[3]))
        if picture is not None and found[1] == "thumbnails":
            picture = thumbnail(picture)
        kind = media_type(picture) if picture is not None else None
        return Answer(200, kind, picture) if picture is not None and kind else None

    def _renewed(self) -> Selection:
        if self._selection is None:
            self._renew()
        assert self._selection is not None
        return self._selection

    def _renew(self) -> None:
        """Look at the store anew, if it has changed. Without a query an empty store will do: it is being filled."""
        version = version_of(self.store)
        if self._selection is not None and version == self._version:
            return
        selection = select_frames(self.store, self.query, may_be_empty=True)
        self._site = overview(selection, version)
        if self._selection is not None:
            self._selection.connection.close()
        self._selection, self._version = selection, version
        self._shards.clear()

    def _shard(self, key: str) -> Shard | None:
        return next((one for one in self._renewed().shards if one.key == key), None)

    def _rows(self, shard: Shard) -> ShardRows:
        if shard.key not in self._shards:
            self._shards[shard.key] = read_shard(shard, self._renewed())
            while len(self._shards) > SHARDS_KEPT:
                self._shards.popitem(last=False)
        self._shards.move_to_end(shard.key)
        return self._shards[shard.key]


def version_of(store: Store) -> str:
    """Digest over the names, sizes and times of a store's files: another one when anything was written."""
    files = store.files
    selector = pafs.FileSelector(files.root, recursive=True, allow_not_found=True)
    found = sorted(
        f"{info.path}\0{info.size}\0{info.mtime_ns}"
        for info in files.filesystem.get_file_info(selector)
        if info.path.endswith(".parquet")
    )
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:VERSION_DIGITS]


def _script(name: str, payload: dict[str, Any]) -> Answer:
    return Answer(200, "text/javascript; charset=utf-8", data_script(name, payload))


def _text(status: int, text: str) -> Answer:
    return Answer(status, "text/plain; charset=utf-8", text.encode())


class LiveServer(http.server.ThreadingHTTPServer):
    """Listens on the loopback address."""

    daemon_threads = True

    def __init__(self, gallery: LiveGallery, port: int) -> None:
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            raise StoreError(f"port {port} cannot be had: {error}. Give another one with --port, or 0.") from error
        self.gallery = gallery

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self.server_port}/"

    def hosts(self) -> set[str]:
        """By what names a browser of this machine may ask."""
        return {f"{name}:{self.server_port}" for name in (HOST, "localhost")}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: LiveServer
    protocol_version = "HTTP/1.1"
    server_version = "caption-movies"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._respond(with_body=True)

    def do_HEAD(self) -> None:
        self._respond(with_body=False)

    def _respond(self, *, with_body: bool) -> None:
        answer = self._answer()
        self.send_response(answer.status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if with_body:
            self.wfile.write(answer.body)

    def _answer(self) -> Answer:
        if self.headers.get("Host", "") not in self.server.hosts():
            return _text(421, "This server answers to its loopback address only.")
        if self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            return _text(403, "No page from elsewhere may read this.")
        return self.server.gallery.answer(self.path.partition("?")[0])

    def handle(self) -> None:
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # the browser has gone on to another page

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are nobody's news."""


def serve(store: Store, query: str | None, port: int, ready: Callable[[str], None]) -> None:
    """Serve until interrupted; `ready` hears the address.

    Raises StoreError where there is no store or the port is taken, and what select_frames raises of the query.
    """
    there = not store.files.is_local or Path(store.files.root).is_dir()
    select_frames(store, query, may_be_empty=there).connection.close()
    with LiveServer(LiveGallery(store, query), port) as server:
        ready(server.address)
        server.serve_forever()
