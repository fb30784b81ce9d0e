"""Samples as a Trainer reads them: any one of them by its number, its picture from the store when it is asked for.

By number, not as a stream, so that a resumed run goes on at its place in the order without reading what was before it;
still no more than a few pictures are in memory.
"""

import os
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.store import Store
from storage.tables import Frame, Image
from tasks.errors import ReferencesError
from tasks.frame_work import PictureError, decode
from tasks.token_labels import IGNORED
from tasks.trainables import Encoded, Reader
from tasks.training.features import Features
from tasks.training.samples import Sample
from tasks.training.splits import TRAIN

FILES_OPEN, GROUPS_KEPT = 8, 16
"""Of frames' files; a row group has 32 pictures, as they were encoded."""


class SampleFile:
    """The samples of a file that `gather_samples` wrote, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, number: int) -> Sample:
        return Sample(**{name: self._table[name][number].as_py() for name in self._table.column_names})

    def numbers(self, part: str, sources: Collection[str] | None = None) -> NDArray[np.int64]:
        """Those of a part, of some sources or all, in order."""
        parts = np.array(self._table["part"].to_pylist(), dtype=object) == part
        if sources is not None:
            parts &= np.isin(np.array(self._table["source"].to_pylist(), dtype=object), list(sources))
        return np.flatnonzero(parts).astype(np.int64)

    def frames(self, numbers: Collection[int]) -> dict[str, list[int]]:
        """frame_id to its samples, in order."""
        ids = self._table["frame_id"]
        found: dict[str, list[int]] = {}
        for number in numbers:
            found.setdefault(ids[number].as_py(), []).append(number)
        return found


def written_tokens(file: SampleFile, reader: Reader, sources: Collection[str]) -> list[int]:
    """The tokens that captions to learn from are written with, of all stages, sorted."""
    found: set[int] = set()
    for number in file.numbers(TRAIN, sources).tolist():
        one = file[number]
        found |= set(reader.encode(one.prompt, one.text, one.height, one.width, pixels=None, features=None).labels)
    return sorted(found - {IGNORED})


@dataclass
class Pictures:
    """Pictures of frames out of the store's files, by file and row. A few files are open, a few row groups kept."""

    store: Store
    _files: "OrderedDict[str, tuple[Any, NDArray[np.int64]]]" = field(default_factory=OrderedDict)
    _groups: "OrderedDict[tuple[str, int], list[Any]]" = field(default_factory=OrderedDict)
    _process: int = 0

    def __call__(self, sample: Sample) -> NDArray[np.uint8]:
        """RGB (height, width, 3). Raises ReferencesError with the frame when its bytes are no picture."""
        file, starts = self._file(sample.path)
        group = int(np.searchsorted(starts, sample.row, side="right")) - 1
        key = sample.path, group
        if key not in self._groups:
            self._groups[key] = file.read_row_group(group, columns=["image"])["image"].to_pylist()
            while len(self._groups) > GROUPS_KEPT:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        image = self._groups[key][sample.row - int(starts[group])]
        try:
            return decode(_frame(sample, image))
        except PictureError as error:
            raise ReferencesError(f"{sample.frame_id}: {error} Or take its captions out of the references.") from error

    def _file(self, path: str) -> tuple[Any, NDArray[np.int64]]:
        if self._process != os.getpid():  # a reader's process has files of its own
            self._files.clear()
            self._groups.clear()
            self._process = os.getpid()
        if path not in self._files:
            file = pq.ParquetFile(self.store.files.open(path))
            rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            self._files[path] = file, np.cumsum([0, *rows[:-1]]).astype(np.int64)
            while len(self._files) > FILES_OPEN:
                self._files.popitem(last=False)[1][0].close()
        self._files.move_to_end(path)
        return self._files[path]


def _frame(sample: Sample, image: dict[str, Any]) -> Frame:
    return Frame(
        frame_id=sample.frame_id, movie_id=sample.movie_id, shot_index=0, frame_index=0, pts_seconds=0.0,
        width=sample.width, height=sample.height, image=Image(**image),
    )  # fmt: skip


@dataclass(frozen=True)
class SampleSet:
    """A map-style dataset: what a Trainer takes. Its samples are the same however often they are asked for."""

    file: SampleFile
    numbers: NDArray[np.int64]
    reader: Reader
    pictures: Pictures
    features: Features | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Encoded:
        sample = self.file[int(self.numbers[index])]
        seen = self.features.of(sample.frame_id) if self.features else None
        pixels = None if seen is not None else self.reader.pixels(self.pictures(sample))
        return self.reader.encode(sample.prompt, sample.text, sample.height, sample.width, pixels=pixels, features=seen)
