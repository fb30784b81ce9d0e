"""The small captioner: Pixtral's architecture at a three-thousandth of the size, and its tokenizer.

Sizes were chosen for one CPU thread: a picture of the drawn world is 14 x 8 patches, a detection line is six tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig, PixtralVisionConfig

from tasks import prompts
from toyworld.random_weights import redraw
from toyworld.tiny_captioner import CONTROL_WORDS, save_captioner, save_inputs, tag_pieces, train_tokenizer

TEMPLATE = "groundcap-story"
"""The prompt it is trained with: the picture stands before the detections, so they can look at it."""
WIDTH_PX, HEIGHT_PX, PATCH_PX = 224, 128, 16
"""Pictures it is trained on; larger ones are shrunk until no side is longer than WIDTH_PX."""
VOCABULARY = 800
"""Words of the tokenizer, but for numbers and markup, which are tokens of their own."""
SMOOTHNESS = (0.5, 1, 2, 4, 8, 16)
"""Waves per picture of the sines that the embeddings of box numbers start as: near numbers are alike from the start."""

_RUNS = Regex(r' ?[^\W\d_]+(?:-[^\W\d_]+)*"?|-\d+(?:: |>)?|\d+|\[/?[a-zA-Z]+(?:-[a-z]+)*\]?\n?|[^\S\n]|[^\w\s]+|\n+|.')
"""Runs of characters that a word may fill: words with the blank before them or the quotation mark after, an id's number
with what closes it, a detection's bracket with its label."""


def captioner_config(words: int) -> LlavaConfig:
    """The architecture, for a tokenizer of so many words."""
    vision = PixtralVisionConfig(
        hidden_size=160, intermediate_size=448, num_hidden_layers=4, num_attention_heads=5, image_size=WIDTH_PX,
        patch_size=PATCH_PX, hidden_act="silu", rope_parameters={"rope_type": "axial", "rope_theta": 100.0},
        initializer_range=0.05,
    )  # fmt: skip
    text = MistralConfig(
        vocab_size=words, hidden_size=192, intermediate_size=512, num_hidden_layers=5, num_attention_heads=6,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=4096, sliding_window=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=11, initializer_range=0.05,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=CONTROL_WORDS.index(prompts.IMAGE),
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=1,
        tie_word_embeddings=True,
    )


def build_captioner(tokenizer: Any, seed: int = 0) -> Any:
    """A new model with random weights, the same on every machine; the numbers' embeddings are smooth."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(captioner_config(len(tokenizer)))
    generator = np.random.default_rng(seed)
    redraw(model, generator)
    _smooth_numbers(model.get_input_embeddings().weight, tokenizer, generator)
    return model


def captioner_tokenizer(sentences: Sequence[str]) -> Any:
    """The tokenizer. `sentences`: captions, tagged and plain, and whatever else its words are to be learnt from.

    One token each, beside the words: the openings of tags, with the blank before them too, and closings; the sentences
    of the system text; a box's number with the comma or the end of line that follows it.
    """
    before = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_RUNS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    system = prompts.template(TEMPLATE).system
    said = [f"{sentence}." for sentence in system.removesuffix(".").split(". ")]
    openings = [f" {piece}" for piece in tag_pieces() if "/" not in piece]
    return train_tokenizer(sentences, VOCABULARY, before, [*tag_pieces(), *openings, *said, *number_pieces()])


def write_inputs(sentences: Sequence[str], folder: Path) -> Path:
    """Write the tokenizer, and the picture processor, without a model. Gives the folder."""
    return save_inputs(captioner_tokenizer(sentences), folder, patch_px=PATCH_PX, longest_edge_px=WIDTH_PX)


def number_pieces() -> list[str]:
    """Every number a box can have, as it stands inside a line and at its end."""
    return [f"{hundredths / 100:.2f}," for hundredths in range(101)] + line_end_pieces()


def line_end_pieces() -> list[str]:
    """Every last number of a box, with which a detection's line ends."""
    return [f"{hundredths / 100:.2f}]\n" for hundredths in range(101)]


@torch.no_grad()
def _smooth_numbers(embeddings: Any, tokenizer: Any, generator: np.random.Generator) -> None:
    """Let the numbers' embeddings start as sines of what they say, turned into one random direction each."""
    std = float(embeddings.std())
    pieces = number_pieces()
    values = np.array([float(piece[:4]) for piece in pieces])
    waves = np.stack([wave(np.pi * 2 * often * values) for often in SMOOTHNESS for wave in (np.sin, np.cos)], axis=1)
    directions = generator.standard_normal((waves.shape[1], embeddings.shape[1])) / np.sqrt(len(SMOOTHNESS))
    ids = tokenizer.convert_tokens_to_ids(pieces)
    embeddings[ids] += torch.from_numpy((waves @ directions * std).astype(np.float32))


def export(model: Any, tokenizer: Any, folder: Path) -> Path:
    """Write the model as hub checkpoints are written, its numbers as float16."""
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    return save_captioner(half.half(), tokenizer, folder, longest_edge_px=WIDTH_PX)
