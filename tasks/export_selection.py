"""Which captions of a store leave it: those that may be used, one per frame and captioner, unless more is asked for.

DuckDB sorts on disk where memory does not suffice, and rows come as a stream.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from storage import catalog
from tasks.errors import ExchangeError

if TYPE_CHECKING:  # held by a flow that Prefect never lets go of, its classes are leaks that DuckDB prints at the end
    import duckdb

SORT_MEMORY = "512MB"
"""Beyond it DuckDB goes on in a temporary folder."""
ROWS_AT_ONCE = 256

CAPTIONS_SQL = """
select captions.frame_id, captions.caption_id, captions.captioner, text, plain_text, candidate, attempt,
       good.caption_id is not null as ok,
       case when captions.error is not null then 'failed' when ok then 'ok' when verdicts.verdict = 'ok' then 'stale'
            else coalesce(verdicts.verdict, 'not checked') end as verdict,
       row_number() over (partition by captions.frame_id, coalesce($captioner, captions.captioner)
                          order by ok desc, captions.error is not null, choices.rank nulls last, candidate, attempt
                         ) as place
from captions left join verdicts using (caption_id)
left join (select caption_id from captions_ok) as good using (caption_id)
left join choices on choices.caption_id = captions.caption_id
     and choices.captioner = coalesce($captioner, captions.captioner)
where $captioner is null or list_contains(string_split($captioner, '+'), captions.captioner)
"""
"""Every caption with its verdict. `place` 1 is the one of its frame that counts, as `choices` says; of a captioner
written a+b, the one chosen among both. One that failed has no text, and stands for its frame only where all did."""
REFERENCES_SQL = """
select frame_id, reference_id as caption_id, source as captioner, text, plain_text, 0 as candidate, 0 as attempt,
       true as ok, 'ok' as verdict, 1 as place
from "references" where list_contains($references, source)
"""
WHERE_SQL = """
(len($movies) = 0 or list_contains($movies, frames.movie_id) or list_contains($movies, movies.title))
and ($every or place is null or place = 1)
"""
ROWS_SQL = """
with told as ({told}), good as (select * from told where ok or ($quarantined and verdict <> 'failed'))
select frames.movie_id, movies.title, frames.frame_index, frames.frame_id, good.caption_id, good.captioner, good.text,
       good.plain_text, good.ok, good.verdict
from frames {join} join good using (frame_id) left join movies using (movie_id)
where {where} {picked}
order by frames.movie_id, frames.frame_index, good.captioner, place, candidate, attempt, good.caption_id
"""
LEFT_OUT_SQL = """
with told as ({told}) select verdict, count(*)
from frames join told using (frame_id) left join movies using (movie_id)
where not (ok or ($quarantined and verdict <> 'failed')) and {where} {picked}
group by verdict order by verdict
"""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to leave a store."""

    query: str | None = None
    """SQL, or a ready query's name, whose answer has a column caption_id or frame_id: only those."""
    movies: tuple[str, ...] = ()
    """movie_ids or titles; empty: all."""
    captioner: str | None = None
    """One captioner, or several joined by '+': the caption chosen among theirs. None: one caption of each."""
    references: tuple[str, ...] = ()
    """Sources of references to take in place of captions."""
    quarantined: bool = False
    """Captions that are not in captions_ok too; failed ones never: they have no text."""
    every_candidate: bool = False
    """All captions of a frame, not only the one that counts."""


@dataclass(frozen=True)
class Chosen:
    """One frame that leaves the store, and one of its captions; None where it has none."""

    movie_id: str
    title: str
    frame_id: str
    caption: "CaptionRow | None"


@dataclass(frozen=True)
class CaptionRow:
    """A caption as it leaves the store."""

    caption_id: str
    captioner: str
    """Captioner, or the source of a reference."""
    text: str
    """With its tags."""
    plain_text: str
    ok: bool
    verdict: str


