"""A tiny Pixtral with random weights: the real classes and file formats at a hundred-thousandth of the size.

It writes nonsense, but the same nonsense for the same seed, picture and prompt, and other nonsense for others: enough
to exercise all that surrounds a captioner. Control words have the ids they have in Pixtral-12B.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from tasks import prompts, tags
from toyworld.random_weights import draw, redraw

CONTROL_WORDS = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]",
)  # fmt: skip
"""In the order of their ids, from 0, as in Mistral's tekken vocabulary of September 2024."""
VOCABULARY = 600
LOOK_GAIN, WORD_GAIN, END_GAIN = 4.0, 6.0, 1.5
"""Random weights say everything a little. The gains make it look at single words and patches, decided, and end
now and then."""

TOKENIZER: Any = PreTrainedTokenizerFast
SETTINGS: Any = GenerationConfig


def build_tiny_captioner(folder: Path, *, seed: int = 0, sentences: Sequence[str] = ()) -> Path:
    """Write configuration, tokenizer, picture processor and model.safetensors; give back the folder.

    `sentences` are more text to learn the tokenizer's words from.
    """
    tokenizer = tiny_tokenizer(sentences)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(tiny_config(len(tokenizer)))
    generator = np.random.default_rng(seed)
    redraw(model, generator)
    _speak_up(model, tokenizer, generator)
    return save_captioner(model, tokenizer, folder, longest_edge_px=1024)


def save_captioner(model: Any, tokenizer: Any, folder: Path, *, longest_edge_px: int) -> Path:
    """Write a captioner in the hub's layout; larger pictures will be shrunk to `longest_edge_px`. Gives the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = SETTINGS(bos_token_id=1, eos_token_id=2, pad_token_id=11)
    model.save_pretrained(folder)
    patch_px = model.config.vision_config.patch_size
    return save_inputs(tokenizer, folder, patch_px=patch_px, longest_edge_px=longest_edge_px)


def save_inputs(tokenizer: Any, folder: Path, *, patch_px: int, longest_edge_px: int) -> Path:
    """Write what a captioner reads through, without a model: tokenizer and picture processor. Gives the folder."""
    tokenizer.save_pretrained(folder)
    pictures = PixtralImageProcessorPil(
        size={"longest_edge": longest_edge_px}, patch_size={"height": patch_px, "width": patch_px}
    )
    pictures.save_pretrained(folder)
    words = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    said = {"processor_class": "PixtralProcessor", "patch_size": patch_px, **words}
    (folder / "processor_config.json").write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
    return folder


def tiny_tokenizer(sentences: Sequence[str] = ()) -> Any:
    """A byte-level BPE tokenizer. The tags' brackets are words of their own, and not special: they stay in the text."""
    before = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return train_tokenizer([*_sentences(), *sentences], VOCABULARY, before, tag_pieces())


def train_tokenizer(sentences: Sequence[str], size: int, before: Any, pieces: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer with `size` words, Pixtral's control words first, and `pieces` beside.

    `before` cuts a text into the runs that words may not reach across; it has to end in a ByteLevel. `pieces` are one
    token wherever they stand, and not special: they stay in the text.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = before
    tokenizer.decoder = decoders.ByteLevel()
    control = [AddedToken(word, special=True, normalized=False) for word in CONTROL_WORDS]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=control,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.add_tokens([AddedToken(piece, special=False, normalized=False) for piece in pieces])
    return TOKENIZER(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=131072,
    )


def tag_pieces() -> list[str]:
    """Openings and closings of the three kinds of tag, up to and from what is filled in."""
    tagged = [tags.render(kind, "x", ["x-0"], "y") for kind in ("object", "action", "location")]
    return [piece for one in tagged for piece in (one.partition("x")[0], one.rpartition("y")[2])]


def _sentences() -> list[str]:
    man = tags.render("object", "person", ["person-0"], "the man")
    runs = tags.render("action", "run", ["person-0"], "is running")
    wall = tags.render("location", "wall", ["wall-1"], "along the wall")
    people = tags.render("object", "person", ["person-0", "person-1"], "two people")
    plain = [tags.strip(text) for text in (man, runs, wall, people)]
    systems = [template.system for template in prompts.TEMPLATES.values()]
    numbers = [f"[person-{n}: 0.{n}1,0.{n}5,0.{9 - n}0,0.{9 - n}5]" for n in range(10)]
    return [
        *systems,
        *numbers,
        f"In the picture {man} {runs} {wall}.",
        f"There are {people} here.",
        *plain,
        "[/DETECTIONS]",
    ]


def tiny_config(vocabulary: int) -> LlavaConfig:
    """The architecture of Pixtral-12B with as few and as narrow layers as it takes."""
    vision = PixtralVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=1024, patch_size=16
    )
    text = MistralConfig(
        vocab_size=vocabulary,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9},
        sliding_window=None,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=11,
        initializer_range=0.1,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=CONTROL_WORDS.index("[IMG]"),
        projector_hidden_act="gelu",
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=1,
        tie_word_embeddings=False,
    )


@torch.no_grad()
def _speak_up(model: Any, tokenizer: Any, generator: np.random.Generator) -> None:
    """Make the random weights heard: pictures as loud as words, decided choices, an end now and then.

    What would not be readable (control words, half characters) is never chosen: its score stays 0.
    """
    for layer in (model.model.multi_modal_projector.linear_1, model.model.multi_modal_projector.linear_2):
        draw(generator, layer.weight, 0.3)
    for parameter in model.model.vision_tower.parameters():
        if parameter.dim() > 1:
            draw(generator, parameter, 0.2)
    for layer in model.model.language_model.layers:
        for projection in layer.self_attn.children():
            projection.weight.mul_(LOOK_GAIN)
    model.lm_head.weight.mul_(WORD_GAIN)
    silent = [token for word, token in tokenizer.get_vocab().items() if not _is_readable(tokenizer, word, token)]
    model.lm_head.weight[silent] = 0
    draw(generator, model.lm_head.weight[tokenizer.eos_token_id], 0.1 * END_GAIN * WORD_GAIN)


def _is_readable(tokenizer: Any, word: str, token: int) -> bool:
    text = tokenizer.decode([token])
    return word not in CONTROL_WORDS and text.isascii() and text.isprintable()
