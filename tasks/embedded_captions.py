"""Captions, references and pictures of a captioner as vectors, computed once for all metrics that ask.

The vectors lie in temporary files that are mapped into memory: they do not have to fit there.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from tasks.corpora import Corpus, Told, batches
from tasks.encoders import DualEncoder, Vectors
from tasks.frame_work import PictureError, decode
from tasks.metrics.clipscore import PREFIX


class VectorFile:
    """Vectors one after the other in a temporary file."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._shape = [0, 0]

    def add(self, vectors: Vectors) -> None:
        """More rows."""
        np.ascontiguousarray(vectors, dtype=np.float32).tofile(self._file)
        self._shape = [self._shape[0] + len(vectors), vectors.shape[1]]

    def read(self) -> Vectors:
        """(rows, dimensions). No more can be added."""
        with self._file:  # what is mapped stays
            self._file.flush()
            if not self._shape[0]:
                return np.zeros((0, 1), dtype=np.float32)
            return np.memmap(self._file, dtype=np.float32, mode="r", shape=tuple(self._shape))


@dataclass(frozen=True)
class Embedded:
    """What a dual encoder makes of a captioner's captions. Vectors have length 1, or 0 where there is nothing."""

    captions: Vectors
    """In the order of the corpus."""
    pictures: Vectors
    picture_of: dict[str, int]
    """frame_id to its row in `pictures`."""
    shots: dict[tuple[str, int], list[int]]
    """(movie_id, shot_index) to rows in `pictures`."""
    shot_of: list[tuple[str, int]]
    """Of each row in `pictures`."""
    best_reference: list[float]
    """The highest cosine of each caption and a reference; NaN without references."""
    told: list[tuple[str, bool]]
    """(frame_id, whether there is a caption) of each caption."""


def embed(corpus: Corpus) -> Embedded:
    """Vectors of everything; computed once for a corpus. Raises CheckpointError, ConfigError, TransientError."""
    if "embedded" not in corpus.kept:
        assert corpus.models.dual_encoder
        encoder = DualEncoder.load(corpus.models.dual_encoder, corpus.models.device)
        corpus.kept["embedded"] = _embed(corpus, encoder)
    found = corpus.kept["embedded"]
    assert isinstance(found, Embedded)
    return found


def _embed(corpus: Corpus, encoder: DualEncoder) -> Embedded:
    pictures = VectorFile()
    picture_of: dict[str, int] = {}
    shot_of: list[tuple[str, int]] = []
    shots: dict[tuple[str, int], list[int]] = {}
    for frames in batches(corpus.frames()):
        good = []
        for frame in frames:
            picture_of[frame.frame_id] = row = len(shot_of)
            shot_of.append((frame.movie_id, frame.shot_index))
            shots.setdefault(shot_of[-1], []).append(row)
            try:
                good.append(decode(frame))
            except PictureError:  # such a frame has no caption either; its row stays 0
                good.append(np.zeros((2, 2, 3), dtype=np.uint8))
        pictures.add(encoder.of_pictures(good))
    captions = VectorFile()
    told: list[tuple[str, bool]] = []
    best: list[float] = []
    for batch in batches(corpus.captions()):
        vectors = encoder.of_texts([PREFIX + one.text for one in batch])
        vectors[[not one.text for one in batch]] = 0
        captions.add(vectors)
        best += _best_references(batch, vectors, encoder)
        told += [(one.frame_id, bool(one.text)) for one in batch]
    return Embedded(captions.read(), pictures.read(), picture_of, shots, shot_of, best, told)


def _best_references(batch: list[Told], vectors: Vectors, encoder: DualEncoder) -> Iterator[float]:
    texts = list(dict.fromkeys(PREFIX + reference for one in batch for reference in one.references))
    places = {text: place for place, text in enumerate(texts)}
    found = _all(encoder, texts)
    for one, vector in zip(batch, vectors, strict=True):
        rows = [places[PREFIX + reference] for reference in one.references]
        yield float((found[rows] @ vector).max()) if rows else float("nan")


def _all(encoder: DualEncoder, texts: Iterable[str]) -> Vectors:
    parts = [encoder.of_texts(part) for part in batches(texts)]
    return np.concatenate(parts) if parts else np.zeros((0, 1), dtype=np.float32)
