"""What of a store the gallery shows: its shards in order, and of each how many frames."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import duckdb

from storage.catalog import ask, connect, translated_errors
from storage.errors import ParametersError
from storage.partial_reads import frame_facts
from storage.store import Store, captioners_of, path_of

PIECE_FRAMES = 24
"""Frames of one piece of a shard: what the page loads at once."""
KEY_DIGITS = 12
ASKED = "gallery_asked"
"""The table of the frames that `--query` gives, in the gallery's own connection."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard with something to show."""

    name: str
    """'<movie_id>/<number>', as in the store."""
    frames: int
    """Frames that are shown."""
    first: int = 0
    """Place of the first of them in the shard's file."""

    @property
    def movie_id(self) -> str:
        """The movie it is of."""
        return self.name.rpartition("/")[0]

    @property
    def key(self) -> str:
        """Its name in addresses: safe in any of them, and the same whatever else stands in the store."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:KEY_DIGITS]

    @property
    def frames_path(self) -> str:
        """Its file of frames in the store."""
        return path_of("frames", self.name)

    @property
    def pieces(self) -> int:
        """How many pieces its frames make."""
        return -(-self.frames // PIECE_FRAMES)


@dataclass(frozen=True)
class Selection:
    """What of a store is shown: all of it, or the frames that a query gives."""

    store: Store
    query: str | None
    connection: duckdb.DuckDBPyConnection

    @cached_property
    def captioners(self) -> list[str]:
        """Names under which captions stand in the store, sorted."""
        return captioners_of(self.store)

    @cached_property
    def shards(self) -> list[Shard]:
        """The shards with a frame to show, by movie, in order of time."""
        found = []
        for path in self.store.files.under("frames"):
            name = path.removeprefix("frames/movie_id=").removesuffix(".parquet")
            shard = Shard(name, 0)
            if self.query is None:
                footer = self.store.footer(shard.frames_path)
                frames, first = footer.rows if footer else 0, 0
            else:
                positions = self.positions(shard)
                frames, first = len(positions), min(positions, default=0)
            if frames:
                found.append(Shard(name, frames, first))
        return found

    def positions(self, shard: Shard) -> list[int]:
        """Which frames of a shard are shown, by their places in its file."""
        ids = [one.frame_id for one in frame_facts(self.store.files, shard.frames_path)]
        if self.query is None:
            return list(range(len(ids)))
        asked = self.connection.execute(
            f"select frame_id from {ASKED} where frame_id in (select unnest(?::varchar[]))", [ids]
        )
        wanted = {frame_id for (frame_id,) in asked.fetchall()}
        return [place for place, frame_id in enumerate(ids) if frame_id in wanted]


def select_frames(store: Store, query: str | None, *, may_be_empty: bool = False) -> Selection:
    """What to show of a store: all frames, or those that the query gives, as SQL or by the name of a ready one.

    The query has a column frame_id, caption_id or movie_id. Raises StoreError without a store or for SQL that fails,
    UnknownNameError for a name that is not there, ParametersError where the answer names no frames.
    """
    with translated_errors():  # of a damaged file
        connection = connect(store.location, may_be_empty=may_be_empty)
    if query is not None:
        answer = ask(connection, query)
        keys = {"frame_id": "frame_id", "caption_id": "captions", "movie_id": "frames"}
        key = next((name for name in keys if name in answer.columns), None)
        if key is None:
            raise ParametersError(_no_key(answer.columns))
        with translated_errors():
            answer.select(duckdb.ColumnExpression(key)).distinct().create("gallery_keys")
            source = "gallery_keys" if key == "frame_id" else f"{keys[key]} where {key} in (from gallery_keys)"
            connection.execute(f"create table {ASKED} as select distinct frame_id from {source}")
    return Selection(store, query, connection)


def _no_key(columns: Sequence[str]) -> str:
    return (
        f"the query gives {', '.join(columns)}, and no frame_id, caption_id or movie_id: it does not say what to show. "
        "Ask for one, as in \"select frame_id from detections where label = 'dog'\"."
    )
