"""Answers as data for other programs: CSV, JSON lines, Markdown, Parquet. Rows are written as they are computed.

    value            JSON                       CSV                        Markdown
    null             null                       nothing between commas     an empty cell
    list, struct     array, object              as JSON                    as JSON
    bytes            base64                     base64                     <12 bytes>
    NaN, infinity    "NaN", "Infinity"          NaN, Infinity              NaN, Infinity
    date, time       ISO 8601 text              ISO 8601                   ISO 8601
    interval         "1 months 2 days 3.0 seconds", everywhere but in Parquet, which has none
    date of no such year, bit, variant, ...    DuckDB's text: storage.answer_values

An empty text is "" in CSV, so it is not null; a null that is a row's only value is "" too, for a blank line is no row.
Columns of equal names get numbers, in every format.
"""

import base64
import datetime
import decimal
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage.answer_values import carried, values_of
from storage.catalog import translated_errors
from storage.errors import StoreError

TEXT_FORMATS = ("csv", "json", "markdown")
ROWS_AT_ONCE = 1024
PICTURES_AT_ONCE = 32
"""Rows at once of an answer with bytes, which may be pictures: memory stays small."""
_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')
_MARKDOWN = re.compile(r"[\\`*|\[\]~]|(?<!\w)_|_(?!\w)")
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Writer(Protocol):
    """Where text can be written: a file, a terminal."""

    def write(self, text: str, /) -> int:
        """Write a piece of it."""


def names_of(answer: duckdb.DuckDBPyRelation) -> list[str]:
    """The columns' names; equal ones with their place, from 1."""
    given = answer.columns
    return [name if given.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(given, 1)]


def open_reader(answer: duckdb.DuckDBPyRelation) -> pa.RecordBatchReader:
    """The answer as it is computed, to be read with `batches_of`. Raises StoreError."""
    with translated_errors():
        answer = carried(answer)
        has_bytes = any("BLOB" in str(kind) for kind in answer.types)
        return answer.to_arrow_reader(PICTURES_AT_ONCE if has_bytes else ROWS_AT_ONCE)


def batches_of(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The batches of an answer. Ctrl-C ends it within a second. Raises StoreError."""
    while True:
        try:
            with translated_errors():
                batch = reader.read_next_batch()
        except StopIteration:
            return
        except (OSError, pa.ArrowException) as error:  # what goes wrong after the first rows comes through Arrow
            if "interrupted" in str(error).lower():
                raise KeyboardInterrupt from error
            raise StoreError(f"DuckDB says: {error}") from error
        yield batch


def rows_of(answer: duckdb.DuckDBPyRelation) -> Iterator[tuple[Any, ...]]:
    """The rows as Python's values. Raises StoreError."""
    for batch in batches_of(open_reader(answer)):
        yield from zip(*(values_of(column) for column in batch.columns), strict=True)


def write_text(answer: duckdb.DuckDBPyRelation, form: str, target: Writer) -> int:
    """Write an answer in one of TEXT_FORMATS and give its rows' number. JSON: one object a line. Raises StoreError."""
    names, rows = names_of(answer), 0
    if form == "csv":
        target.write(_csv_line(names))
    if form == "markdown":
        target.write(f"{_markdown_line(names)}|{' --- |' * len(names)}\n")
    for row in rows_of(answer):
        rows += 1
        if form == "csv":
            target.write(_csv_line(row))
        elif form == "markdown":
            target.write(_markdown_line(row))
        else:
            said = {name: plain(value) for name, value in zip(names, row, strict=True)}
            target.write(json.dumps(said, allow_nan=False) + "\n")
    return rows


def write_parquet(answer: duckdb.DuckDBPyRelation, target: BinaryIO) -> int:
    """Write an answer as a Parquet file and give the number of rows. Raises StoreError."""
    names, rows = names_of(answer), 0
    reader = open_reader(answer)
    fields = [field.with_name(name) for field, name in zip(reader.schema, names, strict=True)]
    with _of_parquet(fields), pq.ParquetWriter(pa.PythonFile(target, "w"), pa.schema(fields)) as writer:
        for batch in batches_of(reader):
            writer.write_batch(batch.rename_columns(names))
            rows += batch.num_rows
    return rows


@contextmanager
def _of_parquet(fields: list[pa.Field]) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        named = next((f"the column {one.name!r} of " for one in fields if not _is_of_parquet(one)), "")
        raise StoreError(
            f"Parquet cannot hold {named}this answer: {error}. Cast that column, as in value::varchar."
        ) from error


def _is_of_parquet(field: pa.Field) -> bool:
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return False
    return True


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, pa.MonthDayNano):
        return f"{value.months} months {value.days} days {value.nanoseconds / 1e9} seconds"
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def as_text(value: Any) -> str:
    """A value that is not null, on its own: texts as they are, lists and structs as JSON."""
    said = plain(value)
    return said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)


def without_bytes(value: Any) -> Any:
    """The value with how many bytes there are in place of bytes, for people."""
    if isinstance(value, dict):
        return {key: without_bytes(one) for key, one in value.items()}
    if type(value) in (list, tuple):  # an interval is a tuple too, of a class of its own
        return [without_bytes(one) for one in value]
    return f"<{len(value):,} bytes>" if isinstance(value, bytes) else value


def _csv_line(values: Any) -> str:
    said = [None if one is None else as_text(one) for one in values]
    if said == [None]:
        return '""\n'
    cells = ["" if one is None else one if one and not _QUOTED.search(one) else f'"{_doubled(one)}"' for one in said]
    return ",".join(cells) + "\n"


def _doubled(text: str) -> str:
    return text.replace('"', '""')


def _markdown_line(values: Any) -> str:
    return "|" + "|".join(f" {_markdown(one)} " for one in values) + "|\n"


def _markdown(value: Any) -> str:
    if value is None:
        return ""
    text = _MARKDOWN.sub(lambda sign: f"\\{sign.group()}", as_text(without_bytes(value)))
    text = re.sub("[&<>]", lambda sign: _MARKUP[sign.group()], text)
    return re.sub(r"\r\n|[\r\n\u2028\u2029]", "<br>", text)
