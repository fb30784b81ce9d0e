"""Values of an answer that Arrow, Parquet or Python have not: they become text, as DuckDB writes them.

- Of type bit, bignum, uhugeint, time with a zone, geometry or variant: DuckDB hands them over as bytes, as another
  number or without their zone. `carried` asks for their text instead, in lists and structs too.
- A date or timestamp outside the years 1 to 9999, infinity, 24:00:00 and nanoseconds: Python has no such values. Their
  text is one that DuckDB reads back, as '290000-01-01 00:00:00' or '1000-01-01 (BC)'.
"""

from typing import Any

import duckdb
import pyarrow as pa

AS_TEXT = frozenset({"bit", "bignum", "uhugeint", "time with time zone", "geometry", "variant"})
_A_DAY = {"ms": 86_400 * 10**3, "us": 86_400 * 10**6, "ns": 86_400 * 10**9}
_CYCLE_YEARS = 400
_CYCLE_DAYS = 146_097
"""The calendar repeats itself after so many years, which are so many days."""
_INFINITY_DAYS = 2**31 - 1
_INFINITY = 2**63 - 1


def carried(answer: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The answer with text in place of what Arrow has no type for; the same answer where it has one for all."""
    kinds = [(kind, _carried(kind)) for kind in answer.types]
    if all(str(kind) == wanted for kind, wanted in kinds):
        return answer
    return answer.project(
        ", ".join(
            f"{f'#{place}' if str(kind) == wanted else f'#{place}::{wanted}'} as {_quoted(name)}"
            for place, (name, (kind, wanted)) in enumerate(zip(answer.columns, kinds, strict=True), 1)
        )
    )


def _carried(kind: Any) -> str:
    """The SQL of the type that a column of this type is asked for as."""
    if kind.id in AS_TEXT:
        return "VARCHAR"
    if kind.id == "timestamp_s":
        return "TIMESTAMP"  # Parquet has no seconds, and their infinity fits into no other unit that Arrow casts to
    if kind.id == "list":
        return f"{_carried(dict(kind.children)['child'])}[]"
    if kind.id == "array":
        parts = dict(kind.children)
        return f"{_carried(parts['child'])}[{parts['size']}]"
    if kind.id in ("map", "tuple"):
        return f"{kind.id.upper()}({', '.join(_carried(part) for _, part in kind.children)})"
    if kind.id in ("struct", "union"):
        parts = kind.children[kind.id == "union" :]  # the first of a union is its tag
        return f"{kind.id.upper()}({', '.join(f'{_quoted(name)} {_carried(part)}' for name, part in parts)})"
    return str(kind)


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def values_of(column: pa.Array) -> list[Any]:
    """A column as Python's values: as `to_pylist`, but for dates and times that Python has not."""
    if any(word in str(column.type) for word in ("date32", "timestamp", "time64")):
        return [_value(one) for one in column]
    return list(column.to_pylist())


def _value(given: Any) -> Any:
    if not given.is_valid:
        return None
    if isinstance(given, pa.MapScalar):
        return [(_value(pair[0]), _value(pair[1])) for pair in given.values]
    if isinstance(given, pa.ListScalar):
        return [_value(one) for one in given.values]
    if isinstance(given, pa.StructScalar):
        return {field.name: _value(given[place]) for place, field in enumerate(given.type)}
    if isinstance(given, pa.UnionScalar):
        return _value(given.value)
    if isinstance(given, pa.Time64Scalar):
        return _time(given)
    if isinstance(given, pa.Date32Scalar):
        return _moment(given, _INFINITY_DAYS, a_day=1)
    if isinstance(given, pa.TimestampScalar):
        return _moment(given, _INFINITY, _A_DAY[given.type.unit])
    return given.as_py()


def _time(given: pa.Time64Scalar) -> Any:
    unit = given.type.unit
    if given.value == _A_DAY[unit]:
        return "24:00:00"
    return _exact(given, pa.time64("us")) if unit == "ns" else given.as_py()


def _moment(given: Any, infinity: int, a_day: int) -> Any:
    if abs(given.value) == infinity:
        return "infinity" if given.value > 0 else "-infinity"
    if a_day == _A_DAY["ns"]:
        return _exact(given, pa.timestamp("us", given.type.tz))
    try:
        return given.as_py()
    except (OverflowError, ValueError):
        return _far(given, a_day)


def _exact(given: Any, in_microseconds: pa.DataType) -> Any:
    """A value with nanoseconds, not rounded: as text where it has some beside its microseconds."""
    microseconds, rest = divmod(given.value, 1000)
    near = pa.scalar(microseconds, in_microseconds).as_py()
    if not rest:
        return near
    before, point, after = near.isoformat(timespec="microseconds").partition(".")
    return f"{before}{point}{after[:6]}{rest:03}{after[6:]}"


def _far(given: Any, a_day: int) -> str:
    """A date or timestamp that Python has not: what it has at the same place of another cycle, with the true year."""
    cycles, rest = divmod(given.value, _CYCLE_DAYS * a_day)
    near = pa.scalar(rest, given.type).as_py()
    year = near.year + cycles * _CYCLE_YEARS
    day = f"{year if year > 0 else 1 - year:04}{near:-%m-%d}{'' if year > 0 else ' (BC)'}"
    return day if a_day == 1 else f"{day} {near.isoformat()[11:]}"
