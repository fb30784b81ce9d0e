"""COCO's objects, panoptic segments or results as detections of frames that stand in the store already: a detector of
your own in place of ours. `caption-movies caption` then captions them; `run` would detect again.

An image is the frame whose picture has its `file_name`, such as <frame_id>.jpg; in a list of results, its `image_id`.
"""

import hashlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq

from storage.store import Store, TableRef, path_of
from storage.tables import Detection
from tasks.errors import ExchangeError, PanopticError
from tasks.frame_index import FrameIndex, NoFrameError
from tasks.imported_movies import CATEGORIES, Importer
from tasks.imports import Options
from tasks.imports.coco import CocoFile, spooled

VERSION = 1
UNNAMED = "frames that the file does not name: nothing is detected in them"


@dataclass(frozen=True, kw_only=True)
class _Import:
    """What is hashed of a shard's detections."""

    rows: str


def fits(path: Path) -> bool:
    """Never by itself: a file of COCO brings its own pictures, unless --as detections says otherwise."""
    return False


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Write the detections of every shard that a file names frames of. Raises ExchangeError where it names none."""
    index = FrameIndex.of(importer.store)
    for path in map(Path, paths):
        with TemporaryDirectory() as scratch, closing(sqlite3.connect(Path(scratch) / "sorted")) as spool:
            file = CocoFile(path, path.parent, spool, spooled(path, spool), importer, options)
            named = _named(file, index)
            by_shard: dict[str, list[str]] = defaultdict(list)
            for frame_id in named:
                by_shard[index.shards[frame_id]].append(frame_id)
            for shard in sorted(by_shard):
                _write(shard, named, file, importer)


def _named(file: CocoFile, index: FrameIndex) -> dict[str, str]:
    """frame_id to image id. Images of no frame are left out and named."""
    named: dict[str, str] = {}
    for image_id, name in _images(file.spool):
        try:
            frame_id = index.by_picture(name)
        except NoFrameError as error:
            file.importer.brought.leave_out(f"{file.path.name}: image {image_id}", str(error))
            continue
        if frame_id in named:
            raise ExchangeError(f"{file.path} has two images of frame {frame_id}: {named[frame_id]} and {image_id}.")
        named[frame_id] = image_id
    return named


def _images(spool: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(id, file name); of a file without images the ids are the names."""
    listed = False
    for image_id, said in spool.execute("select id, said from images order by place"):
        listed = True
        yield image_id, str(json.loads(said).get("file_name", json.loads(image_id)))
    if not listed:
        for (image_id,) in spool.execute("select image from annotations group by image order by min(place)"):
            yield image_id, str(json.loads(image_id))


def _write(shard: str, named: dict[str, str], file: CocoFile, importer: Importer) -> None:
    store, brought = importer.store, importer.brought
    frames = store.ref("frames", shard)
    if frames is None:
        raise ExchangeError(f"the frames of {shard} are gone from {store.location}. Import again.")
    rows: list[Detection] = []
    for frame_id, width, height in _sizes(store, frames):
        brought.frames += 1
        if frame_id not in named:
            brought.notes[UNNAMED] += 1
            continue
        try:
            found = file.objects(named[frame_id], width, height)
        except (ValueError, PanopticError) as error:
            brought.leave_out(f"{file.path.name}: image {named[frame_id]}", str(error))
            continue
        rows += [replace(one, frame_id=frame_id) for one in found]
    digest = hashlib.sha256(json.dumps([asdict(one) for one in rows]).encode()).hexdigest()
    output = store.output(
        [Detection], stage="import", shard=shard, version=VERSION, config=_Import(rows=digest),
        inputs=[frames.fingerprint],
    )  # fmt: skip
    if not output.is_current():
        with output.writer() as write:
            write.notes["labels"] = [*CATEGORIES, *sorted({one.label for one in rows} - CATEGORIES.keys())]
            for one in rows:
                write(one)
    store.files.delete(path_of("failures", shard, stage="detect"))  # what our detector failed on is detected now
    brought.detections += len(rows)


def _sizes(store: Store, frames: TableRef) -> list[tuple[str, int, int]]:
    with store.files.open(frames.path) as source:
        table = pq.read_table(source, columns=["frame_id", "width", "height"])
    return list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
