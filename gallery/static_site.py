"""A store as a static site in a folder: pages that open from disk, without server and network.

    index.html, site/                     the pages, the same for every store
    data/site.js                          the store as a whole
    data/movies/<movie's place>.js        shots of a movie
    data/shards/<key>/                    what to filter by, scores, frames and masks of a shard, in pieces
    pictures/<key>/, thumbnails/<key>/    by place in the shard

Made beside its place and put there in one go. The same store gives the same bytes. Memory: one shard.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import PIL.Image

from gallery.data_files import data_script
from gallery.overview import movie_page, overview
from gallery.shard_pages import pages_of
from gallery.shard_rows import ShardRows, read_shard
from gallery.shards import Selection
from storage.errors import StoreError
from storage.store import Store, TableRef
from storage.tables import Frame
from storage.whole_output import appearing

THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 320, 240
THUMBNAIL_QUALITY = 80
SMALL_PICTURE_BYTES = 24_000
"""A picture of no more bytes is its own thumbnail."""
MEDIA_TYPES = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png", b"RIFF": "image/webp"}
"""How the pictures begin that are shown. All are called .jpg, as nearly all are: browsers look at the bytes."""
PAGES = resources.files("gallery").joinpath("site")
PARTS = {"index.html", "site", "data"}
"""What every gallery holds, by which it is known as one."""
PICTURES_AT_ONCE = 16


@dataclass(frozen=True)
class Made:
    """What stands in the folder now."""

    frames: int
    movies: int
    without_picture: int


def write_site(selection: Selection, folder: Path, tell: Callable[[int, int], None] = lambda done, of: None) -> Made:
    """Make the site of a selection in a folder that is new, empty, or holds a gallery, which is replaced.

    `tell` hears after every shard how many frames are done, and of how many. Raises StoreError where the folder holds
    something else or cannot be written, or where there is nothing to show.
    """
    if not selection.shards:
        raise StoreError(
            f"{selection.store.location} has no frames to show" + (" that the query gives." if selection.query else ".")
        )
    with appearing(folder, folder=True, force=True, is_own=_is_gallery) as draft:
        return _write(selection, draft, tell)


def _is_gallery(folder: Path) -> bool:
    return {one.name for one in folder.iterdir()} >= PARTS


def _write(selection: Selection, folder: Path, tell: Callable[[int, int], None]) -> Made:
    for page in PAGES.iterdir():
        _write_bytes(folder / place_of(page.name), page.read_bytes())
    said = overview(selection)
    _write_bytes(folder / "data/site.js", data_script("site", said))
    for place, movie in enumerate(said["movies"]):
        if movie["frames"]:
            name = f"movies/{place}"
            _write_bytes(folder / f"data/{name}.js", data_script(name, movie_page(selection, movie["id"])))
    done = without = 0
    total = sum(shard.frames for shard in selection.shards)
    for shard in selection.shards:
        rows = read_shard(shard, selection)
        for page_name, payload in pages_of(rows, selection.captioners):
            name = f"shards/{shard.key}/{page_name}"
            _write_bytes(folder / f"data/{name}.js", data_script(name, payload))
        without += _write_pictures(rows, selection.store, folder)
        done += shard.frames
        tell(done, total)
    return Made(total, len(said["movies"]), without)


def place_of(page: str) -> str:
    """Where a page of the site lies in the folder, by its name."""
    return page if page.endswith(".html") else f"site/{page}"


def _write_pictures(rows: ShardRows, store: Store, folder: Path) -> int:
    """Pictures and thumbnails of a shard; how many frames have none that can be shown."""
    without = 0
    ref = TableRef("frames", rows.shard.name, rows.shard.frames_path, 0, "")
    shown = set(rows.positions)
    for position, frame in enumerate(store.read(ref, Frame, batch_size=PICTURES_AT_ONCE)):
        if position in shown:
            place = f"{rows.shard.key}/{position}.jpg"
            picture = frame.image.bytes
            small = thumbnail(picture)
            without += small is None
            if small is not None:
                _write_bytes(folder / f"pictures/{place}", picture)
                _write_bytes(folder / f"thumbnails/{place}", small)
    return without


def media_type(picture: bytes) -> str | None:
    """What a picture is, by its first bytes; None of what is not shown."""
    return next((name for start, name in MEDIA_TYPES.items() if picture.startswith(start)), None)


def thumbnail(picture: bytes) -> bytes | None:
    """A picture as a small JPEG, or itself when it is small already; None where it cannot be shown."""
    if media_type(picture) is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(picture)) as opened:
                opened.draft("RGB", (THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT))
                small = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        return None
    if len(picture) <= SMALL_PICTURE_BYTES:
        return picture
    small.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return buffer.getvalue()


def _write_bytes(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
