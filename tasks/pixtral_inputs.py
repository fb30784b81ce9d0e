"""A prompt and a picture -> what Pixtral reads: token ids, and pixels.

transformers' PixtralProcessor needs torchvision; its picture half for Pillow does not, and its text half is a page:
each row of patches is as many `[IMG]` tokens as it has columns and an `[IMG_BREAK]`; the last row ends in `[IMG_END]`
instead. Works the same with and without torchvision.
"""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast
from transformers.models.pixtral.image_processing_pil_pixtral import (
    PixtralImageProcessorPil,
    get_resize_output_image_size,
)

from storage.tables import Box, Detection
from tasks import prompts
from tasks.errors import CheckpointError

_EXAMPLE = Detection(
    frame_id="", object_id="x-0", object_index=0, segment_id=1, label="x", category_id=0, is_thing=True, score=1.0,
    box=Box(x=0.0, y=0.0, w=1.0, h=1.0), area=1.0, mask=None, mask_width=0, mask_height=0,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Inputs:
    """One request as Pixtral reads it."""

    ids: list[int]
    """Tokens of the prompt, image tokens in their places."""
    pixels: torch.Tensor
    """(3, height, width) float32, normalised; sides are multiples of the patch size."""


class PixtralInputs:
    """The tokenizer and picture processor of a checkpoint's folder."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError when one of them is not there, or does not know Pixtral's control words."""
        if not (folder / "tokenizer.json").exists():
            raise CheckpointError(f"{folder} has no tokenizer.json. Save the checkpoint's fast tokenizer into it.")
        try:
            # Not AutoTokenizer: it may choose another class, and so other tokens, when another library is installed.
            self.tokenizer: Any = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            self.pictures: Any = PixtralImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder}: tokenizer or picture processor cannot be read: {error}") from error
        self.image_id, self.break_id, self.end_id = control_ids(self.tokenizer)
        patch = self.pictures.patch_size
        self.patch_px: int = patch["height"] if isinstance(patch, dict) else int(getattr(patch, "height", patch))

    def __call__(self, prompt: str, image: NDArray[np.uint8]) -> Inputs:
        """Read one prompt with `[IMG]` once and one picture, RGB (height, width, 3).

        Raises ValueError for a picture of which no whole pixel would be left, or a prompt without `[IMG]`.
        """
        rows, columns = self.patches(*image.shape[:2])
        if not rows or not columns:
            raise ValueError(f"a picture of {image.shape[1]} x {image.shape[0]} pixels is too narrow to be shown.")
        read = self.pictures([image], return_tensors="pt", do_pad=False, input_data_format="channels_last")
        return Inputs(self.ids(prompt, rows, columns), read["pixel_values"][0])

    def ids(self, prompt: str, rows: int, columns: int) -> list[int]:
        """Tokens of a prompt whose picture has rows x columns patches. ValueError unless `[IMG]` is there once."""
        ids: list[int] = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        if ids.count(self.image_id) != 1:
            raise ValueError(f"the prompt has {prompts.IMAGE} {ids.count(self.image_id)} times, not once.")
        place = ids.index(self.image_id)
        return ids[:place] + self.image_ids(rows, columns) + ids[place + 1 :]

    def shared_ids(self, template: str) -> tuple[int, ...]:
        """Tokens that a template's prompts begin with: up to the first detection or the picture, whichever is first."""
        one, other = (self.ids(prompts.render(template, listed), 1, 1) for listed in ([], [_EXAMPLE]))
        same = takewhile(lambda pair: pair[0] == pair[1] != self.image_id, zip(one, other, strict=False))
        return tuple(token for token, _ in same)

    def image_ids(self, rows: int, columns: int) -> list[int]:
        """The (columns + 1) * rows tokens that stand for a picture of rows x columns patches."""
        ids = ([self.image_id] * columns + [self.break_id]) * rows
        return [*ids[:-1], self.end_id]

    def patches(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of patches: the picture is shrunk when too long, sides are rounded up to whole patches."""
        longest = self.pictures.size["longest_edge"]
        if max(height, width) > longest and min(height, width) * longest < max(height, width):
            return 0, 0  # the shorter side would be less than one pixel
        shape = np.broadcast_to(np.False_, (3, height, width))
        high, wide = get_resize_output_image_size(
            shape, size=longest, patch_size=self.patch_px, input_data_format="channels_first"
        )
        return high // self.patch_px, wide // self.patch_px

    def text(self, ids: list[int]) -> str:
        """A completion as text, exactly as generated; only control words (`</s>` and the like) are left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def control_ids(tokenizer: Any) -> tuple[int, int, int]:
    """Ids of `[IMG]`, `[IMG_BREAK]`, `[IMG_END]`. Raises CheckpointError when a control word is not one token."""
    for word in prompts.CONTROL:
        ids = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(ids) != 1 or tokenizer.convert_tokens_to_ids(word) != ids[0]:
            raise CheckpointError(f"the tokenizer does not know {word!r} as one token: it is not one of Pixtral's.")
    image, brk, end = (
        tokenizer.convert_tokens_to_ids(word) for word in (prompts.IMAGE, prompts.IMAGE_BREAK, prompts.IMAGE_END)
    )
    return image, brk, end
