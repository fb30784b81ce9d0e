"""What metrics read that are about all captions of a captioner: the texts, the pictures of their frames, the models."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

from storage.tables import Frame
from tasks.checkpoints import find_checkpoint

AT_ONCE = 32
"""Texts or pictures that a model is asked about at once."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One caption in plain words. `text` is empty where there is no caption."""

    caption_id: str
    frame_id: str
    text: str
    references: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Models:
    """The models that metrics ask."""

    dual_encoder: str | None = None
    """Hub id or folder of a model that embeds pictures and texts into one space."""
    sentence_encoder: str | None = None
    """Hub id or folder of a sentence-transformers model."""
    device: str = "auto"
    timeout_seconds: float = 1800.0
    """For each helper process."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """All captions of a captioner that count, one per frame. Both streams come in the same order each time."""

    captions: Callable[[], Iterator[Told]]
    frames: Callable[[], Iterator[Frame]]
    """The frames of those captions, with pictures."""
    models: Models = Models()
    kept: dict[str, Any] = field(default_factory=dict)
    """What one metric computed and another may use: embeddings."""


def batches(items: Iterable[T], size: int = AT_ONCE) -> Iterator[list[T]]:
    """The items, `size` at most at a time."""
    waiting = iter(items)
    while batch := list(islice(waiting, size)):
        yield batch


def digest(source: str | None) -> dict[str, str]:
    """A model's label and the digest of its files; empty of no model. Raises CheckpointError, TransientError."""
    if source is None:
        return {}
    found = find_checkpoint(source)
    return {found.label: found.digest}
