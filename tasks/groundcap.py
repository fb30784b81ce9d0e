"""GroundCap's dataset -> movies, frames, detections and references: so that captions can be made from its detections.

The Parquet files of `daniel3303/GroundCap`: a row per caption with `id` (its first field, before `_`, is the movie),
`image`, `detections` (label, id within the label, score, box as fractions), `caption`, `human_annotated`. Rows of one
movie with the same picture and detections are one frame with several references.
"""

import hashlib
import io
import json
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from storage.store import Store, path_of
from storage.tables import Box, Detection, Frame, Image, Movie, Shot
from tasks import tags
from tasks.coco_panoptic import LABELS, THINGS
from tasks.errors import ConfigError, ReferencesError
from tasks.frame_work import UNREADABLE
from tasks.given_files import cannot_open
from tasks.movie_rows import delete_shards
from tasks.object_naming import clean_label
from tasks.reference_files import Bad
from tasks.references import write_references

VERSION = 1
COLUMNS = ("id", "image", "detections", "caption", "human_annotated")
SHARD_FRAMES = 192
ROWS_AT_ONCE = 64
"""They carry pictures."""
HUMAN, AUTOMATIC = "human", "automatic"
"""Sources of references, by `human_annotated`."""
SLACK = 0.01
"""How far a box may reach beyond the picture: single precision, and boxes rounded to pixels."""
CATEGORIES = {clean_label(label): number for number, label in enumerate(LABELS)}
OTHER = -1
"""Category id of a label that is none of COCO's."""


@dataclass(frozen=True, kw_only=True)
class _Import:
    """What is hashed of an import."""

    name: str
    rows: str
    """sha256 of the shard's rows."""


@dataclass
class Brought:
    """What an import brought, and what it left out."""

    movies: int = 0
    frames: int = 0
    detections: int = 0
    references: Counter[str] = field(default_factory=Counter)
    """By source."""
    left_out: list[Bad] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    """One row that can be used."""

    row_id: str
    picture: bytes
    width: int
    height: int
    detections: list[dict[str, Any]]
    caption: str
    source: str

    @property
    def digest(self) -> str:
        """Of picture and detections: what makes rows one frame."""
        told = json.dumps(self.detections, sort_keys=True).encode()
        return hashlib.sha256(hashlib.sha256(self.picture).digest() + told).hexdigest()


def import_groundcap(paths: Sequence[str], store: Store, name: str = "groundcap") -> Brought:
    """Bring the rows of Parquet files, given together, into a store. Movies are called `<name>_<movie of the dataset>`.

    What stands there already is not written again. A row that cannot be used is left out and named, with its column. A
    movie that stands there with other rows is replaced; so give all files of the movies at once, or another `name`.
    Needs room for the files once more in the temporary folder. Raises ReferencesError for files that are not of the
    dataset or hold no row that can be used, ConfigError for a `name` that is none.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        raise ConfigError(f"name is {name!r}; it has to be letters and digits, a letter first.")
    brought = Brought()
    with tempfile.TemporaryDirectory() as scratch:
        parts = _by_movie([Path(path) for path in paths], Path(scratch), brought.left_out)
        for movie in sorted(parts):
            _bring(f"{name}_{movie}", f"{name} {movie}", parts[movie], store, name, brought)
    if not brought.frames:
        first = brought.left_out[0] if brought.left_out else Bad("no row", "the files are empty")
        raise ReferencesError(f"no row of {', '.join(paths)} can be used, the first: {first.place}: {first.why}.")
    return brought


def _by_movie(paths: Sequence[Path], scratch: Path, left_out: list[Bad]) -> dict[str, Path]:
    """The rows, sorted into a file per movie, in their order, each with its place. Memory: a few rows per movie."""
    parts: dict[str, pq.ParquetWriter] = {}
    try:
        for path in paths:
            for first, batch in _batches(path):
                wanted: dict[str, list[int]] = defaultdict(list)
                for number, row_id in enumerate(batch["id"].to_pylist()):
                    movie, found, _ = (row_id or "").partition("_")
                    if found and re.fullmatch(r"\w+", movie, re.ASCII):
                        wanted[movie].append(number)
                    else:
                        why = f"column id is {row_id!r}, not <movie>_<rest> with a movie of letters and digits"
                        left_out.append(Bad(f"{path.name} row {first + number}", why))
                for movie, numbers in wanted.items():
                    if movie not in parts:
                        parts[movie] = pq.ParquetWriter(str(scratch / f"{movie}.parquet"), batch.schema)
                    parts[movie].write_batch(batch.take(numbers))
    finally:
        for one in parts.values():
            one.close()
    return {movie: scratch / f"{movie}.parquet" for movie in parts}


def _batches(path: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the first row, from 1; rows with a column `place`). Raises ReferencesError."""
    first = 1
    try:
        with pq.ParquetFile(path) as file:
            if lacking := [name for name in COLUMNS if name not in file.schema_arrow.names]:
                raise ReferencesError(
                    f"{path} has no column {', '.join(lacking)}; GroundCap's files have {', '.join(COLUMNS)}. "
                    "Plain captions go in with: caption-movies references"
                )
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=list(COLUMNS)):
                places = [f"{path.name} row {first + number}" for number in range(len(batch))]
                plain = batch.select(COLUMNS).append_column("place", pa.array(places))
                yield first, plain.replace_schema_metadata(None)
                first += len(batch)
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and (error.errno or path.is_dir()):  # Parquet's own errors have no number
            raise ReferencesError(cannot_open(path, error)) from error
        raise ReferencesError(f"{path} is not Parquet, or damaged: {error}. Fetch it again.") from error


