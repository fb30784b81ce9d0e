"""BLIP through transformers' BlipForConditionalGeneration: one plain sentence about the picture, without tags.

It is asked without detections. The words of the template, if any, are what the sentence goes on from. Settings that the
configuration leaves open are those of the model's card: five beams, 30 tokens.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import BlipForConditionalGeneration

from tasks.captioners import CaptionConfig, Origin, completed
from tasks.errors import CheckpointError
from tasks.loaded_models import Models, Order, origin, read_model
from tasks.plain_captions import Inputs, Loaded, Model, PlainCaptioner, Question

GROUNDED = False
BEAMS = True
DEFAULTS = {"max_new_tokens": 30, "num_beams": 5}


def identify(config: CaptionConfig) -> Origin:
    """Digests of the checkpoint and the adapter. Raises CheckpointError."""
    return origin(config)


def load(config: CaptionConfig) -> PlainCaptioner:
    """The captioner; its model is loaded once per process, weights, number format and device.

    Raises CheckpointError when it is not BLIP, TransientError when memory does not suffice.
    """
    return PlainCaptioner(_models.get(config), completed(config))


def _load(order: Order) -> Loaded:
    inputs = Inputs(order.checkpoint.folder)
    model, notes = read_model(BlipForConditionalGeneration, "BLIP (model type blip)", order)
    check_agreement(model.config, inputs)
    return Loaded(asked(model), inputs, order.device, order.dtype, notes)


def check_agreement(config: Any, inputs: Inputs) -> None:
    """Raises CheckpointError unless the model and what it reads through are of one checkpoint."""
    text = config.text_config
    inputs.check(config.vision_config.image_size, text.vocab_size)
    if inputs.tokenizer.sep_token_id != text.sep_token_id:
        raise CheckpointError(
            f"{inputs.folder}: the end of a text is {inputs.tokenizer.sep_token_id} to the tokenizer, "
            f"{text.sep_token_id} to the model."
        )


def asked(model: Any) -> Model:
    """The model as the captioner asks it."""
    text = model.config.text_config
    return Model(
        ask=partial(_ask, model), before=(text.bos_token_id,), ends=(text.sep_token_id,), pad=text.pad_token_id,
        most_tokens=text.max_position_embeddings,
    )  # fmt: skip


_models = Models(_load)


def _ask(model: Any, pixels: Tensor, ids: Tensor) -> Question:
    """The picture goes into the decoder's cross-attention, the words are what its own sequence begins with."""
    decoder = model.text_decoder
    seen = model.vision_model(pixel_values=pixels).last_hidden_state
    picture = {"encoder_hidden_states": seen, "encoder_attention_mask": torch.ones_like(seen[..., 0]).long()}

    def scores(tokens: Tensor) -> Tensor:
        read: Tensor = decoder(input_ids=torch.cat((ids, tokens[:, :-1]), dim=1), **picture).logits
        return read[:, ids.shape[1] - 1 :]

    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **picture}
    return Question(decoder, inputs, ids.shape[1], scores)
