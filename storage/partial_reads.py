"""Parts of files: frames without their pictures, one picture, the rows of some keys. Memory: a row group at most."""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import pyarrow.parquet as pq

from storage.files import Files
from storage.parquet import read_rows
from storage.tables import Row

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFacts:
    """A row of `frames` without its picture; see storage/tables.py."""

    frame_id: str
    movie_id: str
    shot_index: int
    frame_index: int
    pts_seconds: float
    width: int
    height: int


def frame_facts(files: Files, path: str) -> list[FrameFacts]:
    """The frames of one file, in its order, without pictures. Raises StoreError when it is gone or damaged."""
    with _opened(files, path) as file:
        table = file.read(columns=list(FrameFacts.__slots__))
    return [FrameFacts(**row) for row in table.to_pylist()]


def picture_of(files: Files, path: str, position: int) -> bytes | None:
    """The encoded picture of one frame of a file, by its position there; None beyond the end. Raises StoreError."""
    with _opened(files, path) as file:
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if position < rows:
                picture = file.read_row_group(group, columns=["image.bytes"])["image"][position].as_py()
                return bytes(picture["bytes"])
            position -= rows
    return None


def rows_with(files: Files, path: str, row: type[R], column: str, wanted: Set[str]) -> Iterator[R]:
    """The rows of a file whose text column has one of the values; a file that is not there has none.

    Row groups whose statistics leave the values out are passed over: of a file in the order of that column little is
    read. Raises StoreError, SchemaError.
    """
    if not wanted or not files.exists(path):
        return
    low, high = min(wanted), max(wanted)
    with _opened(files, path) as file:
        place = file.schema_arrow.get_field_index(column)
        groups = [at for at in range(file.num_row_groups) if _may_hold(file.metadata.row_group(at), place, low, high)]
    if not groups:
        return
    with files.reading(path), files.open(path) as source:
        for one in read_rows(source, row, name=path, row_groups=groups):
            if getattr(one, column) in wanted:
                yield one


def _may_hold(group: pq.RowGroupMetaData, place: int, low: str, high: str) -> bool:
    said = group.column(place).statistics if place >= 0 else None
    return said is None or not said.has_min_max or not (said.max < low or said.min > high)


@contextmanager
def _opened(files: Files, path: str) -> Iterator[pq.ParquetFile]:
    with files.reading(path), files.open(path) as source, pq.ParquetFile(source) as file:
        yield file
