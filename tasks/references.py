"""Reference captions -> references: what text metrics compare with, and what adapters learn from.

They come from a file, or are the captions that a store chose. Several of one frame are several references.
"""

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from storage import catalog
from storage.store import Store, TableRef, captioners_of
from storage.tables import Reference
from tasks import tags
from tasks.errors import ConfigError, MissingPathError, ReferencesError
from tasks.frame_index import FrameIndex, NoFrameError
from tasks.movie_files import missing, nearest
from tasks.reference_files import Bad, Told, read_file

VERSION = 1
HUMAN = "human"
SHOWN = 5
"""Rows that a message lists."""
CHOSEN_SQL = """
select frames.frame_id, frames.movie_id, frames.pts_seconds, captions_ok.text
from captions_ok join frames using (frame_id)
where caption_id in (select caption_id from choices where chosen and captioner = $captioner)
   or (captioner = $captioner and candidate = 0
       and frame_id not in (select frame_id from choices where captioner = $captioner))
order by caption_id
"""
"""The captions that a store chose; of frames for which nothing was chosen, the first candidate where it is good."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What is hashed of an import."""

    source: str
    sha256: str


@dataclass(frozen=True)
class Imported:
    """What an import brought."""

    refs: list[TableRef]
    source: str
    unmatched: int = 0
    """References of no frame in the store: they were left out."""
    shown: list[str] = field(default_factory=list)
    """The first of those, with their place and what did not match."""

    @property
    def references(self) -> int:
        """How many were written."""
        return sum(ref.rows for ref in self.refs)


def bring_references(place: str, store: Store, source: str | None = None, captioner: str | None = None) -> Imported:
    """Add the references of a file, or the captions that a store chose of a captioner.

    `source` is `human` by default; of a store its captioner, who has to be named where there are several. Raises
    MissingPathError where nothing is at `place`, and what import_references and import_captions raise.
    """
    check_place(place)
    if captioner is None and _is_store(place):
        captioner = _only_captioner(place)
    if captioner is None:
        return import_references(place, store, source or HUMAN)
    return import_captions(place, captioner, store, source or captioner)


def check_place(place: str) -> None:
    """Raises MissingPathError where nothing is: it takes no time, unlike the start of a run."""
    if "://" not in place and missing([place]):
        raise MissingPathError([place], nearest(place))


def _is_store(place: str) -> bool:
    return "://" in place or Path(place).is_dir()


def _only_captioner(location: str) -> str:
    known = captioners_of(Store(location))
    if len(known) == 1:
        return known[0]
    raise ReferencesError(
        f"{location} has captions by {', '.join(known) or 'nobody'}. Say whose are the references: name the captioner."
    )


def import_references(path: str, store: Store, source: str) -> Imported:
    """Add the reference captions of a file, one table file per movie; those of the same source and movie are replaced.

    JSON Lines (.jsonl, .ndjson), JSON (.json: a list, or COCO's captions with `annotations` and `images`), CSV (.csv,
    with a header) or Parquet (.parquet), in UTF-8. A row has a `caption` (or `text`, `reference`), and says which frame
    it is of in `frame_id`; in `movie` (id, title or file name) and `seconds` (or `time`, also as 1:02:03.5): the frame
    nearest, within half a second; or in `image` (or `file_name`, `image_id`): a frame's picture by its name. In JSON
    and Parquet a caption may be a list of captions.

    Nothing is imported when a row cannot be used: ReferencesError lists the first such rows with line and column. A
    caption without a letter or digit is one: no metric can compare with it. Rows of no frame in the store are left out
    and counted; when all are, ReferencesError says so. Raises ConfigError for a `source` that is no name.
    """
    check_source(source)
    told, bad = [], []
    for one in read_file(Path(path)):
        told.append(one) if isinstance(one, Told) else bad.append(one)
    if bad:
        number = f"{len(bad)} bad row" + ("s" if len(bad) > 1 else "")
        raise ReferencesError(
            f"{number} in {path}, nothing was imported: {_shown(bad)}. Correct them, then import again."
        )
    return _import(told, path, store, source)


