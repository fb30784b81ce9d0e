"""A question only reads. Two locks, for each alone has a gap in DuckDB 2.0.

Files: once a connection is `sealed` it opens files of its own store and nothing else, whether to read or to write; it
loads no extension, sees no variable of Python, and its settings stay. The gap: a COPY could still write into the store.

Statements: `check_reads` lets pass what can stand in parentheses after FROM, which is what gives rows: SELECT, FROM,
WITH, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW; and EXPLAIN of these. What writes cannot stand there; nor can a COPY,
INSERT, UPDATE or DELETE inside WITH, which DuckDB calls a SELECT, and runs.
"""

import os
import re
import tempfile
from typing import Any

import duckdb

from storage.errors import ReadOnlyError

REMEDY = (
    "A store is only asked here: SELECT, FROM, WITH, VALUES, PIVOT, DESCRIBE, SUMMARIZE, SHOW, and EXPLAIN of these. "
    "For anything else open its Parquet files in a DuckDB shell."
)


def prepare(connection: duckdb.DuckDBPyConnection, folder: str | None) -> None:
    """Say what the connection may open once it is sealed: the folder of a store on disk (None: no file), and a place of
    its own for what does not fit into memory, which DuckDB makes when it is needed, and removes.
    """
    spill = os.path.join(tempfile.gettempdir(), f"caption-movies-{os.getpid()}")
    connection.execute("set temp_directory = $spill", {"spill": spill})
    if folder is not None:
        connection.execute("set allowed_directories = [$folder]", {"folder": folder})


def seal(connection: duckdb.DuckDBPyConnection) -> None:
    """From here on the connection opens files of its store only, and no setting can be changed."""
    ((sealed,),) = connection.execute("select current_setting('lock_configuration')").fetchall()
    if not sealed:
        connection.execute("set python_enable_replacements = false")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")


def statements(connection: duckdb.DuckDBPyConnection, text: str) -> list[str]:
    """The single statements of a text, without the semicolons; none where it is blank or all comment.

    Raises duckdb.Error for what is no SQL, ReadOnlyError for a kind of statement that has no name in DuckDB's binding.
    """
    try:
        found = connection.extract_statements(text)
    except ValueError as error:
        raise ReadOnlyError(REMEDY) from error
    return [_without_semicolon(one.query) for one in found]


def check_reads(connection: duckdb.DuckDBPyConnection, statement: str, values: dict[str, Any] | None) -> None:
    """Raise ReadOnlyError where one statement does anything but read, duckdb.Error where it cannot be answered.

    Nothing is run: the statement is bound as a part of another one that is explained.
    """
    asked = _without_explain(statement)
    try:
        connection.execute(f"explain select * from (\n{asked}\n)", values).fetchall()
    except duckdb.ParserException as error:
        raise ReadOnlyError(f"{_first_word(asked)} asks nothing. {REMEDY}") from error
    except duckdb.Error as error:
        if "must be at the top level" in str(error):
            raise ReadOnlyError(f"there is a statement in WITH that writes. {REMEDY}") from error
        raise type(error)(re.sub(r"\bLINE (\d+):", lambda line: f"LINE {int(line[1]) - 1}:", str(error))) from error


def _tokens(sql: str) -> list[tuple[int, str]]:
    """(place in UTF-8 bytes, the first word or sign there) of every token that is no comment."""
    code = sql.encode()
    found = []
    for place, kind in duckdb.tokenize(sql):
        if "comment" not in str(kind).lower():
            word = re.match(rb"\w+|.", code[place:], re.DOTALL)
            found.append((place, word[0].decode(errors="replace").lower() if word else ""))
    return found


def _without_semicolon(statement: str) -> str:
    tokens = _tokens(statement)
    return statement.encode()[: tokens[-1][0]].decode() if tokens and tokens[-1][1] == ";" else statement


def _without_explain(statement: str) -> str:
    """The statement that an EXPLAIN is about; any other as it is."""
    tokens = _tokens(statement)
    words = [word for _, word in tokens]
    if words[:1] != ["explain"]:
        return statement
    first = 1
    if words[1:2] in (["analyze"], ["analyse"]):
        first = 2
    elif words[1:3] == ["(", "format"] or words[1:3] == ["(", "analyze"]:
        first = words.index(")") + 1 if ")" in words else 1
    return statement.encode()[tokens[first][0] :].decode() if len(tokens) > first else statement


def _first_word(statement: str) -> str:
    words = [word for _, word in _tokens(statement)]
    return words[0].upper() if words else "this"
