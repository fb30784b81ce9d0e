"""Pictures of a dataset -> movies, frames, detections and references of a store, as if they had been extracted here.

A movie is what the dataset holds together: a film, a folder, an archive. What stands in the store already is not
written again; a movie that stands there with other pictures is replaced.
"""

import dataclasses
import hashlib
import io
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count, groupby, islice, takewhile
from operator import itemgetter

from PIL import Image as Pillow
from PIL import ImageOps

from storage.store import IMPORT, Store, path_of
from storage.tables import Detection, Failure, Frame, Image, Movie, Shot
from tasks.coco_panoptic import LABELS
from tasks.errors import ConfigError
from tasks.export_samples import picture_kind
from tasks.frame_work import UNREADABLE, why_unreadable
from tasks.movie_rows import delete_movie, delete_shards
from tasks.object_naming import clean_label
from tasks.reference_files import Bad
from tasks.references import write_references

VERSION = 2
SHARD_FRAMES = 192
PART_FRAMES = 10 * SHARD_FRAMES
"""What a dataset holds together beyond it becomes several movies: training splits by movie, and a killed import goes on
at the movie it was at."""
REMEMBERED = 1000
"""Rows left out that are remembered with their reason; the others are counted."""
CATEGORIES = {clean_label(label): number for number, label in enumerate(LABELS)}
PARTLY = "pictures' detections, for others of their shard have none: caption detects in all of them"
"""Said where a dataset has detections of some pictures only."""
OTHER = -1
"""Category id of a label that is none of COCO's."""
KEPT_FORMATS = ("JPEG", "PNG", "WEBP")
"""Pictures of these are stored byte by byte, as browsers and trainers read them; others become PNG."""
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held."""


@dataclass(frozen=True, kw_only=True)
class _Import:
    """What is hashed of an import."""

    name: str
    rows: str
    """sha256 of what the shard holds."""
    detected: bool
    """Whether the dataset brought detections; if not, `caption-movies caption` detects."""


@dataclass
class Brought:
    """What an import brought, and what it left out."""

    movies: int = 0
    frames: int = 0
    detections: int = 0
    references: Counter[str] = field(default_factory=Counter)
    """By source."""
    lost: int = 0
    """Rows left out."""
    left_out: list[Bad] = field(default_factory=list)
    """The first of them."""
    undetected: int = 0
    """Frames without detections of the dataset's own."""
    removed: list[str] = field(default_factory=list)
    """Movies that an import before this one made of what the dataset holds no more, by movie_id."""
    notes: Counter[str] = field(default_factory=Counter)
    """What else was not taken, as it cannot be, by its name."""

    def leave_out(self, place: str, why: str) -> None:
        """Count a row that cannot be used."""
        self.lost += 1
        if self.lost <= REMEMBERED:
            self.left_out.append(Bad(place, why))


@dataclass(frozen=True)
class Picture:
    """One picture of a dataset, or one more caption of one: pictures of one key in a movie are one frame."""

    key: str
    name: str
    """Its file name, or what stands for one, with ending."""
    content: bytes
    width: int
    height: int
    objects: tuple[Detection, ...] | None = None
    """In prompt order, frame_id empty. None: the dataset has no detections of it."""
    captions: tuple[tuple[str, str], ...] = ()
    """(source, text)"""
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Of picture and detections."""
        told = json.dumps([dataclasses.asdict(one) for one in self.objects or ()], sort_keys=True)
        return hashlib.sha256(hashlib.sha256(self.content).digest() + told.encode()).hexdigest()


def check_name(name: str) -> None:
    """What movies' ids begin with. Raises ConfigError."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name):
        raise ConfigError(f"name is {name!r}; it has to be letters and digits, a letter first.")


