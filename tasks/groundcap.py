"""GroundCap's dataset -> movies, frames, detections and references: so that captions can be made from its detections.

The Parquet files of `daniel3303/GroundCap`: a row per caption with `id` (its first field, before `_`, is the movie),
`image`, `detections` (label, id within the label, score, box as fractions), `caption`, `human_annotated`. Rows of one
movie with the same picture and detections are one frame with several references.
"""

import io
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from storage.store import Store
from storage.tables import Box, Detection
from tasks.coco_panoptic import THINGS
from tasks.errors import ReferencesError
from tasks.frame_work import UNREADABLE, why_unreadable
from tasks.given_files import cannot_open
from tasks.imported_detections import check_box
from tasks.imported_movies import CATEGORIES, OTHER, Brought, Picture, bring_movie, check_name
from tasks.object_naming import clean_label
from tasks.reference_files import Bad, caption_text

COLUMNS = ("id", "image", "detections", "caption", "human_annotated")
ROWS_AT_ONCE = 64
"""They carry pictures."""
HUMAN, AUTOMATIC = "human", "automatic"
"""Sources of references, by `human_annotated`."""


def import_groundcap(paths: Sequence[str], store: Store, name: str = "groundcap") -> Brought:
    """Bring the rows of Parquet files, given together, into a store. Movies are called `<name>_<movie of the dataset>`.

    What stands there already is not written again. A row that cannot be used is left out and named, with its column. A
    movie that stands there with other rows is replaced; so give all files of the movies at once, or another `name`.
    Needs room for the files once more in the temporary folder. Raises ReferencesError for files that are not of the
    dataset or hold no row that can be used, ConfigError for a `name` that is none.
    """
    check_name(name)
    brought = Brought()
    with tempfile.TemporaryDirectory() as scratch:
        parts = _by_movie([Path(path) for path in paths], Path(scratch), brought)
        for movie in sorted(parts):
            rows = _rows(parts[movie], brought)
            bring_movie(f"{name}_{movie}", f"{name} {movie}", rows, store, name, brought, sources=(HUMAN, AUTOMATIC))
    if not brought.frames:
        first = brought.left_out[0] if brought.left_out else Bad("no row", "the files are empty")
        raise ReferencesError(f"no row of {', '.join(paths)} can be used, the first: {first.place}: {first.why}.")
    return brought


def _by_movie(paths: Sequence[Path], scratch: Path, brought: Brought) -> dict[str, Path]:
    """The rows, sorted into a file per movie, in their order, each with its place. Memory: a few rows per movie."""
    parts: dict[str, pq.ParquetWriter] = {}
    try:
        for path in paths:
            for first, batch in _batches(path):
                wanted: dict[str, list[int]] = defaultdict(list)
                for number, row_id in enumerate(batch["id"].to_pylist()):
                    movie, found, _ = (row_id or "").partition("_")
                    if found and re.fullmatch(r"[\w-]+", movie, re.ASCII):
                        wanted[movie].append(number)
                    else:
                        why = f"column id is {row_id!r}, not <movie>_<rest> with a movie of letters, digits and dashes"
                        brought.leave_out(f"{path.name} row {first + number}", why)
                for movie, numbers in wanted.items():
                    if movie not in parts:
                        parts[movie] = pq.ParquetWriter(str(scratch / f"{movie}.parquet"), batch.schema)
                    parts[movie].write_batch(batch.take(numbers))
    finally:
        for one in parts.values():
            one.close()
    return {movie: scratch / f"{movie}.parquet" for movie in parts}


def _batches(path: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """(number of the first row, from 1; rows with a column `place`). Raises ReferencesError."""
    first = 1
    try:
        with pq.ParquetFile(path) as file:
            if lacking := [name for name in COLUMNS if name not in file.schema_arrow.names]:
                raise ReferencesError(
                    f"{path} has no column {', '.join(lacking)}; GroundCap's files have {', '.join(COLUMNS)}. "
                    "Plain captions go in with: caption-movies references"
                )
            for batch in _in_turn(file, list(COLUMNS)):
                places = [f"{path.name} row {first + number}" for number in range(len(batch))]
                plain = batch.select(COLUMNS).append_column("place", pa.array(places))
                yield first, plain.replace_schema_metadata(None)
                first += len(batch)
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and (error.errno or path.is_dir()):  # Parquet's own errors have no number
            raise ReferencesError(cannot_open(path, error)) from error
        raise ReferencesError(f"{path} is not Parquet, or damaged: {error}. Fetch it again.") from error


def _in_turn(file: pq.ParquetFile, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A file's rows. Row group by row group, for over all of them `iter_batches` holds on to what it has read."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=columns)


def _rows(part: Path, brought: Brought) -> Iterator[Picture]:
    with pq.ParquetFile(part) as file:
        for batch in _in_turn(file):
            for said in batch.to_pylist():
                try:
                    yield _row(said)
                except ValueError as error:
                    brought.leave_out(f"{said['place']} (id {said['id']})", str(error))


def _row(said: Mapping[str, Any]) -> Picture:
    """Raises ValueError with the column and what is wrong in it."""
    picture = (said["image"] or {}).get("bytes") if isinstance(said["image"], Mapping | None) else None
    if not picture:
        raise ValueError("column image has no bytes; fetch the dataset with its pictures")
    try:
        with Pillow.open(io.BytesIO(picture)) as opened:
            width, height = opened.size
    except UNREADABLE as error:
        raise ValueError(f"column image is no picture ({why_unreadable(error)})") from error
    caption = caption_text(said["caption"], "column caption")
    if said["human_annotated"] is None:
        raise ValueError("column human_annotated is null")
    found = tuple(_object(one, number) for number, one in enumerate(said["detections"] or []))
    if twice := [one for one, number in Counter(each.object_id for each in found).items() if number > 1]:
        raise ValueError(f"column detections has {twice[0]} twice")
    source = HUMAN if said["human_annotated"] else AUTOMATIC
    row = Picture("", said["id"] + ".", picture, width, height, found, ((source, caption),))
    return replace(row, key=row.digest)


def _object(said: Mapping[str, Any], number: int) -> Detection:
    """One detection. The id is the dataset's own, which its captions cite: label, blanks as dashes, and number."""
    where = f"column detections[{number}]"
    try:
        label = re.sub(r"[\s_]+", "-", said["label"]).lower()
        box = Box(**{side: float(said["box"][side]) for side in "xywh"})
        numbers = {"id": int(said["id"]), "score": float(said["score"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} lacks label, id, score or a side of box ({error!r})") from error
    if not re.fullmatch(r"[\w-]+", label) or numbers["id"] < 0:
        raise ValueError(f"{where} is called {label!r} {numbers['id']}, which no tag can cite")
    check_box(box, f"{where}.box")
    if not 0 <= numbers["score"] <= 1:
        raise ValueError(f"{where}.score is {numbers['score']}, not 0 to 1")
    category = CATEGORIES.get(clean_label(label), OTHER)
    return Detection(
        frame_id="",
        object_id=f"{label}-{numbers['id']}",
        object_index=number,
        segment_id=number + 1,
        label=label,
        category_id=category,
        is_thing=0 <= category < len(THINGS),
        score=numbers["score"],
        box=box,
        area=box.w * box.h,
        mask=None,
        mask_width=0,
        mask_height=0,
    )
