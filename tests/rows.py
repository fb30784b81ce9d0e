"""Small rows for tests, every column filled; writing them, and asking a store in SQL."""

import dataclasses
from pathlib import Path
from typing import Any

from storage import catalog
from storage.store import EXECUTION, Store, TableRef
from storage.tables import Box, Caption, Detection, Frame, Image, Movie, Row
from tasks import tags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    value: int = 1
    device: str = dataclasses.field(default="cpu", metadata=EXECUTION)


def frame(index: int = 0, movie: str = "mabc") -> Frame:
    return Frame(
        frame_id=f"{movie}_{index:06d}",
        movie_id=movie,
        shot_index=0,
        frame_index=index,
        pts_seconds=index / 24,
        width=4,
        height=2,
        image=Image(bytes=b"\xff\xd8", path="x.jpg"),
    )


def movie(movie_id: str = "mabc") -> Movie:
    return Movie(
        movie_id=movie_id,
        title="A",
        path="/a.mp4",
        other_paths=[],
        sha256="0" * 64,
        size_bytes=1,
        width=4,
        height=2,
        codec="h264",
        frame_rate=None,
        duration_seconds=1.0,
        decoded_frames=3,
        damaged_frames=0,
        status="ok",
        error=None,
    )


def detection(object_id: str = "dog-0", *, frame_id: str = "mabc_000000", is_thing: bool = True) -> Detection:
    """One object; its label is its id's."""
    return Detection(
        frame_id=frame_id,
        object_id=object_id,
        object_index=0,
        segment_id=1,
        label=object_id.rpartition("-")[0],
        category_id=0,
        is_thing=is_thing,
        score=0.9,
        box=Box(x=0.0, y=0.0, w=1.0, h=1.0),
        area=1.0,
        mask=None,
        mask_width=0,
        mask_height=0,
    )


def caption(
    frame_id: str = "mabc_000000",
    text: str = "a dog",
    *,
    captioner: str = "scripted",
    error: str | None = None,
    plain_text: str | None = None,
) -> Caption:
    """One caption; its plain text is its text's unless said otherwise."""
    return Caption(
        caption_id=f"{frame_id}/{captioner}/0",
        frame_id=frame_id,
        captioner=captioner,
        candidate=0,
        attempt=0,
        mended_from=None,
        repairs=[],
        text=text,
        plain_text=tags.strip(text) if plain_text is None else plain_text,
        checkpoint="scripted",
        adapter=None,
        prompt_template="groundcap-card",
        prompt_digest="0" * 16,
        prompt_tokens=1,
        completion_tokens=1,
        decoding="free",
        temperature=0.0,
        top_p=1.0,
        seed=0,
        finish_reason="error" if error else "stop",
        error=error,
        mean_logprob=None,
    )


def write(store: Store, rows: list[Row], shard: str = "mabc/00000", **options: object) -> TableRef:
    kinds = list(dict.fromkeys(type(row) for row in rows))
    output = store.output(kinds, stage="test", shard=shard, version=1, config=Settings(), **options)  # type: ignore[arg-type]
    with output.writer() as add:
        for row in rows:
            add(row)
    return output.ref


def asked(store: Store | Path, sql: str) -> list[tuple[Any, ...]]:
    """What a store answers."""
    with catalog.connect(store.location if isinstance(store, Store) else str(store)) as connection:
        return connection.sql(sql).fetchall()