def readable(content: bytes, *, upright: bool = True) -> tuple[bytes, int, int]:
    """(bytes to store, width, height). Raises ValueError for what is no picture.

    JPEG, PNG and WebP stay as they are; others become PNG. With `upright` a picture that says it is to be turned is
    turned, for nothing after this looks at EXIF; where boxes come along, they are about the pixels as they stand.
    """
    try:
        with Pillow.open(io.BytesIO(content)) as opened:
            turned = upright and opened.getexif().get(ORIENTATION, 1) != 1
            if opened.format in KEPT_FORMATS and not turned:
                return content, *opened.size
            straight = ImageOps.exif_transpose(opened) if turned else opened
            packed = io.BytesIO()
            straight.convert("RGB").save(packed, "PNG")
            return packed.getvalue(), *straight.size
    except UNREADABLE as error:
        raise ValueError(f"it is no picture ({why_unreadable(error)})") from error


def movie_id_of(name: str, group: str, part: int = 1) -> str:
    """`<name>_<group>`, and `--<part>` from the second on; what a path may not hold is replaced, and told apart."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", group).strip("-")[:60]
    if plain != group:
        plain = f"{plain}-{hashlib.sha256(group.encode()).hexdigest()[:6]}".lstrip("-")
    return f"{name}_{plain}" + (f"--{part}" if part > 1 else "")


@dataclass
class Importer:
    """Takes the groups of a dataset, one after the other."""

    store: Store
    name: str
    tell: Callable[[int, int], None] = lambda done, of: None
    """Hears how many pictures were taken, and 0."""
    brought: Brought = field(default_factory=Brought)
    _parts: Counter[str] = field(default_factory=Counter)
    _taken: int = 0

    def add(self, group: str, pictures: Iterable[Picture]) -> None:
        """One group: one movie, or several where it is large or was there before in this import."""
        coming = self._told(pictures)
        for first in coming:
            self._parts[group] += 1
            part = chain([first], islice(coming, PART_FRAMES - 1))
            bring_movie(
                movie_id_of(self.name, group, self._parts[group]), group, part, self.store, self.name, self.brought
            )

    def finish(self) -> None:
        """Delete the parts that groups had in an import before this one and have no more."""
        for group, parts in self._parts.items():
            more = (movie_id_of(self.name, group, part) for part in count(parts + 1))
            old = list(takewhile(lambda movie_id: self.store.files.exists(path_of("movies", movie_id)), more))
            for movie_id in reversed(old):  # killed, the next import sees the others: none is missing between them
                delete_movie(movie_id, self.store)
            self.brought.removed += old

    def _told(self, pictures: Iterable[Picture]) -> Iterator[Picture]:
        for picture in pictures:
            self._taken += 1
            self.tell(self._taken, 0)
            yield picture


def bring_movie(
    movie_id: str,
    title: str,
    pictures: Iterable[Picture],
    store: Store,
    name: str,
    brought: Brought,
    sources: Collection[str] = (),
) -> None:
    """One movie: its shards, its references, its row last. Nothing is written where there is no picture.

    `sources` are those that the dataset may have references by: of those it has none of, none stay.
    """
    known: dict[str, str] = {}
    references: dict[str, list[tuple[str, str]]] = defaultdict(list)
    waiting: list[tuple[str, Picture]] = []
    shards: list[str] = []
    size = 0
    last: Picture | None = None
    for picture in pictures:
        if picture.key not in known:
            if len(waiting) == SHARD_FRAMES:
                shards.append(_write_shard(movie_id, len(shards), waiting, None, store, name, brought))
                waiting = []
            known[picture.key] = f"{movie_id}_{len(known):06d}"
            waiting.append((known[picture.key], picture))
            size += len(picture.content)
            last = picture
        for source, text in picture.captions:
            references[source].append((known[picture.key], text))
    if last is None:
        return
    shot = Shot(movie_id=movie_id, shot_index=0, start_seconds=0.0, end_seconds=last.seconds, frames=len(known))
    shards.append(_write_shard(movie_id, len(shards), waiting, shot, store, name, brought))
    delete_shards(movie_id, len(shards), store)
    row = _movie(movie_id, title, shards, len(known), size, last)
    config = _Import(name=name, rows=row.sha256, detected=last.objects is not None)
    output = store.output([Movie], stage=IMPORT, shard=movie_id, version=VERSION, config=config)
    current = output.is_current()
    stale = [] if current else store.files.under(f"references/movie_id={movie_id}")  # they are about other pictures
    for path in {*stale, *(path_of("references", f"{movie_id}/{one}") for one in sources if one not in references)}:
        store.files.delete(path)
    for source, told in references.items():
        brought.references[source] += write_references(movie_id, told, store, source).rows
    if not current:
        with output.writer() as write:
            write(row)
    brought.movies += 1
    brought.frames += len(known)


def _write_shard(
    movie_id: str,
    number: int,
    rows: list[tuple[str, Picture]],
    shot: Shot | None,
    store: Store,
    name: str,
    brought: Brought,
) -> str:
    """Frames and detections of one shard, and the movie's one shot with its last; the digest of what they hold."""
    shard = f"{movie_id}/{number:05d}"
    detected = all(picture.objects is not None for _, picture in rows)
    told = [[frame_id, one.name, one.seconds, one.digest] for frame_id, one in rows], shot.frames if shot else 0
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    config = _Import(name=name, rows=digest, detected=detected)
    frames = store.output([Frame, Shot], stage=IMPORT, shard=shard, version=VERSION, config=config)
    if not frames.is_current():
        with frames.writer() as write:
            for frame_id, picture in rows:
                write(_frame(frame_id, movie_id, picture))
            if shot:
                write(shot)
    if not detected:
        _forget_imported_detections(shard, store)
        brought.undetected += len(rows)
        if given := sum(picture.objects is not None for _, picture in rows):
            brought.notes[PARTLY] += given
        return digest
    detections = store.output(
        [Detection, Failure], stage=IMPORT, shard=shard, version=VERSION, config=config, inputs=[frames.fingerprint]
    )
    if not detections.is_current():
        with detections.writer() as write:
            seen = {one.label for _, picture in rows for one in picture.objects or ()}
            write.notes["labels"] = [*CATEGORIES, *sorted(seen - CATEGORIES.keys())]
            for frame_id, picture in rows:
                for one in picture.objects or ():
                    write(dataclasses.replace(one, frame_id=frame_id))
    brought.detections += detections.ref.rows
    return digest


