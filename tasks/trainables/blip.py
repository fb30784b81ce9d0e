"""BLIP learns to write: its decoder reads the caption after the template's words, and looks at the picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoConfig, BlipForConditionalGeneration

from tasks import prompts
from tasks.captioners import CaptionConfig, Captioner, completed
from tasks.captioners.blip import asked, check_agreement
from tasks.plain_captions import Inputs, Loaded, PlainCaptioner
from tasks.token_labels import IGNORED, padded
from tasks.trainables import Encoded

MODEL: Any = BlipForConditionalGeneration
NAME = "BLIP (model type blip)"
VISION = "vision_model"
CONFIG: Any = AutoConfig


class BlipReader:
    """What BLIP reads of samples: as its captioner asks, and then the caption."""

    shifted = True

    def __init__(self, folder: Path) -> None:
        self.inputs = Inputs(folder)
        config = CONFIG.from_pretrained(folder, local_files_only=True)
        check_agreement(config, self.inputs)
        self.text = config.text_config

    def length(self, prompt: str, text: str, height: int, width: int) -> int:
        """Tokens of the decoder; where they are more than its positions, far more, so that the sample is left out."""
        tokens = len(self._asked(prompt)) + len(self.inputs.ids(text)) + 1
        return tokens if tokens <= self.text.max_position_embeddings else 1 << 30

    def pixels(self, image: NDArray[np.uint8]) -> Tensor:
        """(3, side, side)."""
        return self.inputs.pixels([image])[0]

    def encode(
        self, prompt: str, text: str, height: int, width: int, *, pixels: Tensor | None, features: Tensor | None
    ) -> Encoded:
        """The decoder's first token and the template's words are not learnt."""
        begun, told = self._asked(prompt), [*self.inputs.ids(text), self.text.sep_token_id]
        return Encoded(ids=begun + told, labels=[IGNORED] * len(begun) + told, pixels=pixels, features=features)

    def _asked(self, prompt: str) -> list[int]:
        return [self.text.bos_token_id, *self.inputs.ids(prompts.plain_words(prompt))]

    def collate(self, samples: Sequence[Encoded]) -> dict[str, Any]:
        """Padded on the right; labels with IGNORED."""
        return {
            "input_ids": padded([one.ids for one in samples], self.text.pad_token_id),
            "attention_mask": padded([[1] * len(one.ids) for one in samples], 0),
            "labels": padded([one.labels for one in samples], IGNORED),
            "pixel_values": torch.stack([one.pixels for one in samples if one.pixels is not None]),
        }

    def smoothing(self, model: Any) -> float:
        """As BLIP's own loss has it."""
        return float(getattr(model.config.text_config, "label_smoothing", 0.0))


def reader(folder: Path) -> BlipReader:
    """Raises CheckpointError when the folder's files do not belong together."""
    return BlipReader(folder)


def captioner(model: Any, reader: BlipReader, config: CaptionConfig) -> Captioner:
    """The model as it is now."""
    loaded = Loaded(asked(model), reader.inputs, model.device, model.dtype, {})
    return PlainCaptioner(loaded, completed(config))
