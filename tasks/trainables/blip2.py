"""BLIP-2 with Flan-T5 learns to write: the encoder reads picture and words, the decoder learns the caption."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, Blip2ForConditionalGeneration
from transformers.models.blip_2.modeling_blip_2 import BaseModelOutputWithVisionQformerOutputs

from tasks import prompts
from tasks.captioners import CaptionConfig, Captioner, completed
from tasks.captioners.blip2 import asked
from tasks.errors import CheckpointError
from tasks.plain_captions import Inputs, Loaded, PlainCaptioner
from tasks.token_labels import IGNORED, padded
from tasks.trainables import Encoded

MODEL: Any = Blip2ForConditionalGeneration
NAME = "BLIP-2 (model type blip-2)"
VISION = "vision_model"
CONFIG: Any = AutoConfig


class Blip2Reader:
    """What BLIP-2 reads of samples: as its captioner asks; the caption is the decoder's."""

    shifted = False

    def __init__(self, folder: Path) -> None:
        self.inputs = Inputs(folder)
        self.config = CONFIG.from_pretrained(folder, local_files_only=True)
        self.text = self.config.text_config
        self.inputs.check(self.config.vision_config.image_size, self.text.vocab_size)
        if self.text.model_type != "t5":
            raise CheckpointError(f"{folder}: its text model is {self.text.model_type}; only T5 can be trained here.")
        if self.config.image_token_index is None:
            raise CheckpointError(
                f"{folder} has no image token, which transformers' forward asks for. Fetch the checkpoint anew: those "
                "of the hub have one by now."
            )

    def length(self, prompt: str, text: str, height: int, width: int) -> int:
        """Tokens of encoder and decoder together."""
        return len(self._asked(prompt)) + len(self.inputs.ids(text)) + 1

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """(3, side, side)."""
        return self.inputs.pixels([image])[0]

    def encode(
        self, prompt: str, text: str, height: int, width: int, *, pixels: Tensor | None, features: Tensor | None
    ) -> Encoded:
        """All that the decoder writes is learnt, to the end token; nothing of what the encoder reads."""
        labels = [*self.inputs.ids(text), self._end]
        return Encoded(ids=self._asked(prompt), labels=labels, pixels=pixels, features=features)

    @property
    def _end(self) -> int:
        end = self.text.eos_token_id
        return int(end if isinstance(end, int) else end[0])

    def _asked(self, prompt: str) -> list[int]:
        picture = [self.config.image_token_index] * self.config.num_query_tokens
        return [*picture, *self.inputs.ids(prompts.plain_words(prompt)), self._end]

    def collate(self, samples: Sequence[Encoded]) -> dict[str, Any]:
        """Padded on the right; labels with IGNORED."""
        labels = padded([one.labels for one in samples], IGNORED)
        before = padded(
            [[self.text.decoder_start_token_id, *one.labels[:-1]] for one in samples], self.text.pad_token_id
        )
        batch: dict[str, Any] = {
            "input_ids": padded([one.ids for one in samples], self.text.pad_token_id),
            "attention_mask": padded([[1] * len(one.ids) for one in samples], 0),
            "labels": labels,
            "decoder_input_ids": before,
        }
        if samples[0].features is not None:
            seen = torch.stack([one.features for one in samples if one.features is not None])
            picture = BaseModelOutputWithVisionQformerOutputs(pooler_output=seen)
            return batch | {"pixel_values": None, "mm_encoder_outputs": {"image": picture}}
        return batch | {"pixel_values": torch.stack([one.pixels for one in samples if one.pixels is not None])}

    def smoothing(self, model: Any) -> float:
        """None."""
        return 0.0


def reader(folder: Path) -> Blip2Reader:
    """Raises CheckpointError when the folder's files do not belong together, or it cannot be trained here."""
    return Blip2Reader(folder)


def features(model: Any, pixels: Tensor) -> Tensor:
    """(b, 3, side, side) to (b, image tokens, d of the text model): vision encoder, Q-Former, projection; all frozen.

    Without the Q-Former's dropout, which a frozen Q-Former has no use for.
    """
    seen: Tensor = model.get_image_features(pixels.to(model.dtype)).pooler_output
    return seen


def captioner(model: Any, reader: Blip2Reader, config: CaptionConfig) -> Captioner:
    """The model as it is now."""
    loaded = Loaded(asked(model), reader.inputs, model.device, model.dtype, {})
    return PlainCaptioner(loaded, completed(config))
