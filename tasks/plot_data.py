"""What a plot is asked for, and the numbers behind it: SQL over a store's catalog, never more than a plot needs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from storage.catalog import translated_errors
from tasks.errors import PlotError, UnknownNameError

if TYPE_CHECKING:  # held by a flow that Prefect never lets go of, its classes are leaks that DuckDB prints at the end
    import duckdb

MOST_CAPTIONERS, MOST_METRICS = 24, 12
"""In one plot."""
MEAN = "_macro"
"""How a summary is named that is the mean over captions of a score without it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One store, and what of it is wanted."""

    connection: "duckdb.DuckDBPyConnection"
    location: str
    captioners: tuple[str, ...] = ()
    """Empty: all that there are."""
    metrics: tuple[str, ...] = ()
    """Empty: what the plot thinks most worth seeing."""
    known: frozenset[str] = field(default=frozenset())
    """Every name that a captioner has anywhere in the store."""

    @property
    def store(self) -> str:
        """The store's name for people: the last part of its path."""
        return PurePosixPath(self.location.rstrip("/")).name or self.location

    def rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """The answer to SQL with $names. Raises StoreError."""
        with translated_errors():
            return self.connection.execute(sql, values or None).fetchall()

    def chosen(self, there: Iterable[str], what: str, remedy: str) -> list[str]:
        """The captioners to draw, of those that have data for this plot, in the order they were asked for.

        Raises UnknownNameError for one that the store does not have, PlotError with `remedy` where `what` is missing.
        """
        found = set(there)
        for name in self.captioners:
            if name not in self.known | found:
                raise UnknownNameError("captioner", name, sorted(self.known | found))
        if lacking := [name for name in self.captioners if name not in found]:
            raise PlotError(f"{self.location} has no {what} of {', '.join(lacking)}. {remedy}")
        if not found:
            raise PlotError(f"{self.location} has no {what}. {remedy}")
        names = list(dict.fromkeys(self.captioners)) or sorted(found)
        if len(names) > MOST_CAPTIONERS:
            raise PlotError(f"{len(names)} captioners are too many for one plot: name some with --captioners.")
        return names


def known_captioners(connection: "duckdb.DuckDBPyConnection") -> frozenset[str]:
    """Whoever captions, is summed up or was trained in a store."""
    tables = {"captions": "captioner", "summaries": "captioner", "stage_runs": "captioner", "adapters": "adapter"}
    sql = " union ".join(f"select {column} from {table} where {column} <> ''" for table, column in tables.items())
    with translated_errors():
        return frozenset(name for (name,) in connection.execute(sql).fetchall())


def number_of(many: int, what: str) -> str:
    """A number with its noun, in the plural where it is not one."""
    return f"{many:,} {what}{'' if many == 1 else 's'}"


def counted(captions: dict[str, int], names: Sequence[str], labels: dict[str, str]) -> str:
    """How many captions of whom a plot shows, for its subtitle."""
    if len(names) <= 2:
        return ", ".join(f"{labels[name]}: {number_of(captions.get(name, 0), 'caption')}" for name in names)
    return f"{number_of(sum(captions.get(name, 0) for name in names), 'caption')} by {len(names)} captioners"


def each_of(captions: Iterable[int]) -> str:
    """How many captions a value is of, over the captioners of a panel."""
    least, most = min(many := list(captions)), max(many)
    return f"{least:,} captions each" if least == most else f"{least:,} to {most:,} captions each"


def chosen_metrics(asked: Asked, there: Collection[str], preferred: Sequence[str], remedy: str) -> list[str]:
    """The metrics to draw: those asked for, else the preferred ones that are there, else the first that are.

    A name may be that of single captions or of their mean: `meteor`, `coverage`, `coverage_macro`. Raises
    UnknownNameError for a name that the store does not have, PlotError with `remedy` where it has no value here.
    """
    chosen = []
    for name in asked.metrics:
        short = name.removesuffix(MEAN)
        found = next((one for one in (name, short, short + MEAN) if one in there), None)
        if found is None:
            known = {row[0] for row in asked.rows("select metric from scores union select metric from summaries")}
            if not known & {name, short, short + MEAN}:
                raise UnknownNameError("metric", name, sorted(known))
            raise PlotError(f"{asked.location} has no values of {name} that this plot could show. {remedy}")
        chosen.append(found)
    chosen = list(dict.fromkeys(chosen)) or [name for name in preferred if name in there] or sorted(there)
    if len(chosen) > MOST_METRICS:
        if asked.metrics:
            raise PlotError(f"{len(chosen)} metrics are too many for one plot: at most {MOST_METRICS} with --metrics.")
        chosen = chosen[:MOST_METRICS]
    return chosen


def meanings(asked: Asked) -> dict[str, tuple[str, bool | None]]:
    """What each summary means, and whether higher is better; values of single captions have their mean's."""
    rows = asked.rows(
        "select metric, any_value(meaning order by captioner), any_value(higher_is_better order by captioner) "
        "from metrics group by metric"
    )
    said = {metric: (meaning, higher) for metric, meaning, higher in rows}
    return {metric.removesuffix(MEAN): one for metric, one in said.items()} | said
