"""A few captioned frames of a store, spread over it: what a person looks at first."""

from collections.abc import Collection
from dataclasses import dataclass

from storage import catalog
from storage.partial_reads import rows_with
from storage.store import Store, path_of
from storage.tables import Detection, Frame, Mention

_PICKED = """
with counted as (
    select captions.caption_id, frames.movie_id, captions.frame_id, captions.text, captions.plain_text,
           captions.caption_id in (select caption_id from captions_ok) as ok,
           captions.caption_id in (select caption_id from mentions where len(object_ids) > 0) as cites
    from captions join frames on frames.frame_id = captions.frame_id
    left join choices on choices.caption_id = captions.caption_id and choices.captioner = captions.captioner
    where captions.captioner = $captioner and movie_id in (select unnest($movies)) and captions.error is null
      and coalesce(choices.rank = 0, captions.attempt = 0)
), best as (
    select * from counted where (ok, cites) = (select max((ok, cites)) from counted)
), placed as (
    select *, row_number() over (order by frame_id, caption_id) - 1 as place, count(*) over () as number from best
)
select movie_id, frame_id, caption_id, text, plain_text, ok from placed
where place in (select (2 * i + 1) * number // (2 * $wanted) from range($wanted) as _(i))
order by frame_id
"""


@dataclass(frozen=True)
class Sample:
    """One frame with its picture, what was detected in it, and the caption that stands for it."""

    frame: Frame
    detections: list[Detection]
    caption_id: str
    text: str
    plain_text: str
    mentions: list[Mention]
    ok: bool
    """Whether the caption is in captions_ok."""


def sample_captions(store: Store, captioner: str, movies: Collection[str], wanted: int) -> list[Sample]:
    """At most `wanted` frames of these movies, by movie_id, at even distances among those with the best captions.

    Best are captions in captions_ok that cite something; without any, those in captions_ok; without any, whatever
    stands for its frame. The same store gives the same frames. Raises StoreError.
    """
    with catalog.connect(store.location, may_be_empty=True) as connection, catalog.translated_errors():
        given = {"captioner": captioner, "movies": sorted(movies), "wanted": wanted}
        picked = connection.execute(_PICKED, given).fetchall()
    samples = []
    for movie_id, frame_id, caption_id, text, plain_text, ok in picked:
        if (found := _frame(store, movie_id, frame_id)) is None:
            continue  # its file is being replaced
        frame, shard = found
        detections = rows_with(store.files, path_of("detections", shard), Detection, "frame_id", {frame_id})
        mentions = rows_with(store.files, path_of("mentions", shard, captioner), Mention, "caption_id", {caption_id})
        samples.append(Sample(frame, list(detections), caption_id, text, plain_text, list(mentions), ok))
    return samples


def _frame(store: Store, movie_id: str, frame_id: str) -> tuple[Frame, str] | None:
    """A frame and its shard."""
    for path in store.files.under(f"frames/movie_id={movie_id}"):
        for frame in rows_with(store.files, path, Frame, "frame_id", {frame_id}):
            return frame, f"{movie_id}/{path.rpartition('/')[2].removesuffix('.parquet')}"
    return None
