"""Values of an answer that Arrow, Parquet or Python have not: right in every format, nested or not, or refused."""

import datetime
import io
import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from rich.console import Console

from flows.show_answers import show_answer
from storage.answers import TEXT_FORMATS, rows_of, write_parquet, write_text
from storage.errors import StoreError

MOMENTS = {
    "'infinity'::date": "infinity",
    "'-infinity'::date": "-infinity",
    "'290000-01-01'::date": "290000-01-01",
    "'5877642-06-25 (BC)'::date": "5877642-06-25 (BC)",
    "'10000-01-01'::date": "10000-01-01",
    "'0001-12-31 (BC)'::date": "0001-12-31 (BC)",
    "'2000-02-29'::date": "2000-02-29",
    "'infinity'::timestamp": "infinity",
    "'-infinity'::timestamp": "-infinity",
    "'290000-01-01'::timestamp": "290000-01-01 00:00:00",
    "'1000-02-28 (BC) 10:00:00.5'::timestamp": "1000-02-28 (BC) 10:00:00.500000",
    "'9999-12-31 23:59:59.999999'::timestamp": "9999-12-31T23:59:59.999999",
    "'infinity'::timestamp_s": "infinity",
    "'290000-01-01'::timestamp_s": "290000-01-01 00:00:00",
    "'2026-01-02 03:04:05'::timestamp_s": "2026-01-02T03:04:05",
    "'-infinity'::timestamp_ms": "-infinity",
    "'290000-01-01'::timestamp_ms": "290000-01-01 00:00:00",
    "'infinity'::timestamp_ns": "infinity",
    "'2026-01-02 03:04:05.000000001'::timestamp_ns": "2026-01-02T03:04:05.000000001",
    "'1969-12-31 23:59:59.999999999'::timestamp_ns": "1969-12-31T23:59:59.999999999",
    "'2026-01-02 03:04:05.000001'::timestamp_ns": "2026-01-02T03:04:05.000001",
    "'infinity'::timestamptz": "infinity",
    "'290000-06-01 12:00:00+00'::timestamptz": "290000-06-01 17:30:00+05:30",
    "'9999-12-31 20:00:00+00'::timestamptz": "10000-01-01 01:30:00+05:30",
    "'2026-01-02 03:04:05+00'::timestamptz": "2026-01-02T08:34:05+05:30",
    "'24:00:00'::time": "24:00:00",
    "'23:59:59.5'::time": "23:59:59.500000",
    "'10:00:00.123456789'::time_ns": "10:00:00.123456789",
}
OTHERS = {
    "'101'::bit": "101",
    "bignum '-99999999999999999999999999999999999999999'": "-99999999999999999999999999999999999999999",
    "340282366920938463463374607431768211455::uhugeint": "340282366920938463463374607431768211455",
    "(-170141183460469231731687303715884105727)::hugeint": -170141183460469231731687303715884105727,
    "'10:00:00+01:30'::timetz": "10:00:00+01:30",
    "'POINT(1 2)'::geometry": "POINT (1 2)",
    "{'a': 1}::variant": "{'a': 1}",
    "uuid '00000000-0000-0000-0000-000000000001'": "00000000-0000-0000-0000-000000000001",
    "'b'::enum('a', 'b')": "b",
    "'\\xAA'::blob": "qg==",
    "json '{\"a\": 1}'": '{"a": 1}',
}
PLAIN = {"null": None, "row(1, 2)": {"element1": 1, "element2": 2}, "[]": []}
WITHOUT_PARQUET = {
    "interval '1 month 2 days 3 seconds'": "1 months 2 days 3.0 seconds",
    "union_value(a := timetz '10:00:00+01')": "10:00:00+01",
    "union_value(a := 'infinity'::date)::union(a date, b integer)": "infinity",
    "map {}": [],
}
VALUES = MOMENTS | OTHERS | PLAIN | WITHOUT_PARQUET
NESTED = {
    "[{value}, {value}]": lambda said: [said, said],
    "array[{value}]": lambda said: [said],
    "{{'a b': {value}, 'c': 1}}": lambda said: {"a b": said, "c": 1},
    "row({value})": lambda said: {"element1": said},
    "map {{1: [{value}]}}": lambda said: [[1, [said]]],
}


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as made:
        made.execute("set timezone = 'Asia/Kolkata'")  # a fixed offset of hours and minutes
        yield made


