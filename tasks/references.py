"""Reference captions from a file -> references: what text metrics compare with, and what adapters learn from."""

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.store import Store, TableRef
from storage.tables import Reference
from tasks import tags
from tasks.errors import ConfigError, ReferencesError

VERSION = 1
TEXT_COLUMNS = ("caption", "text", "reference")
"""Names the text may stand under; the first one there is taken."""
SHOWN = 5
"""Bad rows that an error message lists."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is hashed of an import."""

    source: str
    sha256: str


def import_references(path: str, store: Store, source: str) -> list[TableRef]:
    """Add the reference captions of a file, one table file per movie; those of the same source and movie are replaced.

    JSON Lines (.jsonl, .ndjson, .json), CSV (.csv, with a header) or Parquet (.parquet) with columns `frame_id` and
    `caption` (or `text`), in UTF-8. In JSON and Parquet a caption may be a list of captions. Nothing is imported when
    anything is wrong: ReferencesError lists the first bad rows with their line numbers (of rows in Parquet, from 1). A
    caption without a letter or digit is bad too: no metric can compare with it. Raises ConfigError for a `source` that
    is no name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", source):
        raise ConfigError(f"source is {source!r}; it has to be letters, digits, dots, dashes and underscores.")
    texts, bad = _texts(path)
    known = _known_frames(store, {frame_id for frame_id, _, _ in texts})
    bad += [(line, f"frame {frame_id!r} is not in the store") for frame_id, _, line in texts if frame_id not in known]
    if bad:
        bad.sort()
        shown = "; ".join(f"line {line}: {why}" for line, why in bad[:SHOWN])
        more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise ReferencesError(f"{len(bad)} bad rows in {path}, nothing was imported: {shown}{more}.")
    if not texts:
        raise ReferencesError(f"{path} holds no reference captions.")
    by_movie: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for frame_id, text, _ in texts:
        by_movie[_movie_of(frame_id)].append((frame_id, text))
    return [write_references(movie_id, rows, store, source) for movie_id, rows in sorted(by_movie.items())]


def _movie_of(frame_id: str) -> str:
    return frame_id.rpartition("_")[0]


def write_references(movie_id: str, rows: Sequence[tuple[str, str]], store: Store, source: str) -> TableRef:
    """Write one movie's references of a source, (frame_id, text) each; those that stand there are replaced."""
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    output = store.output(
        [Reference],
        stage="references",
        shard=f"{movie_id}/{source}",
        config=_Source(source=source, sha256=digest),
        version=VERSION,
    )
    if output.is_current():
        return output.ref
    numbers: dict[str, int] = defaultdict(int)
    with output.writer() as write:
        for frame_id, text in rows:
            write(
                Reference(
                    reference_id=f"{frame_id}/{source}/{numbers[frame_id]}",
                    frame_id=frame_id,
                    source=source,
                    text=text,
                    plain_text=tags.strip(text),
                )
            )
            numbers[frame_id] += 1
    return output.ref


def _known_frames(store: Store, frame_ids: Iterable[str]) -> set[str]:
    """Ids of the frames in the store, of the movies asked for. Only the column of ids is read, no picture."""
    known: set[str] = set()
    for movie_id in sorted({_movie_of(frame_id) for frame_id in frame_ids} - {""}):
        if not re.fullmatch(r"\w+", movie_id):
            continue  # no movie of ours, and no name for a folder
        for path in store.files.under(f"frames/movie_id={movie_id}"):
            with store.files.open(path) as source:
                known.update(pq.read_table(source, columns=["frame_id"])["frame_id"].to_pylist())
    return known


def _texts(path: str) -> tuple[list[tuple[str, str, int]], list[tuple[int, str]]]:
    """(frame_id, text, line) of every good row, and (line, what is wrong) of every bad one."""
    texts, bad = [], []
    for line, row in _rows(Path(path)):
        try:
            texts += [(frame_id, text, line) for frame_id, text in _captions(row)]
        except ValueError as error:
            bad.append((line, str(error)))
    return texts, bad


def _captions(row: Any) -> Iterator[tuple[str, str]]:
    """(frame_id, text) of one row. Raises ValueError with what is wrong."""
    if isinstance(row, ValueError):
        raise row
    if not isinstance(row, Mapping):
        raise ValueError("not an object with frame_id and caption")
    frame_id = row.get("frame_id")
    if not isinstance(frame_id, str) or not frame_id:
        raise ValueError("no frame_id")
    column = next((name for name in TEXT_COLUMNS if name in row), None)
    if column is None:
        raise ValueError(f"no column {' or '.join(TEXT_COLUMNS)}")
    found = row[column]
    for text in found if isinstance(found, list) and found else [found]:
        if not isinstance(text, str) or not any(map(str.isalnum, tags.strip(text))):
            raise ValueError(f"{column} is empty, without words or no text")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"{column} holds half a character (a lone surrogate), which is no text")
        yield frame_id, text


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """(line, row) of a file; a row that cannot be read is a ValueError in its place."""
    readers = {".jsonl": _json, ".ndjson": _json, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if (reader := readers.get(path.suffix.lower())) is None:
        raise ReferencesError(f"{path} ends in none of {', '.join(readers)}, so its format is not known.")
    try:
        yield from reader(path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise ReferencesError(f"{path} cannot be read: {error}") from error


def _json(path: Path) -> Iterator[tuple[int, Any]]:
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
            yield number, row


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, strict=True)
        for row in reader:
            yield reader.line_num, ValueError("more fields than the header has") if None in row else row


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    with pq.ParquetFile(path) as file:
        wanted = [name for name in file.schema_arrow.names if name in ("frame_id", *TEXT_COLUMNS)]
        for batch in file.iter_batches(columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield number, row
