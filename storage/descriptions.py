"""What stands in a store, for people who want to ask it: tables, columns and their meaning, nulls, values."""

import json
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.answers import as_text, rows_of, without_bytes
from storage.catalog import translated_errors
from storage.errors import UnknownNameError
from storage.tables import TABLES

EXAMPLES = 3
LONGEST_EXAMPLE = 40


@dataclass(frozen=True)
class TableSummary:
    """One table or view."""

    name: str
    rows: int
    meaning: str


@dataclass(frozen=True)
class ColumnSummary:
    """One column. `values`: the smallest and largest number, the most frequent texts, or one example."""

    name: str
    type: str
    nulls: float
    """Share of the rows, 0 to 1."""
    values: str
    meaning: str


@dataclass(frozen=True)
class TableDescription:
    """One table or view in detail."""

    name: str
    rows: int
    meaning: str
    key: tuple[str, ...]
    """Columns that name a row; empty of a view."""
    columns: list[ColumnSummary]


def table_names(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The tables, then the views beside them, with what each is."""
    found = connection.execute(
        "select view_name, comment from duckdb_views() where not internal and comment is not null"
    ).fetchall()
    meanings = dict(found)
    return {name: meanings[name] for name in [*TABLES, *sorted(meanings.keys() - TABLES.keys())]}


def column_names(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """Of every table and view its columns, in order."""
    with translated_errors():
        found = dict(
            connection.execute(
                "select table_name, list(column_name order by column_index) from duckdb_columns() where not internal "
                "group by 1"
            ).fetchall()
        )
    return {name: found[name] for name in table_names(connection)}


def summaries(connection: duckdb.DuckDBPyConnection) -> list[TableSummary]:
    """Every table and view with its number of rows. Raises StoreError for a damaged file."""
    found = []
    for name, meaning in table_names(connection).items():
        with translated_errors():
            ((rows,),) = rows_of(connection.sql(f'select count(*) from "{name}"'))
        found.append(TableSummary(name, int(rows), meaning))
    return found


def describe(connection: duckdb.DuckDBPyConnection, name: str) -> TableDescription:
    """One table or view: reads all of it but pictures. Raises UnknownNameError, StoreError for a damaged file."""
    meanings = table_names(connection)
    if name not in meanings:
        raise UnknownNameError("table", name, list(meanings))
    with translated_errors():
        columns = connection.execute(
            "select column_name, data_type, coalesce(comment, '') from duckdb_columns() where table_name = $name "
            "order by column_index",
            {"name": name},
        ).fetchall()
        asked = ", ".join(_asked(column, kind) for column, kind, _ in columns)
        ((rows, *found),) = rows_of(connection.sql(f'select count(*), {asked} from "{name}"'))
        told = []
        for (column, kind, meaning), (nulls, low, high) in zip(columns, _in_threes(found), strict=True):
            if _is_nested(kind):
                low = next((row[0] for row in rows_of(_example(connection, name, column, kind))), None)
            values = _values(kind, low, high)
            told.append(ColumnSummary(column, _short(kind), nulls / rows if rows else 0.0, values, meaning))
    key = TABLES[name].key if name in TABLES else ()
    return TableDescription(name, int(rows), meanings[name], key, told)


def _asked(column: str, kind: str) -> str:
    """SQL of three values: how many nulls; smallest and largest, or the most frequent and how many different."""
    own = f'"{column}"'
    if kind.startswith("STRUCT"):  # pictures are among these, and none of them is ever null
        return "0, null, null"
    nulls = f"count(*) - count({own})"
    if _is_nested(kind):
        return f"{nulls}, null, null"
    if kind in ("VARCHAR", "JSON"):
        return f"{nulls}, approx_top_k({own}::varchar, {EXAMPLES}), approx_count_distinct({own})"
    return f"{nulls}, min({own}), max({own})"


def _in_threes(values: list[Any]) -> list[tuple[Any, Any, Any]]:
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def _is_nested(kind: str) -> bool:
    return "[" in kind or "(" in kind


def _example(connection: duckdb.DuckDBPyConnection, table: str, column: str, kind: str) -> duckdb.DuckDBPyRelation:
    has_some = f'len("{column}") > 0' if kind.endswith("[]") else f'"{column}" is not null'
    return connection.sql(f'select "{column}" from "{table}" where {has_some} limit 1')


def _short(kind: str) -> str:
    return kind if len(kind) <= LONGEST_EXAMPLE else f"{kind.split('(', 1)[0]}(...)"


def _values(kind: str, low: Any, high: Any) -> str:
    if low is None or low == []:
        return ""
    if _is_nested(kind):
        return _cut(as_text(without_bytes(low)))
    if isinstance(low, list):
        more = f" ... about {high:,} different" if high > len(low) else ""
        return " | ".join(_cut(one) for one in low) + more
    if isinstance(low, float):
        low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
    return as_text(low) if low == high else f"{as_text(low)} to {as_text(high)}"


def _cut(text: str) -> str:
    line = text if text.strip() else json.dumps(text)
    return line if len(line) <= LONGEST_EXAMPLE else f"{line[: LONGEST_EXAMPLE - 1]}…"
