"""How the captioners of a family learn. A backend is one file here; its name is the captioner's in tasks/captioners.

A backend has the model's class in MODEL, what that is called in NAME, where its vision encoder is in VISION, and

    reader(folder)                          what turns samples into tensors, without the weights
    features(model, pixels)                 what frozen parts make of pictures; absent where they cannot be reused
    captioner(model, reader, config)        the model as it is now, as a captioner: for validation while it learns
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tasks import backends
from tasks.errors import ConfigError

if TYPE_CHECKING:  # importing torch takes seconds, and every run reads names of recipes
    from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
    """One sample in tokens."""

    ids: list[int]
    """What the model reads, the caption included where it goes on from what it reads."""
    labels: list[int]
    """What it is to write, token_labels.IGNORED where nothing is to be learnt."""
    pixels: "Tensor | None" = None
    """(3, height, width) float32, normalised."""
    features: "Tensor | None" = None
    """(patches, d): what frozen parts made of them, instead."""


class Reader(Protocol):
    """Turns samples into tensors."""

    shifted: bool
    """Whether scores at a token are about the one after it (decoders), and not about the label in the same place."""

    def length(self, prompt: str, text: str, height: int, width: int) -> int:
        """Tokens of a sample with a picture of so many pixels."""

    def pixels(self, image: NDArray[np.uint8]) -> "Tensor":
        """An RGB picture (height, width, 3) as (3, height, width) float32, normalised."""

    def encode(
        self, prompt: str, text: str, height: int, width: int, *, pixels: "Tensor | None", features: "Tensor | None"
    ) -> Encoded:
        """One sample. Of the picture either its pixels or its features; of `height` x `width` pixels it was."""

    def collate(self, samples: Sequence[Encoded]) -> dict[str, Any]:
        """A batch as the model's forward takes it, with `labels`."""

    def smoothing(self, model: Any) -> float:
        """Part of a label's weight that is spread over all words, as the model's configuration asks for."""


def available() -> list[str]:
    """Names of the captioners that can be trained."""
    return backends.available(sys.modules[__name__])


def load(name: str) -> Any:
    """The backend of a captioner. Raises ConfigError where there is none: it cannot be trained here."""
    if name not in (known := available()):
        raise ConfigError(f"the captioner {name!r} cannot be trained here. Those that can: {', '.join(known)}.")
    return backends.load(sys.modules[__name__], "trainable captioner", name)
