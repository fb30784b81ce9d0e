"""A Hugging Face dataset with the columns of `daniel3303/GroundCap`, for `datasets.load_dataset(FOLDER)`.

Source of the schema: that dataset's card (its dataset_info). A row is a caption; a frame with several is several rows
of one id. The card's convention: an id's first field, before `_`, is the movie.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import ExchangeError
from tasks.export_samples import Sample
from tasks.exports import Options

FOLDER = True
ALL_FRAMES = False
DETECTED = False
HUMAN = "human"
"""The source of references that the dataset calls human_annotated."""
FILE_BYTES = 400_000_000
"""Of pictures in a file of the dataset, as on the hub."""
ROWS_PER_GROUP = 64
"""Rows with pictures: a reader's memory stays small."""

_VALUE = {name: {"dtype": name, "_type": "Value"} for name in ("string", "int32", "float32", "bool")}
FEATURES: dict[str, Any] = {
    "id": _VALUE["string"],
    "image": {"_type": "Image"},
    "detections": [
        {"id": _VALUE["int32"], "label": _VALUE["string"], "score": _VALUE["float32"]}
        | {"box": dict.fromkeys("xywh", _VALUE["float32"])}
    ],
    "caption": _VALUE["string"],
    "human_annotated": _VALUE["bool"],
}
_BOX = pa.struct([(side, pa.float32()) for side in "xywh"])
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("detections", pa.list_(pa.struct([("id", pa.int32()), ("label", pa.string()), ("score", pa.float32()),
                                           ("box", _BOX)]))),
        ("caption", pa.string()),
        ("human_annotated", pa.bool_()),
    ],
    {"huggingface": json.dumps({"info": {"features": FEATURES}})},
)  # fmt: skip
CARD = """---
dataset_info:
  features:
  - name: id
    dtype: string
  - name: image
    dtype: image
  - name: detections
    list:
    - name: id
      dtype: int32
    - name: label
      dtype: string
    - name: score
      dtype: float32
    - name: box
      struct:
      - name: x
        dtype: float32
      - name: 'y'
        dtype: float32
      - name: w
        dtype: float32
      - name: h
        dtype: float32
  - name: caption
    dtype: string
  - name: human_annotated
    dtype: bool
  splits:
  - name: {split}
    num_examples: {rows}
configs:
- config_name: default
  data_files:
  - split: {split}
    path: data/{split}-*
---

# Grounded captions

{rows} captions of movie frames, in the columns of `daniel3303/GroundCap`. Boxes are fractions of the picture, origin
top left; `<gdo>`, `<gda>` and `<gdl>` tags cite `<label>-<id>` of `detections`.
"""


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """`data/<split>-*.parquet` and a card that names the columns."""
    files = _Files(draft / "data", options.split)
    try:
        for sample in samples:
            for caption in sample.captions:
                files.add(_row(sample, caption.text, caption.captioner == HUMAN))
    finally:
        files.close()
    files.number()
    (draft / "README.md").write_text(CARD.format(split=options.split, rows=files.rows), encoding="utf-8")


def _row(sample: Sample, text: str, human: bool) -> dict[str, Any]:
    row_id = _id(sample)
    objects = []
    for one in sample.detections:
        label, _, number = one.object_id.rpartition("-")
        if not number.isascii() or not number.isdigit():
            raise ExchangeError(f"{one.object_id!r} in frame {one.frame_id} has no number; GroundCap's ids have one.")
        box = {side: getattr(one.box, side) for side in "xywh"}
        objects.append({"id": int(number), "label": label, "score": one.score, "box": box})
    picture = {"bytes": sample.frame.image.bytes, "path": sample.picture_name}
    return {"id": row_id, "image": picture, "detections": objects, "caption": text, "human_annotated": human}


def _id(sample: Sample) -> str:
    """`<movie>_<rest>`. What `caption-movies import` brought from the dataset goes by the id that it has there."""
    frame = sample.frame
    _, _, movie = frame.movie_id.partition("_")
    theirs = frame.image.path.rpartition("/")[2].rpartition(".")[0]
    if movie and theirs.startswith(f"{movie}_"):
        return theirs
    return f"{frame.movie_id.replace('_', '-')}_{frame.frame_index:06d}"


class _Files:
    """Parquet files of a split, each up to FILE_BYTES of pictures."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split, self.rows, self.files = folder, split, 0, 0
        self._waiting: list[dict[str, Any]] = []
        self._open: pq.ParquetWriter | None = None
        self._bytes = 0
        folder.mkdir()

    def add(self, row: dict[str, Any]) -> None:
        """One row more."""
        self._waiting.append(row)
        self._bytes += len(row["image"]["bytes"])
        self.rows += 1
        if len(self._waiting) >= ROWS_PER_GROUP or self._bytes >= FILE_BYTES:
            self._flush()
        if self._bytes >= FILE_BYTES:
            self.close()

    def _flush(self) -> None:
        if self._open is None:
            self._open = pq.ParquetWriter(self._path(self.files), SCHEMA, compression="zstd")
            self.files += 1
        self._open.write_table(pa.Table.from_pylist(self._waiting, SCHEMA))
        self._waiting = []

    def close(self) -> None:
        """End the file that is being written."""
        if self._waiting:
            self._flush()
        if self._open is not None:
            self._open.close()
        self._open, self._bytes = None, 0

    def number(self) -> None:
        """Give the files their names on the hub, which say how many there are."""
        for place in range(self.files):
            name = f"{self.split}-{place:05d}-of-{self.files:05d}.parquet"
            self._path(place).rename(self.folder / name)

    def _path(self, place: int) -> Path:
        return self.folder / f"{place:05d}.parquet"
