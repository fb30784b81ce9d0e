"""COCO's objects, panoptic segments or results as detections of frames that stand in the store already: a detector of
your own in place of ours. `caption-movies caption` then captions them; `run` would detect again.

An image is the frame whose picture has its `file_name`, such as <frame_id>.jpg; in a list of results, its `image_id`.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.partial_reads import frame_facts
from storage.store import DETECT, IMPORT
from storage.tables import Detection, Failure
from tasks.errors import ExchangeError, PanopticError
from tasks.frame_index import FrameIndex, NoFrameError
from tasks.imported_movies import CATEGORIES, Importer
from tasks.imports import Options
from tasks.imports.coco import CocoFile, spooled

VERSION = 1
UNNAMED = "frames that the file does not name: nothing is detected in them"
Named = dict[str, tuple[CocoFile, str]]
"""frame_id to the file that names it, and the image's id there."""


@dataclass(frozen=True, kw_only=True)
class _Import:
    """What is hashed of a shard's detections, and of the frames without any because they could not be used."""

    rows: str


def fits(path: Path) -> bool:
    """Never by itself: a file of COCO brings its own pictures, unless --as detections says otherwise."""
    return False


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Write the detections of every shard that the files, taken together, name frames of. Raises ExchangeError."""
    index = FrameIndex.of(importer.store)
    named: Named = {}
    with ExitStack() as open_files:
        for path in map(Path, paths):
            scratch = open_files.enter_context(TemporaryDirectory())
            spool = open_files.enter_context(closing(sqlite3.connect(Path(scratch) / "sorted")))
            _name(CocoFile(path, path.parent, spool, spooled(path, spool), importer, options), index, named)
        for shard in sorted({index.shards[frame_id] for frame_id in named}):
            _write(shard, named, importer)


def _name(file: CocoFile, index: FrameIndex, named: Named) -> None:
    """Add the frames that a file names. Images of no frame are left out and named."""
    for image_id, name in _images(file.spool):
        try:
            frame_id = index.by_picture(name)
        except NoFrameError as error:
            file.importer.brought.leave_out(f"{file.path.name}: image {image_id}", str(error))
            continue
        if frame_id in named:
            other, known = named[frame_id]
            where = f"{file.path} has" if other is file else f"{other.path} and {file.path} have"
            raise ExchangeError(f"{where} two images of frame {frame_id}: {known} and {image_id}.")
        named[frame_id] = file, image_id


def _images(spool: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(id, file name); of a file without images the ids are the names."""
    listed = False
    for image_id, said in spool.execute("select id, said from images order by place"):
        listed = True
        yield image_id, str(json.loads(said).get("file_name", json.loads(image_id)))
    if not listed:
        for (image_id,) in spool.execute("select image from annotations group by image order by min(place)"):
            yield image_id, str(json.loads(image_id))


def _write(shard: str, named: Named, importer: Importer) -> None:
    store, brought = importer.store, importer.brought
    frames = store.ref("frames", shard)
    if frames is None:
        raise ExchangeError(f"the frames of {shard} are gone from {store.location}. Import again.")
    rows: list[Detection] = []
    failures: list[Failure] = []
    for frame in frame_facts(store.files, frames.path):
        brought.frames += 1
        if frame.frame_id not in named:
            brought.notes[UNNAMED] += 1
            continue
        file, image_id = named[frame.frame_id]
        try:
            found = file.objects(image_id, frame.width, frame.height)
        except (ValueError, PanopticError) as error:
            place = f"{file.path.name}: image {image_id}"
            brought.leave_out(place, str(error))
            failures.append(_failure(frame.frame_id, place, error))
            continue
        rows += [replace(one, frame_id=frame.frame_id) for one in found]
    told: list[Detection | Failure] = [*rows, *failures]
    digest = hashlib.sha256(json.dumps([asdict(one) for one in told]).encode()).hexdigest()
    output = store.output(
        [Detection, Failure], stage=IMPORT, shard=shard, version=VERSION, config=_Import(rows=digest),
        inputs=[frames.fingerprint],
    )  # fmt: skip
    if not output.is_current():
        with output.writer() as write:
            write.notes["labels"] = [*CATEGORIES, *sorted({one.label for one in rows} - CATEGORIES.keys())]
            for one in told:
                write(one)
    brought.detections += len(rows)


def _failure(frame_id: str, place: str, error: Exception) -> Failure:
    """Without it the frame would look as if nothing were in it, and captions of it would be checked against that."""
    said = f"{place} has detections that cannot be used: {error}. Correct them, and import again."
    return Failure(frame_id=frame_id, stage=DETECT, error=said)
