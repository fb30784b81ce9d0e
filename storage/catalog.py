"""DuckDB over a store: a commented view per table, `files` for where rows come from, `captions_ok` and
`captions_chosen`, named queries.

The connection is in memory and owns nothing: a run may replace files while it is open, and a reader never sees half of
one. Views read the store anew for every query.
"""

import difflib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import duckdb
import pyarrow as pa

from storage.errors import ParametersError, StoreError, UnknownNameError
from storage.files import Files, open_files
from storage.parquet import columns, read_footer, schema
from storage.read_only import check_reads, prepare, seal, statements
from storage.tables import TABLES, Row

FILES_COMMENT = "One row per live file: what it was made from. Joins captions, verdicts, ... to their configuration"
FILES_COLUMNS = {
    "table": "the table it is a part of",
    "path": "below the store",
    "captioner": "captions.captioner; null where the table has none",
    "movie_id": "movies.movie_id; null of files about all movies",
    "shard": "the file's name without its ending: the number of a shard, or what else it is of",
    "fingerprint": "of all that it was made from: equal ones were made alike",
    "stage": "the stage that wrote it",
    "version": "of that stage",
    "rows": "rows in it",
    "config": "the stage's configuration as JSON",
    "weights": "JSON object: models, and the digests of their weights",
    "inputs": "fingerprints of the files it was made from, and what else it was made from",
    "notes": "JSON object: what the stage noted beside",
    "code_version": "stage_runs.code_version",
}
FILES_SCHEMA = pa.schema([("path", pa.string()), ("fingerprint", pa.string()), ("caption_movies", pa.string())])
FILES_SQL = """
create or replace view files as
select split_part(path, '/', 1) as "table",
       path,
       nullif(regexp_extract(path, '/captioner=([^/]+)/', 1), '') as captioner,
       nullif(regexp_extract(path, '/movie_id=([^/]+)/', 1), '') as movie_id,
       regexp_extract(path, '/([^/]+)[.]parquet$', 1) as shard,
       fingerprint,
       said->>'stage' as stage,
       (said->>'version')::integer as version,
       (said->>'rows')::bigint as rows,
       said->'config' as config,
       said->'weights' as weights,
       from_json(said->'inputs', '["varchar"]') as inputs,
       said->'notes' as notes,
       said->>'code_version' as code_version
from (select path, fingerprint, caption_movies::json as said from {footers})
"""

CAPTIONS_OK_COMMENT = (
    "Captions that may be used: each has a verdict, the verdict is ok, and it was given to the very captions, "
    "detections and frames that stand there now. `violations` and `verdicts` say why the others are not here. All "
    "clean candidates are; `captions_chosen` has one caption per frame"
)
CAPTIONS_OK_SQL = """
create or replace view captions_ok as
with live as (select "table", movie_id, shard, fingerprint, inputs, stage from files
              where "table" in ('frames', 'detections', 'captions'))
select captions.*
from captions join verdicts using (caption_id)
where verdicts.verdict = 'ok' and captions.error is null
  and verdicts.captions_fingerprint in (
      select fingerprint from live as mine
      where "table" = 'captions' and (stage <> 'mend' or exists (
          select 1 from live as first
          where first."table" = 'captions' and list_contains(mine.inputs, first.fingerprint))))
  and verdicts.detections_fingerprint in (
      select detections.fingerprint
      from live as detections join live as frames using (movie_id, shard)
      where detections."table" = 'detections' and frames."table" = 'frames'
        and list_contains(detections.inputs, frames.fingerprint))
"""


CAPTIONS_CHOSEN_COMMENT = (
    "The one caption of each frame and captioner that counts, as `choices` says, with its verdict, and without those "
    "that are quarantined or failed. `ok`: whether it is in captions_ok. `chosen_of`: whose captions were compared"
)
CAPTIONS_CHOSEN_SQL = """
create or replace view captions_chosen as
select choices.captioner as chosen_of, caption_id in (select caption_id from captions_ok) as ok, verdicts.verdict,
       captions.*
from choices join captions using (caption_id) join verdicts using (caption_id)
where choices.chosen
"""
FIRST_CAPTIONS_SQL = """
select captions.caption_id, captions.frame_id, captions.captioner, captions.error, captions.plain_text
from captions left join choices using (caption_id)
where (choices.rank = 0 and choices.captioner = captions.captioner)
   or (choices.rank is null and captions.attempt = 0 and captions.candidate = 0)
"""
"""The caption that stands for its frame, clean or not: the first in rank, as in tasks/counted_captions.py."""
NO_QUESTION = "there is no question in that. Ask in SQL, or by the name of a ready query."
CHOSEN_COLUMNS = {
    "chosen_of": "choices.captioner: whose captions were compared",
    "ok": "whether the caption is in captions_ok",
    "verdict": "verdicts.verdict",
}
FOOTERS_AT_ONCE = 16
"""Footers of an object store are read side by side: each is a round trip."""