def _bring(movie_id: str, title: str, part: Path, store: Store, name: str, brought: Brought) -> None:
    """One movie: its shards, its references, its row last."""
    known: dict[str, str] = {}
    references: dict[str, list[tuple[str, str]]] = defaultdict(list)
    waiting: list[tuple[str, _Row]] = []
    shards: list[str] = []
    size = 0
    for row in _rows(part, brought.left_out):
        digest = row.digest
        if digest not in known:
            if len(waiting) == SHARD_FRAMES:
                shards.append(_write_shard(movie_id, len(shards), waiting, None, store, name, brought))
                waiting = []
            known[digest] = f"{movie_id}_{len(known):06d}"
            waiting.append((known[digest], row))
            size += len(row.picture)
        references[row.source].append((known[digest], row.caption))
    if not waiting:
        return
    shot = Shot(movie_id=movie_id, shot_index=0, start_seconds=0.0, end_seconds=0.0, frames=len(known))
    shards.append(_write_shard(movie_id, len(shards), waiting, shot, store, name, brought))
    delete_shards(movie_id, len(shards), store)
    for source in (HUMAN, AUTOMATIC):
        if told := references.get(source):
            brought.references[source] += write_references(movie_id, told, store, source).rows
        else:
            store.files.delete(path_of("references", f"{movie_id}/{source}"))
    _write_movie(movie_id, title, shards, len(known), size, waiting[-1][1], store, name)
    brought.movies += 1
    brought.frames += len(known)


def _rows(part: Path, left_out: list[Bad]) -> Iterator[_Row]:
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            for said in batch.to_pylist():
                try:
                    yield _row(said)
                except ValueError as error:
                    left_out.append(Bad(f"{said['place']} (id {said['id']})", str(error)))


def _row(said: Mapping[str, Any]) -> _Row:
    """Raises ValueError with the column and what is wrong in it."""
    picture = (said["image"] or {}).get("bytes") if isinstance(said["image"], Mapping | None) else None
    if not picture:
        raise ValueError("column image has no bytes; fetch the dataset with its pictures")
    try:
        with Pillow.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
    except UNREADABLE as error:
        raise ValueError(f"column image is no picture ({error})") from error
    caption = said["caption"]
    if not caption or not any(map(str.isalnum, tags.strip(caption))):
        raise ValueError("column caption is empty or without words")
    if said["human_annotated"] is None:
        raise ValueError("column human_annotated is null")
    found = [_object(one, number) for number, one in enumerate(said["detections"] or [])]
    if twice := [one for one, number in Counter(each["object_id"] for each in found).items() if number > 1]:
        raise ValueError(f"column detections has {twice[0]} twice")
    source = HUMAN if said["human_annotated"] else AUTOMATIC
    return _Row(said["id"], picture, width, height, found, caption, source)


