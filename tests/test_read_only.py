"""Whatever a store is asked, nothing is written, loaded or changed, and no file but its own is read."""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from rows import caption, detection, frame, movie, write

from flows.command_line import main
from storage import catalog
from storage.answers import rows_of
from storage.errors import CaptionMoviesError, ReadOnlyError, StoreError
from storage.store import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store, a file beside it, and a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    made = Store(str(tmp_path / "store"), "run-1")
    write(made, [movie()], shard="mabc")
    frames = write(made, [frame(0), frame(1)])
    write(made, [detection()], inputs=[frames.fingerprint])
    write(made, [caption()], captioner="scripted")
    (tmp_path / "secret.csv").write_text("word\nhidden\n")
    return made


@pytest.fixture
def connection(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with catalog.connect(store.location) as made:
        yield made


def tree(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


def read_all(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    for question in catalog.split(connection, sql):
        list(rows_of(catalog.answer(connection, question)))


IN_STORE = "store/movies/x.csv"
HOSTILE = [
    f"copy movies to '{IN_STORE}'",
    "copy movies to 'beside.csv'",
    "COPY (select 1) TO '/dev/stdout'",
    f"copy (pivot movies on status using count(*)) to '{IN_STORE}'",
    f"with x as (copy movies to '{IN_STORE}') from x",
    f"/* a */ with x as (copy movies to '{IN_STORE}'), y as (pivot movies on status using count(*)) from y",
    f"explain analyze copy movies to '{IN_STORE}'",
    f"explain analyze with x as (copy movies to '{IN_STORE}') from x",
    f"explain (analyze) copy movies to '{IN_STORE}'",
    f"explain (format json) explain analyze copy movies to '{IN_STORE}'",
    f"from query('copy movies to ''{IN_STORE}''')",
    f"from query('with x as (copy movies to ''{IN_STORE}'') from x')",
    f"select * from (with x as (copy movies to '{IN_STORE}') from x)",
    "select 1) x; copy movies to 'beside.csv'; select * from (select 2",
    "export database 'store/all'",
    "import database 'store/all'",
    "attach 'store/x.db' as x",
    "attach 'x.db' as x",
    "create table x as select 1",
    "create view x as select 1",
    "create or replace view captions_ok as select * from captions",
    "create temp macro f(a) as a",
    "create persistent secret s (type s3)",
    "drop view captions",
    "comment on view captions is 'x'",
    "insert into movies values (1)",
    "with x as (insert into _captions values (1) returning 1) from x",
    "update movies set title = 'x'",
    "delete from movies",
    "merge into movies using movies as o on true when matched then delete",
    "truncate movies",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "set temp_directory = 'spill'",
    "reset allowed_directories",
    "pragma enable_profiling = 'json'",
    "pragma profiling_output = 'store/profile.json'",
    "call enable_logging(storage = 'file', storage_path = 'store/log')",
    "from enable_logging(storage = 'file', storage_path = 'store/log')",
    "install httpfs",
    "load httpfs",
    "update extensions",
    "checkpoint",
    "vacuum",
    "begin",
    "prepare x as select 1",
    "execute x",
    "use memory",
    "from 'secret.csv'",
    "from read_csv('secret.csv')",
    "from read_text('store/../secret.csv')",
    "from read_text('/etc/hostname')",
    "from glob('*')",
    "from 'https://localhost:1/x.csv'",
    "from 's3://bucket/x.parquet'",
    "from sniff_csv('secret.csv')",
    "select content from read_blob('secret.csv')",
    "from python_variable",
    "from sqlite_scan('x.db', 'y')",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_what_is_no_question_to_the_store_is_refused_and_does_nothing(
    sql: str, store: Store, connection: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    python_variable = pa.table({"a": [1]})
    before = tree(tmp_path)
    with pytest.raises(CaptionMoviesError):
        read_all(connection, sql)
    assert tree(tmp_path) == before
    assert catalog.ask(connection, "select title from movies").fetchall() == [("A",)]
    assert python_variable is not None


REFUSED_BY_DUCKDB = [sql for sql in HOSTILE[:24] if sql.startswith(("from query(", "select ", "explain (format json"))]
"""As what they are, no statement of their own: the test above has them."""


@pytest.mark.parametrize("sql", [sql for sql in HOSTILE[:24] if sql not in REFUSED_BY_DUCKDB])
def test_the_statement_alone_is_refused_with_what_may_be_asked(sql: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Not only the files are locked."""
    with pytest.raises(ReadOnlyError, match="A store is only asked here: SELECT"):
        catalog.answer(connection, catalog.split(connection, sql)[0])


@pytest.mark.parametrize("sql", REFUSED_BY_DUCKDB)
def test_what_duckdb_refuses_is_told_as_an_error_of_the_question(
    sql: str, connection: duckdb.DuckDBPyConnection
) -> None:
    with pytest.raises(StoreError):
        read_all(connection, sql)


@pytest.mark.parametrize("sql", [
    "select count(*) from movies", "from movies select title;", "values (1)", "table movies", "(select 1)",
    "with x as (select 1 as a) select a from x", "describe movies", "show movies", "show tables", "summarize movies",
    "pivot movies on status using count(*)", "select * from (pivot movies on status using count(*))",
    "unpivot (select 1 as a, 2 as b) on a, b", "explain select 1", "explain analyze select 1",
    "explain (format json) select * from movies", "explain pivot movies on status using count(*)",
    "select ';' as a -- and; more", "-- before\nselect 1 /* ; */ ;", "select copy from (select 1 as copy)",
    "select 'copy movies to x' as said",
    "with recursive n as (select 1 as i union all select i + 1 from n where i < 3) from n",
    "from read_parquet('store/movies/*.parquet') select count(*)", "select 1 as \"ü;漢\";",
])  # fmt: skip
def test_every_way_to_ask_works(sql: str, connection: duckdb.DuckDBPyConnection) -> None:
    assert catalog.ask(connection, sql).fetchall()


def test_several_questions_are_answered_in_turn(connection: duckdb.DuckDBPyConnection) -> None:
    questions = catalog.split(connection, "select 1; -- one; not two\nselect ';';")
    assert questions == ["select 1", "select ';'"]
    assert catalog.split(connection, " movie-status ; ") == [" movie-status ; "]
    assert [catalog.answer(connection, one).fetchall() for one in questions] == [[(1,)], [(";",)]]
    with pytest.raises(StoreError, match="several questions"):
        catalog.ask(connection, "select 1; select 2")
    assert catalog.split(connection, " ; -- nothing") == []


def test_an_error_names_the_line_of_the_question(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(StoreError, match=r"(?s)wrong.*LINE 2: from movies where wrong"):
        catalog.ask(connection, "select title\nfrom movies where wrong = 1")


def test_values_are_no_sql(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    before = tree(tmp_path)
    hostile = f"x'; copy movies to '{IN_STORE}'; --"
    assert catalog.ask(connection, "select $word as said", {"word": hostile}).fetchall() == [(hostile,)]
    assert tree(tmp_path) == before


def test_what_does_not_fit_into_memory_goes_to_the_temporary_folder_and_is_gone_after(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spill"))
    (tmp_path / "spill").mkdir()
    before = tree(tmp_path)
    with catalog.connect(store.location) as connection:
        connection.execute("set memory_limit = '60MB'")
        asked = "select i, md5(i::varchar) as h from range(1500000) r(i) order by h"
        rows = rows_of(catalog.ask(connection, asked))
        assert next(rows)
        assert list((tmp_path / "spill" / f"caption-movies-{os.getpid()}").iterdir())
        rows.close()
    assert tree(tmp_path) == before


def test_the_command_refuses_too(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(tmp_path)
    for form in ("table", "csv", "parquet"):
        assert main(["sql", f"copy movies to '{IN_STORE}'", "--store", store.location, "--format", form]) == 1
        said = capsys.readouterr()
        assert (said.out, "COPY asks nothing" in said.err) == ("", True)
    assert tree(tmp_path) == before