@dataclass(frozen=True)
class Query:
    """A named question: one file of storage/queries."""

    name: str
    question: str
    sql: str
    parameters: tuple[str, ...]
    defaults: dict[str, Any]
    """Values of the parameters that need not be given."""
    meanings: dict[str, str]
    """What the parameters are, for people."""


def connect(location: str, *, may_be_empty: bool = False) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with a view per table of the store. A table without files is an empty view.

    Raises StoreError when there is no store at that place, unless it `may_be_empty`.
    """
    files = open_files(location)
    tables = sorted({path.split("/", 1)[0] for path in files.under("")} & TABLES.keys())
    if not tables and not may_be_empty:
        raise StoreError(f"{location} holds no tables. Fill it with: caption-movies run MOVIES --store {location}")
    connection = duckdb.connect()
    prepare(connection, files.root if files.is_local else None)
    with _interrupts():
        _create_views(connection, files, tables)
    return connection


def _create_views(connection: duckdb.DuckDBPyConnection, files: Files, tables: list[str]) -> None:
    for name, row in TABLES.items():
        _create_view(connection, files, name, row, present=name in tables)
        _comment(connection, name, row.__doc__ or "", {c.name: c.comment for c in columns(row)})
    connection.execute(FILES_SQL.format(footers=_footers(connection, files, tables)))
    connection.execute(CAPTIONS_OK_SQL)
    connection.execute(CAPTIONS_CHOSEN_SQL)
    _comment(connection, "files", FILES_COMMENT, FILES_COLUMNS)
    captions = {c.name: c.comment for c in columns(TABLES["captions"])}
    _comment(connection, "captions_ok", CAPTIONS_OK_COMMENT, captions)
    _comment(connection, "captions_chosen", CAPTIONS_CHOSEN_COMMENT, captions | CHOSEN_COLUMNS)


def _create_view(
    connection: duckdb.DuckDBPyConnection, files: Files, name: str, row: type[Row], *, present: bool
) -> None:
    if present and files.is_local:
        source = f"select * from read_parquet({_glob(files, name)}, union_by_name=true, hive_partitioning=false)"
        there = {column for column, *_ in connection.execute(f"describe {source}").fetchall()}
        if any(column.name not in there for column in columns(row)):  # all files are older than a column
            connection.register(f"_{name}", schema(row).empty_table())
            source += f' union all by name select * from "_{name}"'
        connection.execute(f'create or replace view "{name}" as {source}')
        return
    import pyarrow.dataset as pads  # brings pandas along: only where it is needed

    paths = [files.full(path) for path in files.under(name)] if present else []
    dataset = pads.dataset(paths, schema=schema(row), filesystem=files.filesystem, format="parquet")
    connection.register(f"_{name}", dataset if paths else schema(row).empty_table())
    connection.execute(f'create or replace view "{name}" as select * from "_{name}"')


def _footers(connection: duckdb.DuckDBPyConnection, files: Files, tables: list[str]) -> str:
    """SQL of a relation (path, fingerprint, caption_movies) over the files that carry them: all but the run log."""
    written = [name for name in tables if name != "stage_runs"]
    if files.is_local and written:
        globs = ", ".join(_glob(files, name) for name in written)
        return f"""(
            pivot (select substr(file_name, length({_quote(files.root)}) + 2) as path, decode(key) as k,
                          decode(value) as v
                   from parquet_kv_metadata([{globs}])
                   where decode(key) in ('fingerprint', 'caption_movies'))
            on k in ('fingerprint', 'caption_movies') using first(v) group by path)"""
    paths = [path for name in written for path in files.under(name)]
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as threads:
        found = list(threads.map(lambda path: _footer(files, path), paths))
    connection.register("_footers", pa.Table.from_pylist([one for one in found if one], schema=FILES_SCHEMA))
    return "_footers"


def _footer(files: Files, path: str) -> dict[str, str] | None:
    with files.open(path) as source:
        values = read_footer(source)
    if "caption_movies" not in values:
        return None
    return {"path": path} | {key: values[key] for key in ("fingerprint", "caption_movies")}


def _glob(files: Files, table: str) -> str:
    """A table's files as a glob for DuckDB; characters of the store's own path that would be patterns are escaped."""
    root = re.sub(r"([*?[])", r"[\1]", files.root)
    return _quote(f"{root}/{table}/**/*.parquet")


def _comment(connection: duckdb.DuckDBPyConnection, view: str, text: str, on_columns: dict[str, str]) -> None:
    connection.execute(f'comment on view "{view}" is {_quote(" ".join(text.split()))}')
    for column, comment in on_columns.items():
        connection.execute(f'comment on column "{view}"."{column}" is {_quote(comment)}')


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@cache
def queries() -> dict[str, Query]:
    """The named queries, by name. Parameters are written $name in the SQL.

    The first line of a file is its question. A line `-- $name = VALUE: what it is` after it says what a parameter is
    and, in JSON, its value where none is given; without `= VALUE` one has to be given.
    """
    found = {}
    for file in sorted(resources.files("storage").joinpath("queries").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".sql"):
            sql = file.read_text(encoding="utf-8")
            question = sql.splitlines()[0].removeprefix("--").strip()
            name = file.name.removesuffix(".sql")
            said = re.findall(r"^-- \$(\w+)(?: = (.+?))?: (.+)$", sql, re.MULTILINE)
            defaults = {key: json.loads(value) for key, value, _ in said if value}
            found[name] = Query(name, question, sql, _parameters(sql), defaults, {key: text for key, _, text in said})
    return found


def usage(query: Query) -> list[str]:
    """Each parameter of a query as it is given: `name=...`; in brackets where it has a value without that."""
    return [
        f"[{name}={'...' if query.defaults[name] is None else query.defaults[name]}]" if name in query.defaults
        else f"{name}=..."
        for name in query.parameters
    ]  # fmt: skip


def _parameters(sql: str) -> tuple[str, ...]:
    code = re.sub(r"'(?:[^']|'')*'|--[^\n]*", "", sql)  # without texts and comments
    return tuple(dict.fromkeys(re.findall(r"\$([A-Za-z_]\w*)", code)))


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any] | None = None
) -> duckdb.DuckDBPyRelation:
    """Run one question, in SQL or by the name of a ready one. From then on the connection only reads its own store.

    Raises UnknownNameError for a name that is not there, ParametersError for values that are missing or not asked for,
    ReadOnlyError for what is no question, StoreError for what DuckDB finds wrong.
    """
    found = split(connection, query)
    if len(found) != 1:
        raise StoreError("there are several questions in that. Ask one." if found else NO_QUESTION)
    return answer(connection, found[0], parameters)


def split(connection: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The questions of a text that holds several, each ended by a semicolon; a ready query's name is one of its own.

    Raises ReadOnlyError for what is no question, StoreError for what is no SQL.
    """
    if _named(text):
        return [text]
    with translated_errors():
        return statements(connection, text)


