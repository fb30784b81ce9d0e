"""Files of reference captions, row by row: JSON Lines, CSV, Parquet, and COCO's captions in JSON. Only reads."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks import tags
from tasks.errors import ReferencesError
from tasks.frame_index import FrameIndex, seconds_of
from tasks.given_files import cannot_open

TEXT_COLUMNS = ("caption", "text", "reference")
"""Names the text may stand under; the first one there is taken."""
IMAGE_COLUMNS = ("image", "file_name", "image_id")
TIME_COLUMNS = ("seconds", "time", "pts_seconds")
FRAME_COLUMNS = ("frame_id", "movie", *TIME_COLUMNS, *IMAGE_COLUMNS)
NO_FRAME = "no frame_id, no image, and no movie with a time"


@dataclass(frozen=True, slots=True)
class Told:
    """One reference caption and the frame that it says it is of."""

    place: str
    """Where it stands in the file: line, row or annotation, from 1."""
    text: str
    frame_id: str | None = None
    image: str | None = None
    movie: str | None = None
    seconds: float | None = None

    def find(self, index: FrameIndex) -> str:
        """The frame's id in a store. Raises NoFrameError."""
        if self.frame_id is not None:
            return index.by_id(self.frame_id, self.seconds)
        if self.movie is not None and self.seconds is not None:
            return index.at(self.movie, self.seconds)
        return index.by_picture(self.image or "")


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that cannot be used, and why: with its column."""

    place: str
    why: str


def read_file(path: Path) -> Iterator[Told | Bad]:
    """Every reference caption of a file, and every row that cannot be used. Raises ReferencesError for no such file."""
    readers = {".jsonl": _lines, ".ndjson": _lines, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if (reader := readers.get(path.suffix.lower())) is None:
        raise ReferencesError(
            f"{path} ends in none of {', '.join(readers)}, so its format is not known. Rename it, or give a store."
        )
    try:
        for place, row in reader(path):
            yield from _told(place, row)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and (error.errno or path.is_dir()):  # Parquet's own errors have no number
            raise ReferencesError(cannot_open(path, error)) from error
        remedy = "Write it as UTF-8." if isinstance(error, UnicodeDecodeError) else "It is damaged: get it anew."
        raise ReferencesError(f"{path} cannot be read: {error}. {remedy}") from error


def _told(place: str, row: Any) -> list[Told | Bad]:
    """All captions of one row, or what is wrong with it: then none of them is taken."""
    try:
        if isinstance(row, ValueError):
            raise row
        if not isinstance(row, Mapping):
            raise ValueError("not an object with frame_id and caption")
        frame = _frame(row)
        return [Told(place, text, **frame) for text in _captions(row)]
    except ValueError as error:
        return [Bad(place, str(error))]


def _frame(row: Mapping[str, Any]) -> dict[str, Any]:
    """Which frame a row means, by the columns that it has a value in."""
    given = {name: row[name] for name in FRAME_COLUMNS if row.get(name) not in (None, "")}
    if "frame_id" in given:
        return {"frame_id": _text(given, "frame_id")}
    if "movie" in given:
        if (column := next((name for name in TIME_COLUMNS if name in given), None)) is None:
            raise ValueError(f"column movie without a time: fill one of {', '.join(TIME_COLUMNS)}")
        try:
            return {"movie": _text(given, "movie"), "seconds": seconds_of(given[column])}
        except ValueError as error:
            raise ValueError(f"column {column}: {error}") from error
    if (column := next((name for name in IMAGE_COLUMNS if name in given), None)) is not None:
        return {"image": str(given[column]) if type(given[column]) is int else _text(given, column)}
    raise ValueError(f"{NO_FRAME}: fill column frame_id, image, or movie and {' or '.join(TIME_COLUMNS)}")


def _text(row: Mapping[str, Any], column: str) -> str:
    if not isinstance(row[column], str):
        raise ValueError(f"no {column}: column {column} is {type(row[column]).__name__}, no text")
    return str(row[column])


def _captions(row: Mapping[str, Any]) -> list[str]:
    column = next((name for name in TEXT_COLUMNS if name in row), None)
    if column is None:
        raise ValueError(f"no column {' or '.join(TEXT_COLUMNS)}")
    found = row[column]
    texts = found if isinstance(found, list) and found else [found]
    return [caption_text(text, column) for text in texts]


def caption_text(found: object, where: str) -> str:
    """A caption that can be used, as it is. Raises ValueError, which says `where`, for what is none."""
    if not isinstance(found, str) or not any(map(str.isalnum, tags.strip(found))):
        raise ValueError(f"{where} is empty, without words or no text")
    if any("\ud800" <= character <= "\udfff" for character in found):
        raise ValueError(f"{where} holds half a character (a lone surrogate), which is no text")
    return found


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    """COCO's captions, a list of rows, or else JSON Lines."""
    try:
        said = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, list):
        yield from ((f"row {number}", row) for number, row in enumerate(said, 1))
    elif isinstance(said, dict) and isinstance(said.get("annotations"), list):
        yield from _coco(said)
    else:
        yield from _lines(path)


def _coco(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Annotations with their image's file name, by which frames go; without `images`, by the image id itself."""
    listed = said.get("images")
    images = {
        one["id"]: one.get("file_name")
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, Mapping) and isinstance(one.get("id"), int | str)
    }
    for number, row in enumerate(said["annotations"], 1):
        if not isinstance(row, Mapping):
            yield f"annotation {number}", row
            continue
        place = f"annotation {number} (id {row.get('id')})"
        image_id = row.get("image_id")
        if not isinstance(image_id, int | str):
            yield place, ValueError(f"image_id is {type(image_id).__name__}, no number and no text")
        elif images and image_id not in images:
            yield place, ValueError(f"image_id {image_id} is not among `images`")
        else:
            yield place, {"image": images.get(image_id) or str(image_id), "caption": row.get("caption")}


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                row = ValueError(f"not JSON: {error}")
            except RecursionError:
                row = ValueError("nested too deep")
            yield f"line {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        for row in reader:
            more = ValueError("more fields than the header has; put texts with commas in quotes")
            yield f"line {reader.line_num}", more if None in row else row


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        if {"detections", "human_annotated"} <= set(names):
            raise ReferencesError(
                f"{path} is of GroundCap's dataset, which brings its own frames. Use: caption-movies import {path}"
            )
        wanted = [name for name in names if name in (*FRAME_COLUMNS, *TEXT_COLUMNS)]
        for batch in file.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
