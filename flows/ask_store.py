"""The commands `sql`, `describe` and `show`: ask a store, once or in a shell, and look at what stands in it."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO

import duckdb

from flows.bring_data import Add
from flows.describe_store import describe_store, show_queries
from flows.show_answers import Visible, answer_console, show_answer
from flows.show_frame import add_show
from storage import catalog
from storage.answers import TEXT_FORMATS, write_parquet, write_text
from storage.errors import ParametersError, StoreError
from storage.whole_output import appearing

TABLE, PARQUET = "table", "parquet"
FORMATS = (TABLE, *TEXT_FORMATS, PARQUET)


def add_asking(add: Add, store_option: Callable[[argparse.ArgumentParser], None]) -> None:
    """Add the commands to the parser."""
    sql = add("sql", "ask a store in SQL, or by the name of a ready query; without a query a shell, or a list of those")
    sql.add_argument("query", nargs="?", metavar="QUERY|NAME", help="SQL text, or the name of a ready query")
    sql.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="values for $name in the query")
    store_option(sql)
    sql.add_argument(
        "--format", choices=FORMATS, default=TABLE,
        help="json: an object a line; a table too wide for the terminal is shown column by column (default: table)",
    )  # fmt: skip
    sql.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to stdout")
    sql.add_argument("--force", action="store_true", help="replace FILE where it stands there already")
    sql.add_argument(
        "--rows", type=int, metavar="N", help="rows of a table to show, 0: all (default: 200, column by column 20)"
    )
    sql.set_defaults(run=_sql)

    describe = add("describe", "what stands in a store: tables, or one table's columns with their meaning and values")
    describe.add_argument("table", nargs="?", metavar="TABLE", help="a table or view, as `describe` lists them")
    store_option(describe)
    describe.set_defaults(run=describe_store)

    add_show(add, store_option)


def _sql(options: argparse.Namespace) -> int:
    if options.rows is not None and options.rows < 0:
        raise ParametersError("--rows is a number of rows, or 0 for all.")
    if options.query is None and (options.out is not None or options.format == PARQUET):
        raise ParametersError("there is no question whose answer could be written. Give one, or leave --out away.")
    if options.query is None and sys.stdin.isatty() and sys.stdout.isatty():
        from flows.open_shell import Shell, open_shell

        return open_shell(Shell(options.store, format=options.format, most_rows=options.rows))
    if options.query is None:
        show_queries(answer_console())
        return 0
    wrong = [one for one in options.parameters if "=" not in one]
    if wrong:
        raise ParametersError(f"{wrong[0]!r} is not NAME=VALUE. Put SQL in one pair of quotes.")
    parameters = dict(one.split("=", 1) for one in options.parameters)
    with catalog.connect(options.store) as store:
        questions = catalog.split(store, options.query)
        if not questions:
            raise StoreError(catalog.NO_QUESTION)
        if len(questions) > 1 and options.format != TABLE:
            raise ParametersError(f"{options.format} holds one answer, and there are {len(questions)} questions.")
        for question, own in zip(questions, parameters_by_question(questions, parameters), strict=True):
            rows = _write(catalog.answer(store, question, own), options)
            if not rows:
                given = f" for {' '.join(options.parameters)}" if parameters else ""
                print(f"caption-movies: nothing in {options.store} matches{given}", file=sys.stderr)
    return 0


def parameters_by_question(questions: list[str], given: dict[str, str]) -> list[dict[str, str]]:
    """Of the values those that each question takes. One that none takes is given to the last, which says so."""
    taken = [catalog.parameters_of(question) for question in questions]
    own = [{name: value for name, value in given.items() if name in names} for names in taken]
    own[-1] |= {name: value for name, value in given.items() if not any(name in names for names in taken)}
    return own


def _write(answer: duckdb.DuckDBPyRelation, options: argparse.Namespace) -> int:
    """Write an answer as it is wanted, where it is wanted; gives the number of rows."""
    if options.format == TABLE and options.out is None:
        return show_answer(answer, most_rows=options.rows).rows
    if options.format == TABLE:
        raise ParametersError(f"a table is for the terminal. Write FILE as {', '.join(FORMATS[1:])}: --format.")
    if options.format == PARQUET:
        with _binary(options) as target:
            return write_parquet(answer, target)
    if options.out is None:
        return write_text(answer, options.format, Visible(sys.stdout) if sys.stdout.isatty() else sys.stdout)
    with _binary(options) as target, TextIOWrapper(target, encoding="utf-8", newline="") as text:
        return write_text(answer, options.format, text)


@contextmanager
def _binary(options: argparse.Namespace) -> Iterator[BinaryIO]:
    if options.out is not None:
        with appearing(options.out, folder=False, force=options.force) as draft, draft.open("wb") as target:
            yield target
        return
    if sys.stdout.isatty():
        raise ParametersError("Parquet is no text for a terminal. Give a file: --out FILE, or > FILE.")
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()