def import_captions(location: str, captioner: str, store: Store, source: str) -> Imported:
    """Add the captions that a store chose of a captioner as references: those that may be used, one per frame.

    The other store may be this one. Frames are the same when movie and time are. Raises ReferencesError when there are
    none, StoreError when there is no store, ConfigError for a `source` that is no name.
    """
    check_source(source)
    with catalog.connect(location) as other:
        rows = other.execute(CHOSEN_SQL, {"captioner": captioner}).fetchall()
        if not rows:
            known = ", ".join(one for (one,) in other.execute("select distinct captioner from captions").fetchall())
            raise ReferencesError(
                f"{location} has no captions by {captioner!r} that may be used; its captioners: {known or 'none'}."
            )
    index = FrameIndex.of(store)
    told = []
    for frame_id, movie_id, seconds, text in rows:
        same = frame_id in index.shards  # an imported dataset has no times to go by
        where = {"frame_id": frame_id} if same else {"movie": movie_id}
        told.append(Told(f"caption of {frame_id}", text, seconds=seconds, **where))
    return _import(told, location, store, source, index)


def is_source(name: object) -> bool:
    """Whether somebody who writes references may be called so: it is part of a file's name."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) is not None


def check_source(source: str) -> None:
    """Raises ConfigError for what cannot be a source's name."""
    if not is_source(source):
        raise ConfigError(f"source is {source!r}; it has to be letters, digits, dots, dashes and underscores.")


def _shown(bad: Sequence[Bad]) -> str:
    more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
    return "; ".join(f"{one.place}: {one.why}" for one in bad[:SHOWN]) + more


def _import(told: Sequence[Told], what: str, store: Store, source: str, index: FrameIndex | None = None) -> Imported:
    if not told:
        raise ReferencesError(f"{what} holds no reference captions.")
    index = index or FrameIndex.of(store)
    by_movie: dict[str, list[tuple[str, str]]] = defaultdict(list)
    lost: list[Bad] = []
    for one in told:
        try:
            frame_id = one.find(index)
        except NoFrameError as error:
            lost.append(Bad(one.place, str(error)))
            continue
        by_movie[_movie_of(frame_id)].append((frame_id, one.text))
    if not by_movie:
        raise ReferencesError(
            f"none of the {len(told)} references in {what} is of a frame in {store.location}: {_shown(lost)}. "
            "Extract these movies first, or name the frames as that store does."
        )
    refs = [write_references(movie_id, rows, store, source) for movie_id, rows in sorted(by_movie.items())]
    return Imported(refs, source, len(lost), [f"{one.place}: {one.why}" for one in lost[:SHOWN]])


def _movie_of(frame_id: str) -> str:
    return frame_id.rpartition("_")[0]


def write_references(movie_id: str, rows: Iterable[tuple[str, str]], store: Store, source: str) -> TableRef:
    """Write one movie's references of a source, (frame_id, text) each; those that stand there are replaced."""
    rows = list(rows)
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    output = store.output(
        [Reference],
        stage="references",
        shard=f"{movie_id}/{source}",
        config=_Source(source=source, sha256=digest),
        version=VERSION,
    )
    if output.is_current():
        return output.ref
    with output.writer() as write:
        for row in _numbered(rows, source):
            write(row)
    return output.ref


def _numbered(rows: Iterable[tuple[str, str]], source: str) -> Iterator[Reference]:
    numbers: dict[str, int] = defaultdict(int)
    for frame_id, text in rows:
        yield Reference(
            reference_id=f"{frame_id}/{source}/{numbers[frame_id]}",
            frame_id=frame_id,
            source=source,
            text=text,
            plain_text=tags.strip(text),
        )
        numbers[frame_id] += 1
