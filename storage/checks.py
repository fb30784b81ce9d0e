"""Is a store what it should be? Every file is opened, every key looked up."""

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from storage.catalog import connect
from storage.files import Files, open_files
from storage.parquet import read_footer_of, schema
from storage.store import FINGERPRINT_DIGITS
from storage.tables import TABLES


@dataclass(frozen=True)
class Problem:
    """Something in a store that should not be."""

    kind: str
    where: str
    message: str


def check_store(location: str, tell: Callable[[int, int], None] = lambda done, of: None) -> list[Problem]:
    """Everything that is wrong: damaged or foreign files, schemas, duplicate and dangling keys, stale inputs.

    `tell` hears how many files were looked at, and of how many.
    """
    files, problems = open_files(location), []
    paths = files.under("")
    for number, path in enumerate(paths):
        tell(number, len(paths))
        if problem := _check_file(files, path):
            problems.append(problem)
    if problems:
        return problems  # a damaged file would fail every query below
    connection = connect(location)
    return [*_check_keys(connection), *_check_inputs(connection)]


def _check_file(files: Files, path: str) -> Problem | None:
    table = path.split("/", 1)[0]
    if table not in TABLES:
        return Problem("foreign-file", path, "no table of this store; move it elsewhere")
    try:
        with files.open(path) as source:
            file = pq.ParquetFile(source)
            found = file.schema_arrow
            for group in range(file.num_row_groups):
                file.read_row_group(group)  # every page, pictures too: damage shows only on reading
            known = "caption_movies" in read_footer_of(file) or table == "stage_runs"
    except (pa.ArrowInvalid, OSError) as error:
        return Problem("damaged-file", path, f"{error}; delete it and run again")
    if not found.equals(schema(TABLES[table])):
        return Problem("other-schema", path, f"not the columns of {table} in this version; delete it and run again")
    if not known:
        return Problem("foreign-file", path, "not written by caption-movies; move it elsewhere")
    return None


def _check_keys(connection: duckdb.DuckDBPyConnection) -> list[Problem]:
    problems = []
    for name, row in TABLES.items():
        key = ", ".join(f'"{column}"' for column in row.key)
        twice = connection.sql(f'select {key}, count(*) from "{name}" group by {key} having count(*) > 1').fetchall()
        problems += [
            Problem("duplicate-key", name, f"{key} = {values[:-1]} stands {values[-1]} times") for values in twice
        ]
        for column, target in row.references.items():
            to = TABLES[target].key[0]
            lost = connection.sql(
                f'select "{column}", count(*) from "{name}" anti join "{target}" on "{name}"."{column}" = '
                f'"{target}"."{to}" group by 1 order by 1'
            ).fetchall()
            problems += [
                Problem("dangling-key", name, f"{count} rows with {column} {value!r}, which {target} does not have")
                for value, count in lost
            ]
    return problems


def _check_inputs(connection: duckdb.DuckDBPyConnection) -> list[Problem]:
    stale = connection.sql(
        "select path, input from (select path, unnest(inputs) as input from files) "
        f"where regexp_full_match(input, '[0-9a-f]{{{FINGERPRINT_DIGITS}}}') "
        "and input not in (select fingerprint from files) order by 1"
    ).fetchall()
    return [
        Problem("stale-file", path, f"made from {one[:12]}…, which is gone or was made anew; run again")
        for path, one in stale
    ]