def _forget_imported_detections(shard: str, store: Store) -> None:
    """Those of an import before this one; a detector's own are its business."""
    path = path_of("detections", shard)
    if (footer := store.footer(path)) is not None and footer.stage == IMPORT:
        store.files.delete(path_of("failures", shard, stage=IMPORT))
        store.files.delete(path)


def _frame(frame_id: str, movie_id: str, picture: Picture) -> Frame:
    stem = picture.name.rpartition(".")[0] if "." in picture.name else picture.name
    return Frame(
        frame_id=frame_id,
        movie_id=movie_id,
        shot_index=0,
        frame_index=int(frame_id.rpartition("_")[2]),
        pts_seconds=picture.seconds,
        width=picture.width,
        height=picture.height,
        image=Image(bytes=picture.content, path=f"{stem}.{picture_kind(picture.content)}"),
    )


def _movie(movie_id: str, title: str, shards: list[str], frames: int, size: int, last: Picture) -> Movie:
    return Movie(
        movie_id=movie_id,
        title=title,
        path=title,
        other_paths=[],
        sha256=hashlib.sha256(json.dumps(shards).encode()).hexdigest(),
        size_bytes=size,
        width=last.width,
        height=last.height,
        codec="",
        frame_rate=None,
        duration_seconds=None,
        decoded_frames=frames,
        damaged_frames=0,
        status="ok",
        error=None,
    )


def grouped(pictures: Iterable[tuple[str, Picture]], importer: Importer) -> None:
    """Give an importer (group, picture) pairs; pictures that follow each other in one group are its movie."""
    for group, pairs in groupby(pictures, key=itemgetter(0)):
        importer.add(group, (picture for _, picture in pairs))
