"""Pixtral learns to write: the whole sample is read, and only what stands after the prompt is learnt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, LlavaForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutputWithPooling

from tasks import prompts
from tasks.captioners import CaptionConfig, Captioner, completed
from tasks.captioners.pixtral import Loaded, PixtralCaptioner, check_agreement, image_features
from tasks.errors import CheckpointError
from tasks.pixtral_inputs import PixtralInputs
from tasks.token_labels import IGNORED, padded
from tasks.trainables import Encoded

MODEL: Any = LlavaForConditionalGeneration
NAME = "Pixtral (model type llava)"
VISION = "model.vision_tower"
CONFIG: Any = AutoConfig


class PixtralReader:
    """What Pixtral reads of samples, by the very builder that captions are asked with."""

    shifted = True

    def __init__(self, folder: Path) -> None:
        self.inputs = PixtralInputs(folder)
        self.pad: int = self.inputs.tokenizer.pad_token_id or 0

    def length(self, prompt: str, text: str, height: int, width: int) -> int:
        """Tokens of a sample, those of the picture included."""
        return len(self._ids(prompts.answered(prompt, text), height, width))

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """(3, height, width); sides are multiples of the patch size."""
        read = self.inputs.pictures([image], return_tensors="pt", do_pad=False, input_data_format="channels_last")
        pixels: Tensor = read["pixel_values"][0]
        return pixels

    def encode(
        self, prompt: str, text: str, height: int, width: int, *, pixels: Tensor | None, features: Tensor | None
    ) -> Encoded:
        """The sample from `<s>` to `</s>`; the prompt, its picture and its system text are not learnt.

        Raises CheckpointError for a tokenizer whose tokens of a prompt change when a caption follows it.
        """
        asked, whole = self._ids(prompt, height, width), self._ids(prompts.answered(prompt, text), height, width)
        if whole[: len(asked)] != asked:
            raise CheckpointError(
                "the tokenizer joins the end of a prompt with the caption, so that inference would ask otherwise than "
                "it was trained. Take a checkpoint whose tokenizer has [/INST] as a special token."
            )
        labels = [IGNORED] * len(asked) + whole[len(asked) :]
        return Encoded(ids=whole, labels=labels, pixels=pixels, features=features)

    def _ids(self, text: str, height: int, width: int) -> list[int]:
        return self.inputs.ids(text, *self.inputs.patches(height, width))

    def collate(self, samples: Sequence[Encoded]) -> dict[str, Any]:
        """Padded on the left, so that captions end together: scores are asked for from the longest one on only."""
        ids = padded([one.ids for one in samples], self.pad, left=True)
        mask = padded([[1] * len(one.ids) for one in samples], 0, left=True)
        labels = padded([one.labels for one in samples], IGNORED, left=True)
        longest = int(labels.ne(IGNORED).sum(1).max()) + 1
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels[:, -longest:], "logits_to_keep": longest}
        if samples[0].features is not None:
            seen = [one.features for one in samples]
            return batch | {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=seen)}}  # type: ignore[arg-type]
        pixels = [one.pixels for one in samples if one.pixels is not None]
        sizes = [tuple(one.shape[1:]) for one in pixels]
        frame = torch.zeros(len(pixels), 3, max(high for high, _ in sizes), max(wide for _, wide in sizes))
        for number, one in enumerate(pixels):
            frame[number, :, : one.shape[1], : one.shape[2]] = one
        return batch | {"pixel_values": frame, "image_sizes": torch.tensor(sizes)}

    def smoothing(self, model: Any) -> float:
        """None."""
        return 0.0


def reader(folder: Path) -> PixtralReader:
    """Raises CheckpointError when the folder is not Pixtral's, or its files do not belong together."""
    found = PixtralReader(folder)
    check_agreement(CONFIG.from_pretrained(folder, local_files_only=True), found.inputs, folder)
    return found


def features(model: Any, pixels: Tensor) -> Tensor:
    """(b, 3, height, width) to (b, patches, d of the text model): vision tower and projector."""
    return image_features(model, pixels)


def captioner(model: Any, reader: PixtralReader, config: CaptionConfig) -> Captioner:
    """The model as it is now; what it has read of prompts before is not taken over."""
    return PixtralCaptioner(Loaded(model, reader.inputs, model.device, {}), completed(config))