def text_of(answer: duckdb.DuckDBPyRelation, form: str) -> str:
    target = io.StringIO(newline="")
    write_text(answer, form, target)
    return target.getvalue()


def as_json(answer: duckdb.DuckDBPyRelation) -> object:
    return json.loads(text_of(answer, "json"))["v"]


@pytest.mark.parametrize("value", VALUES)
def test_each_kind_of_value_is_written_in_each_format_of_text(
    value: str, connection: duckdb.DuckDBPyConnection
) -> None:
    answer = connection.sql(f"select {value} as v")
    assert as_json(answer) == VALUES[value]
    for form in TEXT_FORMATS:
        assert text_of(answer.limit(0), form).count("\n") == {"csv": 1, "json": 0, "markdown": 2}[form]
        assert text_of(answer, form).count("\n") == {"csv": 2, "json": 1, "markdown": 3}[form]
    shown = io.StringIO()
    show_answer(answer, Console(file=shown, width=100))
    said = VALUES[value]
    if isinstance(said, str) and "::blob" not in value:
        assert text_of(answer, "csv").splitlines()[1].replace('""', '"').strip('"') == said.strip('"')
        assert shown.getvalue().split(maxsplit=1)[1].strip() == said


@pytest.mark.parametrize("nesting", NESTED)
@pytest.mark.parametrize("value", VALUES)
def test_a_value_in_another_is_written_as_alone(
    value: str, nesting: str, connection: duckdb.DuckDBPyConnection
) -> None:
    answer = connection.sql(f"select {nesting.format(value=value)} as v union all select null")
    found = [json.loads(line)["v"] for line in text_of(answer, "json").splitlines()]
    assert found == [NESTED[nesting](VALUES[value]), None]


@pytest.mark.parametrize("value", MOMENTS)
def test_duckdb_reads_the_text_of_a_date_back(value: str, connection: duckdb.DuckDBPyConnection) -> None:
    kind = value.rpartition("::")[2]
    assert connection.sql(f"select '{MOMENTS[value]}'::{kind} = {value}").fetchall() == [(True,)]


@pytest.mark.parametrize("value", [*MOMENTS, *OTHERS])
def test_parquet_holds_the_same_values(value: str, tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    file = tmp_path / "answer.parquet"
    with file.open("wb") as target:
        assert write_parquet(connection.sql(f"select {value} as v, [{value}] as v, {{'a': {value}}} as w"), target) == 1
    found = connection.sql(f"select v_1::varchar, v_2[1]::varchar, w.a::varchar from '{file}'").fetchall()
    assert set(found[0]) == set(connection.sql(f"select ({value})::varchar").fetchall()[0])


@pytest.mark.parametrize("value", WITHOUT_PARQUET)
def test_parquet_names_the_column_that_it_cannot_hold(value: str, connection: duckdb.DuckDBPyConnection) -> None:
    for rows in (1, 0):
        answer = connection.sql(f"select 1 as a, {value} as b").limit(rows)
        with pytest.raises(StoreError, match=r"the column 'b' of .* Cast that column, as in value::varchar\.$"):
            write_parquet(answer, io.BytesIO())


def test_the_rows_keep_their_order_and_their_names(connection: duckdb.DuckDBPyConnection) -> None:
    asked = """select i, i::uhugeint as i, ('1'::bit) as "a ""b" from range(9000) r(i) order by -i"""
    assert list(rows_of(connection.sql(asked))) == [(i, str(i), "1") for i in range(8999, -1, -1)]
    assert text_of(connection.sql(f"{asked} limit 1"), "json") == '{"i_1": 8999, "i_2": "8999", "a \\"b": "1"}\n'
    assert list(rows_of(connection.sql("select map {'a': '\\xAA'::blob}, date '2026-01-02'"))) == [
        ([("a", b"\xaa")], datetime.date(2026, 1, 2))
    ]
    assert "&lt;1 bytes&gt;" in text_of(connection.sql("select map {'a': '\\xAA'::blob}"), "markdown")
