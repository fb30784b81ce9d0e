"""Dataclasses to Arrow and back: schema, file writing, checked reading."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import SchemaError
from storage.tables import Image, Row

R = TypeVar("R", bound=Row)

SCALARS: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}
ROWS_PER_GROUP = 4096
PICTURES_PER_GROUP = 32
"""Frames carry pictures: small row groups keep a reader's memory small."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table, as its dataclass declares it."""

    name: str
    kind: Any
    nullable: bool
    comment: str


def columns(row: Any) -> tuple[Column, ...]:
    """The columns of a row type, in order."""
    hints = typing.get_type_hints(row, include_extras=True)
    return tuple(_column(field.name, hints[field.name]) for field in dataclasses.fields(row))


def _column(name: str, hint: Any) -> Column:
    kind, comment = typing.get_args(hint)[:2] if typing.get_origin(hint) is Annotated else (hint, "")
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (inner,) = [part for part in typing.get_args(kind) if part is not type(None)]
        return Column(name, inner, True, comment)
    return Column(name, kind, False, comment)


def _arrow_type(kind: Any) -> pa.DataType:
    if kind in SCALARS:
        return SCALARS[kind]
    if typing.get_origin(kind) is list:
        return pa.list_(pa.field("element", _arrow_type(typing.get_args(kind)[0]), nullable=False))
    return pa.struct([_field(column) for column in columns(kind)])


PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""`datasets` knows a picture by exactly this type, nullable throughout; that none is null is checked on writing."""


def _field(column: Column) -> pa.Field:
    if column.kind is Image:
        return pa.field(column.name, PICTURE, True, {"comment": column.comment})
    return pa.field(column.name, _arrow_type(column.kind), column.nullable, {"comment": column.comment})


def schema(row: type[Row]) -> pa.Schema:
    """The Arrow schema of a table. A table with pictures says so in Hugging Face's words."""
    fields = [_field(column) for column in columns(row)]
    metadata = {"table": row.table}
    if any(column.kind is Image for column in columns(row)):
        metadata["huggingface"] = json.dumps({"info": {"features": {c.name: _feature(c.kind) for c in columns(row)}}})
    return pa.schema(fields, metadata)


def _feature(kind: Any) -> dict[str, str]:
    if kind is Image:
        return {"_type": "Image"}
    return {"dtype": str(_arrow_type(kind)).replace("double", "float64"), "_type": "Value"}


def to_table(row: type[R], rows: Iterable[R]) -> pa.Table:
    """Rows as an Arrow table. Raises SchemaError on a null or a type that the table does not take."""
    shape = schema(row)
    rows = list(rows)
    arrays = []
    for field, column in zip(shape, columns(row), strict=True):
        values = [_plain(getattr(one, field.name)) for one in rows]
        if not column.nullable and None in values:
            raise SchemaError(f"{row.table}.{field.name} is null in row {values.index(None)}; it may not be.")
        try:
            arrays.append(pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise SchemaError(f"{row.table}.{field.name} takes {field.type}: {error}") from error
    return pa.Table.from_arrays(arrays, schema=shape)


def _plain(value: Any) -> Any:
    if not dataclasses.is_dataclass(value):
        return value
    return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}


class TableWriter:
    """Streams rows of one table into one file. Memory: one row group."""

    def __init__(self, row: type[Row], path: str, *, digest: bool = False) -> None:
        """With `digest` what is written is hashed."""
        self.row, self.rows = row, 0
        self._digest = hashlib.sha256() if digest else None
        self._buffer: list[Row] = []
        self._limit = PICTURES_PER_GROUP if any(c.kind is Image for c in columns(row)) else ROWS_PER_GROUP
        self._file = pq.ParquetWriter(path, schema(row), compression="zstd")

    def write(self, row: Row) -> None:
        """Add one row."""
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) >= self._limit:
            self._flush()

    def _flush(self) -> None:
        table = to_table(self.row, self._buffer)
        self._file.write_table(table)
        self._buffer = []
        for values in table.to_pylist() if self._digest else ():
            self._digest.update(repr(values).encode())  # type: ignore[union-attr]

    def content(self) -> str:
        """Digest of all rows, as they are stored; empty where none was asked for. After it no row comes."""
        if self._buffer:
            self._flush()
        return self._digest.hexdigest() if self._digest else ""

    def close(self, footer: dict[str, str]) -> None:
        """Write what is left and the footer's key-value pairs."""
        if self._buffer:
            self._flush()
        self._file.add_key_value_metadata(footer)
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file; its content does not matter any more."""
        self._file.close()


def read_rows(
    source: pa.NativeFile, row: type[R], *, name: str, batch_size: int = 1024, row_groups: Sequence[int] | None = None
) -> Iterator[R]:
    """The rows of one file, or of some of its row groups. Raises SchemaError when the file is not of this table as the
    code knows it.
    """
    with pq.ParquetFile(source) as file:
        if not file.schema_arrow.equals(schema(row)):
            raise SchemaError(
                f"{name} does not have the columns of {row.table!r} in this version: "
                f"{_difference(file.schema_arrow, schema(row))}. Delete the file, or run the stage again."
            )
        build = _builder(row)
        for batch in file.iter_batches(batch_size=batch_size, row_groups=row_groups):
            for values in batch.to_pylist():
                yield build(values)


def _builder(row: type[R]) -> Any:
    nested: dict[str, Any] = {c.name: c.kind for c in columns(row) if dataclasses.is_dataclass(c.kind)}

    def build(values: dict[str, Any]) -> R:
        for name, kind in nested.items():
            if values[name] is not None:
                values[name] = kind(**values[name])
        return row(**values)

    return build


def _difference(found: pa.Schema, wanted: pa.Schema) -> str:
    missing = [field.name for field in wanted if field not in list(found)]
    extra = [field.name for field in found if field not in list(wanted)]
    return f"missing or different {missing}, not known {extra}"


def read_footer(source: pa.NativeFile) -> dict[str, str]:
    """The key-value pairs of a file's footer; empty for a file that has none."""
    with pq.ParquetFile(source) as file:
        return read_footer_of(file)


def read_footer_of(file: pq.ParquetFile) -> dict[str, str]:
    """The same of a file that is open."""
    metadata = file.metadata.metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items() if key != b"ARROW:schema"}