def _object(said: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One detection. The id is the dataset's own, which its captions cite: label, blanks as dashes, and number."""
    where = f"column detections[{number}]"
    try:
        label = re.sub(r"[\s_]+", "-", said["label"]).lower()
        box = {side: float(said["box"][side]) for side in "xywh"}
        numbers = {"id": int(said["id"]), "score": float(said["score"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} lacks label, id, score or a side of box ({error!r})") from error
    if not re.fullmatch(r"[\w-]+", label) or numbers["id"] < 0:
        raise ValueError(f"{where} is called {label!r} {numbers['id']}, which no tag can cite")
    inside = box["x"] >= -SLACK and box["y"] >= -SLACK and box["w"] >= 0 and box["h"] >= 0
    if not inside or box["x"] + box["w"] > 1 + SLACK or box["y"] + box["h"] > 1 + SLACK:
        raise ValueError(f"{where}.box is {box}, no fractions of the picture; divide pixels by its width and height")
    if not 0 <= numbers["score"] <= 1:
        raise ValueError(f"{where}.score is {numbers['score']}, not 0 to 1")
    return {"object_id": f"{label}-{numbers['id']}", "label": label, "score": numbers["score"], "box": box}


def _write_shard(
    movie_id: str,
    number: int,
    rows: Sequence[tuple[str, _Row]],
    shot: Shot | None,
    store: Store,
    name: str,
    brought: Brought,
) -> str:
    """Frames and detections of one shard, and the movie's one shot with its last; the digest of what they hold."""
    shard = f"{movie_id}/{number:05d}"
    told = [[frame_id, row.row_id, row.digest] for frame_id, row in rows], shot.frames if shot else 0
    config = _Import(name=name, rows=hashlib.sha256(json.dumps(told).encode()).hexdigest())
    frames = store.output([Frame, Shot], stage="import", shard=shard, version=VERSION, config=config)
    if not frames.is_current():
        with frames.writer() as write:
            for frame_id, row in rows:
                write(_frame(frame_id, movie_id, row))
            if shot:
                write(shot)
    detections = store.output(
        [Detection], stage="import", shard=shard, version=VERSION, config=config, inputs=[frames.fingerprint]
    )
    if not detections.is_current():
        with detections.writer() as write:
            seen = {one["label"] for _, row in rows for one in row.detections}
            write.notes["labels"] = [*CATEGORIES, *sorted(seen - CATEGORIES.keys())]
            for frame_id, row in rows:
                for one in _detections(frame_id, row):
                    write(one)
    brought.detections += detections.ref.rows
    return config.rows


def _frame(frame_id: str, movie_id: str, row: _Row) -> Frame:
    kind = "png" if row.picture.startswith(b"\x89PNG") else "jpg"
    return Frame(
        frame_id=frame_id,
        movie_id=movie_id,
        shot_index=0,
        frame_index=int(frame_id.rpartition("_")[2]),
        pts_seconds=0.0,
        width=row.width,
        height=row.height,
        image=Image(bytes=row.picture, path=f"{row.row_id}.{kind}"),
    )


def _detections(frame_id: str, row: _Row) -> Iterator[Detection]:
    for number, one in enumerate(row.detections):
        category = CATEGORIES.get(clean_label(one["label"]), OTHER)
        yield Detection(
            frame_id=frame_id,
            object_id=one["object_id"],
            object_index=number,
            segment_id=number + 1,
            label=one["label"],
            category_id=category,
            is_thing=0 <= category < len(THINGS),
            score=one["score"],
            box=Box(**one["box"]),
            area=one["box"]["w"] * one["box"]["h"],
            mask=None,
            mask_width=0,
            mask_height=0,
        )


def _write_movie(
    movie_id: str, title: str, shards: Sequence[str], frames: int, size: int, last: _Row, store: Store, name: str
) -> None:
    sha256 = hashlib.sha256(json.dumps(shards).encode()).hexdigest()
    config = _Import(name=name, rows=sha256)
    output = store.output([Movie], stage="import", shard=movie_id, version=VERSION, config=config)
    if output.is_current():
        return
    with output.writer() as write:
        write(
            Movie(
                movie_id=movie_id,
                title=title,
                path=title,
                other_paths=[],
                sha256=sha256,
                size_bytes=size,
                width=last.width,
                height=last.height,
                codec="",
                frame_rate=None,
                duration_seconds=None,
                decoded_frames=frames,
                damaged_frames=0,
                status="ok",
                error=None,
            )
        )