def _named(text: str) -> str | None:
    """The name of a ready query, where the text can be nothing else."""
    found = re.fullmatch(r"\s*([A-Za-z_][\w-]*)\s*;?\s*", text)
    return found[1].replace("-", "_") if found else None


def parameters_of(query: str) -> tuple[str, ...]:
    """The names of the values that a question takes, SQL or the name of a ready one. Raises UnknownNameError."""
    name = _named(query)
    return _ready(name).parameters if name else _parameters(query)


def answer(
    connection: duckdb.DuckDBPyConnection, question: str, parameters: dict[str, Any] | None = None
) -> duckdb.DuckDBPyRelation:
    """The answer to one of the questions that `split` gives. It is computed when it is read. Raises as `ask` does."""
    given = dict(parameters or {})
    name = _named(question)
    if name:
        ready = _ready(name)
        sql, wanted, given = ready.sql, ready.parameters, ready.defaults | given
        _check_parameters(f"query {name!r}", wanted, given, missing=[one for one in wanted if one not in given])
    else:
        sql = question
        _check_parameters("this query", _parameters(sql), given)  # what is missing in free SQL, DuckDB knows better
    with translated_errors():
        seal(connection)
        if not name:
            check_reads(connection, sql, given or None)
        relation = connection.sql(sql, params=given or None)
    if relation is None:
        raise StoreError(NO_QUESTION)
    return relation


def _ready(name: str) -> Query:
    if name not in queries():
        raise UnknownNameError("query", name, list(queries()))
    return queries()[name]


def _check_parameters(query: str, wanted: Sequence[str], given: Collection[str], missing: Sequence[str] = ()) -> None:
    unknown = [name for name in given if name not in wanted]
    if not missing and not unknown:
        return
    near = [word for name in unknown[:1] for word in difflib.get_close_matches(name, wanted, n=1)]
    said = [f"{query} takes {' '.join(f'{name}=...' for name in wanted) or 'no values'}"]
    said += [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
    raise ParametersError("; ".join(said) + "." + (f" Did you mean {near[0]!r}?" if near else ""))


@contextmanager
def translated_errors() -> Iterator[None]:
    """What DuckDB raises, as StoreError. A relation runs when it is shown or read, so that belongs in here too."""
    try:
        with _interrupts():
            yield
    except duckdb.Error as error:
        raise StoreError(f"DuckDB says: {error}") from error


@contextmanager
def _interrupts() -> Iterator[None]:
    """DuckDB's way of saying Ctrl-C, as KeyboardInterrupt."""
    try:
        yield
    except RuntimeError as error:
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error
