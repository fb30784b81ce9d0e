"""How the captioners of a family learn. A backend is one file here; its name is the captioner's in tasks/captioners.

A backend has the model's class in MODEL, what that is called in NAME, where its vision encoder is in VISION, and

    reader(folder)                          what turns samples into tensors, without the weights
    features(model, pixels)                 what frozen parts make of pictures; absent where they cannot be reused
    captioner(model, reader, config)        the model as it is now, as a captioner: for validation while it learns
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from tasks import backends
from tasks.errors import ConfigError

IGNORED = -100
"""The label of a token that is not learnt: the prompt's, the picture's, the padding's."""
__all__ = ["IGNORED", "Encoded", "Reader", "available", "load", "padded", "token_loss"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoded:
    """One sample in tokens."""

    ids: list[int]
    """What the model reads, the caption included where it goes on from what it reads."""
    labels: list[int]
    """What it is to write, IGNORED where nothing is to be learnt."""
    pixels: Tensor | None = None
    """(3, height, width) float32, normalised."""
    features: Tensor | None = None
    """(patches, d): what frozen parts made of them, instead."""


class Reader(Protocol):
    """Turns samples into tensors."""

    shifted: bool
    """Whether scores at a token are about the one after it (decoders), and not about the label in the same place."""

    def length(self, prompt: str, text: str, height: int, width: int) -> int:
        """Tokens of a sample with a picture of so many pixels."""

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """An RGB picture (height, width, 3) as (3, height, width) float32, normalised."""

    def encode(
        self, prompt: str, text: str, height: int, width: int, *, pixels: Tensor | None, features: Tensor | None
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


def token_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None, *, shifted: bool, smoothing: float
) -> Tensor:
    """Mean cross-entropy of the labelled tokens, over all micro-batches of a step together: `num_items_in_batch`.

    So a step is the same step however many micro-batches it is made of. A Trainer takes it as compute_loss_func.
    """
    logits = outputs["logits"].float()
    if shifted:
        logits, labels = logits[:, :-1], labels[:, 1:]
    total = cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
    count = labels.ne(IGNORED).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    loss: Tensor = total / count
    return loss


def padded(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False) -> Tensor:
    """(rows, longest) of rows of different lengths."""
    longest = max(map(len, rows))
    if left:
        return torch.tensor([[*[fill] * (longest - len(row)), *row] for row in rows])
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
