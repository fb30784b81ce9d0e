"""Scores by which one of a frame's captions is chosen. One is one file here; its name is its config value.

A selector has `COMPARABLE` (whether its values hold across captioners), `NEEDS_CHECKPOINT`, `NEEDS_PICTURES`, and two
functions: `identify(config)`, the digests of what it computes with, and `load(config)`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from storage.store import EXECUTION
from storage.tables import Caption, Detection
from tasks import backends
from tasks.errors import ConfigError

DIGITS = 4
"""Decimals of a value: the further ones hang on what else was in the batch, and may not decide."""


@dataclass(frozen=True, kw_only=True)
class ChooseConfig:
    """How one of the captions of a frame is chosen. A clean one always comes before one at fault."""

    select: str = "mean_logprob"
    """File name in tasks/selectors: the score that ranks captions of equal verdict."""
    among: Sequence[str] = ()
    """Names of captioners whose chosen captions are compared once more, frame by frame, as soon as all of them stand in
    the store; the choice has their names joined by `+` for its captioner."""
    checkpoint: str = field(default="", metadata=EXECUTION)
    """Of image_text, the dual encoder: hub id or folder. Not hashed: the digest of what lies there is."""
    revision: str | None = field(default=None, metadata=EXECUTION)
    """Commit, tag or branch of the checkpoint on the hub. Not hashed, likewise."""
    device: str = field(default="auto", metadata=EXECUTION)
    """auto, cpu, cuda, cuda:1 ..."""
    batch_size: int = field(default=32, metadata=EXECUTION)
    """Captions that are scored at once."""

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError, and UnknownNameError for a selector that is not there."""
        selector = backend(self.select)
        if isinstance(self.among, str):
            raise ConfigError(f"among is the text {self.among!r}; it has to be a list of captioners' names.")
        object.__setattr__(self, "among", tuple(self.among))  # a list of a profile would not be hashable
        if self.among and len(set(self.among)) < max(2, len(self.among)):
            raise ConfigError(f"among is {list(self.among)}; it has to name two different captioners at least.")
        if self.among and not selector.COMPARABLE:
            raise ConfigError(f"select = {self.select!r} compares captions of one captioner only; see tasks/selectors.")
        if selector.NEEDS_CHECKPOINT and not self.checkpoint:
            raise ConfigError(f"select = {self.select!r} needs a checkpoint: the hub id or folder of its model.")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size in [choose] is {self.batch_size}; it has to be at least 1.")

    @property
    def uses_model(self) -> bool:
        """Whether choosing needs a model, and so a device."""
        return bool(backend(self.select).NEEDS_CHECKPOINT)


@dataclass(frozen=True, eq=False)
class Contender:
    """One caption that may be chosen. `image`: RGB, (height, width, 3), where the selector needs pictures."""

    caption: Caption
    detections: Sequence[Detection]
    image: NDArray[np.uint8] | None = None


class Selector(Protocol):
    """Puts a value on captions."""

    def __call__(self, contenders: Sequence[Contender]) -> list[float | None]:
        """One value per contender, in order, higher is better; None where it cannot be computed."""


def available() -> list[str]:
    """Names of the selectors."""
    return backends.available(sys.modules[__name__])


def backend(name: str) -> ModuleType:
    """A selector's file. Raises UnknownNameError."""
    return backends.load(sys.modules[__name__], "select", name)


def identify(config: ChooseConfig) -> dict[str, str]:
    """Digests by name of what decides the values beside the configuration. Raises CheckpointError."""
    weights: dict[str, str] = backend(config.select).identify(config)
    return weights


def load(config: ChooseConfig) -> Selector:
    """The selector for a configuration. A model is loaded once per process."""
    selector: Selector = backend(config.select).load(config)
    return selector
