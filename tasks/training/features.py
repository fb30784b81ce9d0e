"""What the frozen parts of a model make of pictures: computed once, kept in a file, mapped into memory.

Exact while those parts stay as they are: it is not used where anything before the text model is trained.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

AT_ONCE = 16
"""Pictures of one size that are worked on together."""
DTYPES = {"float32": (torch.float32, np.uint32), "bfloat16": (torch.bfloat16, np.uint16),
          "float16": (torch.float16, np.uint16)}  # fmt: skip
"""Kept as bits, because numpy knows no bfloat16."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """Features of frames by their id."""

    bits: NDArray[Any]
    dtype: torch.dtype
    places: dict[str, tuple[int, int, int]]
    """frame_id to (first number, rows, width)."""

    @classmethod
    def open(cls, folder: Path, key: str) -> "Features | None":
        """Those of a folder that were made with this key; None where there are none."""
        try:
            said = json.loads((folder / "features.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if said["key"] != key:
            return None
        dtype, bits = DTYPES[said["dtype"]]
        places = {name: (first, rows, width) for name, (first, rows, width) in said["places"].items()}
        return cls(np.memmap(folder / "features.bin", dtype=bits, mode="r"), dtype, places)

    def of(self, frame_id: str) -> Tensor:
        """(rows, width) of one frame."""
        first, rows, width = self.places[frame_id]
        bits = np.array(self.bits[first : first + rows * width])
        return torch.from_numpy(bits).view(self.dtype).view(rows, width)


def write_features(
    folder: Path,
    key: str,
    dtype: torch.dtype,
    pictures: Sequence[tuple[str, Callable[[], Tensor]]],
    compute: Callable[[Tensor], Tensor],
) -> Features:
    """Features of pictures, (frame_id, how to get its pixels (3, height, width)) each; those that stand there are kept.

    `key` names the weights, the frames and the number format. The file with the places is written last.
    """
    if found := Features.open(folder, key):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    name = str(dtype).removeprefix("torch.")
    kept, bits = DTYPES[name]
    places: dict[str, tuple[int, int, int]] = {}
    written = 0
    with (folder / "features.bin").open("wb") as file:
        for ids, pixels in _alike(pictures):
            with torch.inference_mode():
                made = compute(pixels).to("cpu", kept).contiguous()
            for frame_id, one in zip(ids, made, strict=True):
                file.write(one.contiguous().view(torch.uint8).numpy().tobytes())
                places[frame_id] = written, one.shape[0], one.shape[1]
                written += one.numel()
    draft = folder / "features.json.tmp"
    draft.write_text(json.dumps({"key": key, "dtype": name, "places": places}), "utf-8")
    os.replace(draft, folder / "features.json")
    log.info("features of %d pictures, %.0f MB", len(places), written * np.dtype(bits).itemsize / 1e6)
    opened = Features.open(folder, key)
    assert opened
    return opened


def _alike(pictures: Sequence[tuple[str, Callable[[], Tensor]]]) -> Iterator[tuple[list[str], Tensor]]:
    """Pictures of one size together, some at a time, in an order that hangs on theirs alone."""
    waiting: dict[tuple[int, ...], list[tuple[str, Tensor]]] = defaultdict(list)
    for frame_id, pixels_of in pictures:
        pixels = pixels_of()
        some = waiting[tuple(pixels.shape)]
        some.append((frame_id, pixels))
        if len(some) == AT_ONCE:
            yield _together(waiting.pop(tuple(pixels.shape)))
    for some in waiting.values():
        yield _together(some)


def _together(some: Sequence[tuple[str, Tensor]]) -> tuple[list[str], Tensor]:
    return [frame_id for frame_id, _ in some], torch.stack([pixels for _, pixels in some])
