"""BLIP-2 through transformers' Blip2ForConditionalGeneration, with an optional LoRA adapter: a plain caption, no tags.

It is asked without detections. The features that its Q-Former makes of the picture stand before the words, as the
image tokens of newer checkpoints do; older ones have no such token, and need none here. Text models of both kinds are
known: T5 reads picture and words and writes an answer, OPT goes on from them. Settings that the configuration leaves
open are those of the model's card: no beams, 30 tokens.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import Blip2ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from tasks.captioners import CaptionConfig, Origin, completed
from tasks.loaded_models import Models, Order, origin, read_model
from tasks.plain_captions import Inputs, Loaded, Model, PlainCaptioner, Question

GROUNDED = False
BEAMS = True
DEFAULTS = {"max_new_tokens": 30, "num_beams": 1}


def identify(config: CaptionConfig) -> Origin:
    """Digests of the checkpoint and the adapter. Raises CheckpointError."""
    return origin(config)


def load(config: CaptionConfig) -> PlainCaptioner:
    """The captioner; its model is loaded once per process, weights, number format and device.

    Raises CheckpointError when it is not BLIP-2 or the adapter is not its own, TransientError when memory does not
    suffice.
    """
    return PlainCaptioner(_models.get(config), completed(config))


def _load(order: Order) -> Loaded:
    inputs = Inputs(order.checkpoint.folder)
    model, notes = read_model(Blip2ForConditionalGeneration, "BLIP-2 (model type blip-2)", order)
    inputs.check(model.config.vision_config.image_size, model.config.text_config.vocab_size)
    return Loaded(asked(model), inputs, order.device, order.dtype, notes)


_models = Models(_load)


def asked(model: Any) -> Model:
    """The model as the captioner asks it."""
    text = model.config.text_config
    ends = (text.eos_token_id,) if isinstance(text.eos_token_id, int) else tuple(text.eos_token_id)
    image_tokens = model.config.num_query_tokens
    if model.config.use_decoder_only_language_model:
        return Model(
            ask=partial(_ask_to_go_on, model), before=(text.bos_token_id,), image_tokens=image_tokens, ends=ends,
            pad=text.pad_token_id, most_tokens=text.max_position_embeddings,
        )  # fmt: skip
    return Model(
        ask=partial(_ask_to_answer, model, text.decoder_start_token_id), after=ends[:1], image_tokens=image_tokens,
        start=text.decoder_start_token_id, ends=ends, pad=text.pad_token_id,
    )  # fmt: skip


def _read(model: Any, pixels: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, image tokens + t, d) what stands for the picture, then the words; and a mask of ones."""
    words = model.language_model.get_input_embeddings()(ids)
    picture = model.get_image_features(pixels).pooler_output
    embeddings = torch.cat((picture.to(words.dtype), words), dim=1)
    return embeddings, torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)


def _ask_to_answer(model: Any, start: int, pixels: Tensor, ids: Tensor) -> Question:
    """Of a text model that reads first and then writes from its own first token on, such as T5."""
    text = model.language_model
    embeddings, mask = _read(model, pixels, ids)
    states = text.get_encoder()(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state

    def inputs() -> dict[str, Any]:  # `generate` changes what it is given
        return {"encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": mask}

    def scores(tokens: Tensor) -> Tensor:
        begun = torch.cat((torch.full_like(tokens[:, :1], start), tokens[:, :-1]), dim=1)
        found: Tensor = text(**inputs(), decoder_input_ids=begun).logits
        return found

    return Question(text, inputs(), 1, scores)


def _ask_to_go_on(model: Any, pixels: Tensor, ids: Tensor) -> Question:
    """Of a text model that goes on from what it reads, such as OPT."""
    text = model.language_model
    embeddings, mask = _read(model, pixels, ids)

    def scores(tokens: Tensor) -> Tensor:
        written = text.get_input_embeddings()(tokens[:, :-1])
        found: Tensor = text(inputs_embeds=torch.cat((embeddings, written), dim=1)).logits
        return found[:, embeddings.shape[1] - 1 :]

    return Question(text, {"inputs_embeds": embeddings, "attention_mask": mask}, 0, scores)
