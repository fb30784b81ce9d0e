"""The seam to panoptic detectors: pictures in, segments out. A backend is one file here; its name is its config value.

A backend has two functions: `load(config)`, and `digest(config)`, which says what weights that would load, without
loading them, so that finished work is recognised at once.
"""

import dataclasses
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from storage.store import EXECUTION
from tasks import backends
from tasks.errors import ConfigError
from tasks.object_naming import Segment

__all__ = ["DetectConfig", "Detector", "Segment", "available", "digest", "load"]


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """How objects are detected. The defaults are GroundCap's."""

    backend: str = "mask2former"
    """File name in tasks/detectors."""
    checkpoint: str = field(default="facebook/mask2former-swin-large-coco-panoptic", metadata=EXECUTION)
    """Hub id or folder; for `scripted` a JSON file, or empty. Not hashed: the digest of what lies there is."""
    revision: str | None = field(default=None, metadata=EXECUTION)
    """Commit, tag or branch on the hub. Not hashed, likewise."""
    threshold: float = 0.7
    """A segment's class probability has to be above it. 0 to 1."""
    mask_threshold: float = 0.5
    """A pixel belongs to a query's mask from this probability (times the class's) on. 0 to 1."""
    overlap_mask_area_threshold: float = 0.8
    """A segment has to win more than this part of its query's mask against the other queries. 0 to 1."""
    max_detections: int = 40
    """Boxes kept per frame, by score."""
    stuff_boxes: int = 6
    """Boxes a stuff region is split into at most."""
    masks: bool = True
    """Whether masks are stored."""
    dtype: str = "float32"
    """Number format of the model: auto, float32, bfloat16 or float16."""
    device: str = field(default="auto", metadata=EXECUTION)
    """auto, cpu, cuda, cuda:1 ..."""
    batch_size: int = field(default=8, metadata=EXECUTION)
    """Frames per forward pass. Halved by itself when memory does not suffice. Not hashed, although scores differ in
    their last digits: see Detector."""

    def __post_init__(self) -> None:
        """Check ranges. Raises ConfigError."""
        for name in ("threshold", "mask_threshold", "overlap_mask_area_threshold"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ConfigError(f"{name} is {value}; it has to lie between 0 and 1.")
        for name in ("max_detections", "stuff_boxes", "batch_size"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {value}; it has to be at least 1.")
        if self.dtype not in (known := ("auto", "float32", "bfloat16", "float16")):
            raise ConfigError(f"dtype {self.dtype!r} is none of {', '.join(known)}.")


class Detector(Protocol):
    """Finds the segments of pictures."""

    @property
    def labels(self) -> list[str]:
        """Name of every category it can say; a segment's category_id is an index into it."""

    @property
    def digest(self) -> str:
        """Stands for its weights: two detectors that may answer differently differ in it."""

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[list[Segment]]:
        """The segments of each picture in order of segment_id, from 1; an empty list where there are none.

        Pictures are RGB uint8 (height, width, 3), of any sizes. Masks have the picture's size and do not overlap.

        The same pictures in the same batch on the same machine: the same answers, to the bit. In a batch of another
        size or order an answer is about the same picture, but sums are rounded in another order: scores differ in
        their last digits, and a pixel, or a segment, that stands on a threshold may fall to the other side.

        Raises MemoryError when the batch does not fit: ask again with fewer. TransientError when the device is lost.
        RuntimeError or ValueError when a picture cannot be worked on, an answer that is not a number among them.
        """


_loaded: dict[DetectConfig, Detector] = {}
_lock = threading.Lock()


def available() -> list[str]:
    """Names of the backends."""
    return backends.available(sys.modules[__name__])


def digest(config: DetectConfig) -> str:
    """The digest of `load(config)`, without loading weights."""
    said: str = _backend(config).digest(config)
    return said


def load(config: DetectConfig) -> Detector:
    """The detector for a configuration: one per process and configuration, whoever asks, from whatever thread.

    One whose checkpoint was written anew since is loaded again.
    """
    key, backend = _relevant(config), _backend(config)
    with _lock:
        if key not in _loaded or _loaded[key].digest != backend.digest(config):
            _loaded.pop(key, None)  # first, so that the device never holds both
            _loaded[key] = backend.load(config)
        return _loaded[key]


def _backend(config: DetectConfig) -> ModuleType:
    return backends.load(sys.modules[__name__], "detector", config.backend)


def _relevant(config: DetectConfig) -> DetectConfig:
    """The configuration with what does not concern a detector put back to its default."""
    default = DetectConfig()
    return dataclasses.replace(
        config,
        max_detections=default.max_detections,
        stuff_boxes=default.stuff_boxes,
        masks=default.masks,
        batch_size=default.batch_size,
    )