@dataclass
class Selection:
    """Rows in order of movie, frame and captioner, and what was left out of them."""

    connection: "duckdb.DuckDBPyConnection"
    wanted: Wanted
    picked_by: str = ""
    """The column that the query's answer goes by; its ids stand in a table `picked`. Empty without a query."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Captions of the selection that are not in it, by verdict."""

    def rows(self, *, all_frames: bool) -> Iterator[Chosen]:
        """Frames with captions; with `all_frames` those without, too, once each."""
        reader = self._ask(ROWS_SQL, "left" if all_frames else "").to_arrow_reader(ROWS_AT_ONCE)
        with catalog.translated_errors():
            for batch in reader:
                for row in batch.to_pylist():
                    told = {name: row[name] for name in CaptionRow.__dataclass_fields__}
                    caption = None if row["caption_id"] is None else CaptionRow(**told)
                    yield Chosen(row["movie_id"], row["title"] or row["movie_id"], row["frame_id"], caption)

    def frames(self, *, all_frames: bool) -> int:
        """How many different frames there are in `rows`."""
        rows = self._ask(ROWS_SQL, "left" if all_frames else "")
        ((number,),) = rows.aggregate("count(distinct frame_id)").fetchall()
        return int(number)

    def _ask(self, sql: str, join: str = "") -> "duckdb.DuckDBPyRelation":
        wanted = self.wanted
        values = {
            "captioner": wanted.captioner, "references": list(wanted.references), "movies": list(wanted.movies),
            "every": wanted.every_candidate, "quarantined": wanted.quarantined,
        }  # fmt: skip
        told = REFERENCES_SQL if wanted.references else CAPTIONS_SQL
        picked = f"and {self.picked_by} in (select picked_id from picked)" if self.picked_by else ""
        text = sql.format(told=told, join=join, where=WHERE_SQL, picked=picked)
        with catalog.translated_errors():
            return self.connection.sql(text, params={one: values[one] for one in values if f"${one}" in text})


@contextmanager
def select(location: str, wanted: Wanted) -> Iterator[Selection]:
    """Open a store to select from.

    Raises StoreError when there is no store or the query is at fault, ExchangeError when its answer names neither
    captions nor frames, or when a captioner, source or movie that is asked for is not there.
    """
    with catalog.connect(location) as connection, TemporaryDirectory() as scratch:
        connection.execute(f"set temp_directory = '{scratch}'")
        connection.execute(f"set memory_limit = '{SORT_MEMORY}'")
        _check_names(connection, location, wanted)
        selection = Selection(connection, wanted, _pick(connection, wanted.query) if wanted.query is not None else "")
        found = selection._ask(LEFT_OUT_SQL).fetchall()
        selection.left_out.update(dict(found))
        yield selection


def _pick(connection: "duckdb.DuckDBPyConnection", query: str) -> str:
    """Put the ids that a query answers with into a table `picked`; the column that they are of."""
    asked = catalog.ask(connection, query)
    column = next((one for one in ("caption_id", "frame_id") if one in asked.columns), None)
    if column is None:
        raise ExchangeError(
            f"the query answers with {', '.join(asked.columns)}; what leaves the store goes by a column caption_id or "
            "frame_id. Select one of them."
        )
    with catalog.translated_errors():
        asked.project(f'"{column}" as picked_id').distinct().create("picked")
    return "frames.frame_id" if column == "frame_id" else column


def _check_names(connection: "duckdb.DuckDBPyConnection", location: str, wanted: Wanted) -> None:
    for kind, names, known in (
        (
            "captioner",
            (wanted.captioner or "").split("+") if wanted.captioner else [],
            "select captioner from captions",
        ),
        ("source", wanted.references, 'select source from "references"'),
        ("movie", wanted.movies, "select movie_id from movies union select title from movies"),
    ):
        there = {one for (one,) in connection.execute(f"select distinct * from ({known})").fetchall()} if names else ()
        if lost := [name for name in names if name not in there]:
            raise ExchangeError(f"{location} has no {kind} {lost[0]!r}; it has {', '.join(sorted(there)) or 'none'}.")
