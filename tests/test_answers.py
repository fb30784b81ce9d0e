"""Answers as tables and as data: every kind of value in every format, wide rows, rows left out, hostile texts."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rows import caption, frame, movie, write

from flows.command_line import main
from flows.show_answers import MOST_RECORDS, show_answer
from storage import catalog, descriptions
from storage.answers import names_of, rows_of, write_parquet, write_text
from storage.errors import StoreError, UnknownNameError
from storage.store import Store
from storage.tables import TABLES

VALUES = r"""select 1 as a, null as b, '' as c, 'x,"y"' || chr(10) || 'z' as d, [1, null] as e,
    {'text': 'é', 'picture': '\xff\x00'::blob} as f, 'nan'::double as g, date '2026-01-02' as h,
    12345678901234567890::hugeint as i, 1.50::decimal(5, 2) as j, true as k, '<gdo class="a">|*x*_ \ ' as l,
    timestamp '2026-01-02 03:04:05' as m, map {'key': 2} as n, '-inf'::double as o"""
AS_JSON = {
    "a": 1, "b": None, "c": "", "d": 'x,"y"\nz', "e": [1, None], "f": {"text": "é", "picture": "/wA="}, "g": "NaN",
    "h": "2026-01-02", "i": 12345678901234567890, "j": 1.5, "k": True, "l": '<gdo class="a">|*x*_ \\ ',
    "m": "2026-01-02T03:04:05", "n": [["key", 2]], "o": "-Infinity",
}  # fmt: skip


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> str:
    made = Store(str(tmp_path / "store"), "run-1")
    write(made, [movie()], shard="mabc")
    write(made, [frame(number) for number in range(30)])
    write(made, [caption(), caption("mabc_000001", "a cat [red]\x1b[2J")], captioner="scripted")
    return made.location


def text_of(answer: duckdb.DuckDBPyRelation, form: str) -> str:
    target = io.StringIO(newline="")
    write_text(answer, form, target)
    return target.getvalue()


def shown(answer: duckdb.DuckDBPyRelation, width: int = 100, most_rows: int | None = None) -> str:
    target = io.StringIO()
    show_answer(answer, Console(file=target, width=width), most_rows)
    return target.getvalue()


def test_json_has_an_object_a_line_with_every_kind_of_value(connection: duckdb.DuckDBPyConnection) -> None:
    (line,) = text_of(connection.sql(VALUES), "json").splitlines()
    assert json.loads(line, parse_constant=lambda word: pytest.fail(word)) == AS_JSON


def test_csv_is_read_back_as_it_was(connection: duckdb.DuckDBPyConnection) -> None:
    text = text_of(connection.sql(VALUES), "csv")
    names, row = csv.reader(io.StringIO(text, newline=""))
    assert dict(zip(names, row, strict=True)) == {
        name: value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
        for name, value in AS_JSON.items()
    }
    told = connection.sql("select null as a, '' as b union all select 'null', ' x'")
    assert text_of(told, "csv") == 'a,b\n,""\nnull," x"\n'
    assert text_of(connection.sql("select null as a union all select 'x'"), "csv") == 'a\n""\nx\n'


def test_markdown_cannot_be_broken_by_what_stands_in_it(connection: duckdb.DuckDBPyConnection) -> None:
    head, rule, row = text_of(connection.sql(VALUES), "markdown").splitlines()
    assert head.count("|") == rule.count("|") == len(AS_JSON) + 1
    assert row.replace("\\|", "").count("|") == len(AS_JSON) + 1
    assert 'x,"y"<br>z' in row
    assert r"&lt;gdo class=\"a\"&gt;".replace("\\", "") + r"\|\*x\*\_ \\" in row
    assert "&lt;2 bytes&gt;" in row


def test_parquet_keeps_the_types(connection: duckdb.DuckDBPyConnection) -> None:
    target = io.BytesIO()
    assert write_parquet(connection.sql(VALUES), target) == 1
    target.seek(0)
    read = pq.read_table(target)
    assert read["f"][0].as_py() == {"text": "é", "picture": b"\xff\x00"}
    assert [str(read.schema.field(name).type) for name in "aehm"] == [
        "int32", "list<element: int32>", "date32[day]", "timestamp[us]",
    ]  # fmt: skip
    with pytest.raises(StoreError, match=r"Cast that column"):
        write_parquet(connection.sql("select interval 1 day as i"), io.BytesIO())


def test_columns_of_equal_names_keep_their_values(connection: duckdb.DuckDBPyConnection) -> None:
    twice = connection.sql("select 1 as a, 2 as a, 3 as b")
    assert names_of(twice) == ["a_1", "a_2", "b"]
    assert text_of(twice, "csv") == "a_1,a_2,b\n1,2,3\n"
    target = io.BytesIO()
    write_parquet(twice, target)
    assert pq.read_table(target).column_names == ["a_1", "a_2", "b"]


def test_what_goes_wrong_while_rows_are_written_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    late = connection.sql("select (case when i < 5000 then '1' else 'x' end)::integer as n from range(6000) r(i)")
    for write_it in (
        lambda: text_of(late, "csv"),
        lambda: write_parquet(late, io.BytesIO()),
        lambda: list(rows_of(late)),
    ):
        with pytest.raises(StoreError, match="DuckDB says"):
            write_it()


def test_a_row_wider_than_the_terminal_is_shown_column_by_column(store: str) -> None:
    with catalog.connect(store) as connection:
        one = shown(catalog.ask(connection, "caption_origin", {"caption_id": "mabc_000000/scripted/0"}), width=60)
        names = catalog.ask(connection, "caption_origin", {"caption_id": ""}).columns
        assert [line.split()[0] for line in one.splitlines() if line[:1].strip()] == names
        several = shown(catalog.ask(connection, "from captions"), width=60)
        assert [line.split()[1] for line in several.splitlines() if line.startswith("row ")] == ["1", "2"]
        assert all(f"\n{name}" in several for name in catalog.ask(connection, "from captions").columns)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_column_is_missing(width: int, store: str) -> None:
    with catalog.connect(store) as connection:
        for asked in ("from captions", "from frames", "from verdicts", "throughput", "movie_status", "from files"):
            answer = catalog.ask(connection, asked)
            said = shown(answer, width=width)
            assert max(len(line) for line in said.splitlines()) <= width
            if width >= 40:
                assert all(name in "".join(said.split()) for name in answer.columns)


def test_throughput_fits_into_a_terminal_as_a_table(store: str) -> None:
    with catalog.connect(store) as connection:
        header = next(line for line in shown(catalog.ask(connection, "throughput")).splitlines() if line.strip())
    assert header.split() == [
        "stage", "captioner", "rows", "seconds", "rows_s", "frames_s", "read_s", "written_s", "waiting_s",
    ]  # fmt: skip


LEFT_OUT = {None: "50 more rows not shown, 200 shown", 0: None, 249: "1 more row not shown, 249 shown", 250: None}


@pytest.mark.parametrize("most", LEFT_OUT)
def test_rows_that_are_left_out_are_counted(most: int | None, connection: duckdb.DuckDBPyConnection) -> None:
    said = shown(connection.sql("select i, i * 2 as j from range(250) r(i)"), most_rows=most)
    assert [line for line in said.splitlines() if "not shown" in line] == ([LEFT_OUT[most]] if LEFT_OUT[most] else [])
    assert (" 498 " in said) == (LEFT_OUT[most] is None)


def test_of_wide_rows_fewer_are_shown(store: str) -> None:
    with catalog.connect(store) as connection:
        said = shown(catalog.ask(connection, "from frames"), width=60)
    assert said.count("row ") == MOST_RECORDS
    assert "10 more rows not shown, 20 shown" in said


def test_texts_neither_steer_the_terminal_nor_are_read_as_markup(store: str) -> None:
    with catalog.connect(store) as connection:
        said = shown(catalog.ask(connection, "select text, frame_id from captions"))
        assert "a cat [red][U+001B][2J" in said
        assert "\x1b" not in shown(catalog.ask(connection, "select '\x1b]0;x\x07' as \"\x1b[1m\", 1 as b"))


def test_nulls_pictures_and_plans(store: str) -> None:
    with catalog.connect(store) as connection:
        assert "NULL" in shown(catalog.ask(connection, "select null as a, 'x' as b"))
        assert "<2 bytes>" in shown(catalog.ask(connection, "select image from frames limit 1"))
        assert "PARQUET" in shown(catalog.ask(connection, "explain select * from frames")).upper()


def test_the_command_writes_each_format_to_a_file(
    store: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    for form in ("csv", "json", "markdown", "parquet"):
        place = tmp_path / f"answer.{form}"
        asked = ["sql", "select frame_id, image from frames order by 1", "--store", store, "--format", form]
        assert main([*asked, "--out", str(place)]) == 0
        assert main(asked) == 0
        assert capsysbinary.readouterr().out == place.read_bytes()
        assert main([*asked, "--out", str(place)]) == 1
        assert b"--force" in capsysbinary.readouterr().err
        assert main([*asked, "--out", str(place), "--force"]) == 0
    assert pq.read_table(tmp_path / "answer.parquet").num_rows == 30


def test_wrong_wishes_are_answered_with_the_remedy(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, says in (
        (["select 1; select 2", "--format", "csv"], "csv holds one answer, and there are 2 questions"),
        (["select 1", "--out", str(tmp_path / "x")], "--format"),
        (["select 1", "--rows", "-1"], "--rows is a number of rows"),
        (["--rows", "-1"], "--rows is a number of rows"),
        (["--out", str(tmp_path / "x")], "there is no question"),
        (["--format", "parquet"], "there is no question"),
    ):
        assert main(["sql", *arguments, "--store", store]) == 2
        assert says in capsys.readouterr().err
    assert main(["sql", "select 1 as a; select 2 as b where $x = 'y';", "x=y", "--store", store]) == 0
    assert capsys.readouterr().out.split() == ["a", "1", "b", "2"]
    assert main(["sql", "select 1; select 2", "z=y", "--store", store]) == 2
    assert "unknown: z" in capsys.readouterr().err


def test_an_error_that_quotes_a_text_steers_no_terminal(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "select (chr(27) || '[2J')::int", "--store", store]) == 1
    assert "'[U+001B][2J'" in capsys.readouterr().err


def test_describe_lists_tables_and_explains_one(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "--store", store]) == 0
    said = capsys.readouterr().out
    assert all(f" {name} " in said for name in [*TABLES, "captions_ok", "captions_chosen", "files"])
    assert all(f"\n{name}" in said for name in catalog.queries())
    assert main(["describe", "frames", "--store", store]) == 0
    said = capsys.readouterr().out
    assert said.startswith("frames, 30 rows. One extracted frame.\nKey: frame_id\n")
    assert "0 to 29" in said
    assert "presentation time" in said
    assert main(["describe", "frame", "--store", store]) == 2
    assert "Did you mean 'frames'" in capsys.readouterr().err


def test_a_column_is_described_with_its_nulls_and_values(store: str) -> None:
    with catalog.connect(store) as connection:
        told = {one.name: one for one in descriptions.describe(connection, "captions").columns}
        assert (told["error"].nulls, told["error"].values) == (1.0, "")
        assert (told["captioner"].nulls, told["captioner"].values) == (0.0, "scripted")
        assert told["prompt_tokens"].values == "1"
        frames = {one.name: one for one in descriptions.describe(connection, "frames").columns}
        assert frames["frame_index"].values == "0 to 29"
        assert frames["image"].values.startswith('{"bytes": "<2 bytes>"')
        assert "about" in frames["frame_id"].values
        empty = descriptions.describe(connection, "judgements")
        assert (empty.rows, empty.key) == (0, ("caption_id", "rater", "criterion"))
        assert all(column.meaning for name in descriptions.table_names(connection)
                   for column in descriptions.describe(connection, name).columns)  # fmt: skip
        assert descriptions.column_names(connection)["files"][0] == "table"
        with pytest.raises(UnknownNameError, match="Did you mean 'verdicts'"):
            descriptions.describe(connection, "verdict")
        assert list(rows_of(catalog.ask(connection, "select count(*) from movies"))) == [(1,)]
