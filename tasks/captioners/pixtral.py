"""Pixtral through transformers' LlavaForConditionalGeneration, with an optional LoRA adapter.

Differences to the stock path, all tested against it: pictures of one size go through the vision tower side by side
instead of as one long sequence (whose attention grows with the square of the batch); captions are written by
tasks/continuous_batching.py, not by `generate`; what many prompts begin with is read once; generation settings are
ours alone.
"""

import math
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaForConditionalGeneration

from tasks.accelerator import device_errors
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin, completed
from tasks.continuous_batching import ContinuousBatch, Prompt, Row, Settings
from tasks.errors import CheckpointError
from tasks.frame_work import UNWORKABLE, reason
from tasks.loaded_models import Models, Order, origin, read_model
from tasks.mistral_layers import Prefix, read_prefix
from tasks.pixtral_inputs import Inputs, PixtralInputs
from tasks.read_ahead import ReadAhead
from tasks.rows_in_memory import rows_that_fit, weight_bytes
from tasks.token_limits import Grammars, TokenLimit, keep_to
from tasks.token_vocabulary import Vocabulary

CONSTRAINS = True
LLAVA: Any = LlavaForConditionalGeneration

AHEAD = 16
"""Requests that are read while captions are written. They hold their pictures."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model on its device, with what it reads through. One thread at a time."""

    model: Any
    inputs: PixtralInputs
    device: torch.device
    notes: dict[str, Any]
    prefixes: dict[tuple[int, ...], Prefix] = field(default_factory=dict)
    """What prompts of a template begin with, by its tokens."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def grammars(self) -> Grammars:
        """For constrained captions. Raises CheckpointError where the tokenizer does not suit."""
        return Grammars(Vocabulary(self.inputs.tokenizer, self.model.config.text_config.vocab_size))


def identify(config: CaptionConfig) -> Origin:
    """Digests of the checkpoint and the adapter. Raises CheckpointError."""
    return origin(config)


def load(config: CaptionConfig) -> "PixtralCaptioner":
    """The captioner; its model is loaded once per process, weights, number format and device.

    Raises CheckpointError when it is not Pixtral or the adapter is not its own, TransientError when memory does not
    suffice.
    """
    loaded = _models.get(config)
    if config.decoding == "constrained":
        with loaded.lock:
            _ = loaded.grammars  # made here, where errors are expected
    return PixtralCaptioner(loaded, completed(config))


def _load(order: Order) -> Loaded:
    inputs = PixtralInputs(order.checkpoint.folder)
    model, notes = read_model(LLAVA, "Pixtral (model type llava)", order)
    check_agreement(model.config, inputs, order.checkpoint.folder)
    return Loaded(model, inputs, order.device, notes)


_models = Models(_load)


def check_agreement(config: Any, inputs: PixtralInputs, folder: Path) -> None:
    """Raises CheckpointError unless the model is Pixtral, and reads through what lies beside it."""
    if config.vision_config.model_type != "pixtral":
        raise CheckpointError(f"{folder}: its vision tower is {config.vision_config.model_type}, not pixtral.")
    if config.text_config.model_type != "mistral":
        raise CheckpointError(f"{folder}: its text model is {config.text_config.model_type}, not mistral.")
    if (config.vision_feature_layer, config.vision_feature_select_strategy) != (-1, "full"):
        raise CheckpointError(
            f"{folder} takes its picture features from another layer than the last; Pixtral does not."
        )
    if config.image_token_id != inputs.image_id:
        raise CheckpointError(
            f"{folder}: [IMG] is {inputs.image_id} to the tokenizer, {config.image_token_id} to the model."
        )
    if config.vision_config.patch_size != inputs.patch_px:
        raise CheckpointError(f"{folder}: model and picture processor differ in patch size.")
    if len(inputs.tokenizer) > config.text_config.vocab_size:
        raise CheckpointError(f"{folder}: the tokenizer has more words than the model ({len(inputs.tokenizer)}).")


class PixtralCaptioner:
    """Pixtral with one set of sampling settings."""

    def __init__(self, loaded: Loaded, config: CaptionConfig) -> None:
        self.loaded, self.config = loaded, config
        self.waiting_seconds = 0.0
        self.rows: dict[str, int] = {}

    @property
    def notes(self) -> dict[str, Any]:
        """Number format and device, what the adapter changed, and how many captions were in work at once: as planned,
        and, where memory did not suffice for that, at the end.
        """
        return {**self.loaded.notes, **self.rows}

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        """One result per request, in order; see the protocol."""
        found = dict(self.stream(requests))
        return [found[request] for request in requests]

    def stream(self, requests: Iterable[CaptionRequest]) -> Iterator[tuple[CaptionRequest, CaptionResult]]:
        """Every request with its result as it is finished; see the protocol."""
        refused: deque[tuple[CaptionRequest, CaptionResult]] = deque()
        with ReadAhead(_Reader(self.loaded, self.config), requests, AHEAD) as read:
            prompts = self._readable(read, refused)
            try:
                for row in self._write(prompts):
                    yield row.prompt.asked, self._result(row)
                    while refused:
                        yield refused.popleft()
            finally:
                self.waiting_seconds += read.waiting_seconds
        yield from refused

    def _readable(
        self, read: Iterable[tuple[CaptionRequest, Inputs | CaptionResult]], refused: deque[Any]
    ) -> Iterator[Prompt]:
        for request, one in read:
            if isinstance(one, Inputs):
                yield Prompt(one.ids, one, request.seed, request, self._limit(request))
            else:
                refused.append((request, one))

    def _limit(self, request: CaptionRequest) -> Callable[[], TokenLimit] | None:
        if self.config.decoding == "free":
            return None
        return partial(self.loaded.grammars.limit, request.detections)

    def _write(self, prompts: Iterator[Prompt]) -> Iterator[Row]:
        first = next(prompts, None)
        if first is None:
            return
        loaded, config = self.loaded, self.config
        rows = config.batch_size
        with loaded.lock, device_errors():
            prefix = _prefix(loaded, config.template)
            if not rows:
                tokens = len(first.ids) + config.max_new_tokens
                rows = rows_that_fit(loaded.model.model.language_model, tokens, weight_bytes(loaded.model))
        end = loaded.inputs.tokenizer.eos_token_id
        settings = Settings(
            rows=rows,
            max_new_tokens=config.max_new_tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            end=end,
            keep_to=keep_to if config.decoding == "constrained" else None,
        )
        batch = ContinuousBatch(loaded.model, settings, prefix, partial(_embed, loaded), loaded.lock)
        self.rows.setdefault("rows_at_once", rows)  # asked again for what is left, it was planned so at first
        try:
            yield from batch.write(chain([first], prompts))
        finally:  # also where it failed: then the rest is asked for a few at a time
            if batch.most < rows:
                self.rows["rows_halved_to"] = min(batch.most, self.rows.get("rows_halved_to", batch.most))

    def _result(self, row: Row) -> CaptionResult:
        prompt_tokens, completion_tokens = len(row.prompt.ids), len(row.tokens)
        mean_logprob = math.fsum(row.logprobs) / completion_tokens
        tokenizer, text = self.loaded.inputs.tokenizer, self.loaded.inputs.text(row.tokens)
        error = row.limit.error if row.limit is not None else None
        if not math.isfinite(mean_logprob):
            error = 'the model\'s output is not a number. Try dtype = "float32".'
        if error is not None:
            return CaptionResult(
                text=text, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, error=error
            )
        return CaptionResult(
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            text=text,
            finish_reason="stop" if row.tokens[-1] == tokenizer.eos_token_id else "length",
            mean_logprob=mean_logprob,
        )


class _Reader:
    """Reads requests, in order. One that asks the same of the same picture as the one before it is not read again."""

    def __init__(self, loaded: Loaded, config: CaptionConfig) -> None:
        self.inputs = loaded.inputs
        self.room: int = loaded.model.config.text_config.max_position_embeddings - config.max_new_tokens
        self.config = config
        self.last: tuple[CaptionRequest, Inputs | CaptionResult] | None = None

    def __call__(self, request: CaptionRequest) -> tuple[CaptionRequest, Inputs | CaptionResult]:
        """The request with what the model reads, or with the reason why it cannot."""
        if self.last and self.last[0].image is request.image and self.last[0].prompt == request.prompt:
            return request, self.last[1]
        self.last = (request, self._read(request))
        return self.last

    def _read(self, request: CaptionRequest) -> Inputs | CaptionResult:
        try:
            one = self.inputs(request.prompt, request.image)
        except UNWORKABLE as error:
            return CaptionResult(error=f"the model cannot read this request ({reason(error)}).")
        if len(one.ids) > self.room:
            return CaptionResult(
                prompt_tokens=len(one.ids),
                error=f"{len(one.ids)} tokens of prompt and {self.config.max_new_tokens} of caption are more than the "
                f"model's {self.room + self.config.max_new_tokens}. Lower max_new_tokens, max_detections or the "
                "frames' longest_edge.",
            )
        return one


def _prefix(loaded: Loaded, template: str) -> Prefix:
    """What all prompts of a template begin with, read once per model."""
    ids = loaded.inputs.shared_ids(template)
    if ids not in loaded.prefixes:
        with torch.inference_mode():
            loaded.prefixes[ids] = read_prefix(loaded.model.model.language_model, ids)
    return loaded.prefixes[ids]


def _embed(loaded: Loaded, prompts: Sequence[Prompt], start: int) -> torch.Tensor:
    """The prompts' embeddings (b, t, d) from token `start` on, pictures in their places, padded on the right."""
    model, image_id = loaded.model, loaded.inputs.image_id
    longest = max(len(one.ids) for one in prompts)
    pad = loaded.inputs.tokenizer.pad_token_id or 0  # any token will do, nothing looks at it
    ids = [[*one.ids[start:], *[pad] * (longest - len(one.ids))] for one in prompts]
    embeddings: torch.Tensor = model.get_input_embeddings()(torch.tensor(ids, device=model.device))
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(prompts):
        by_size[tuple(one.source.pixels.shape)].append(index)
    for indices in by_size.values():
        pixels = torch.stack([prompts[index].source.pixels for index in indices])
        features = image_features(model, pixels.to(model.device))
        for index, feature in zip(indices, features, strict=True):
            places = [place for place, token in enumerate(prompts[index].ids[start:]) if token == image_id]
            embeddings[index, torch.tensor(places, device=model.device)] = feature.to(embeddings.dtype)
    return embeddings


def image_features(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Pixels (b, 3, h, w) to features (b, patches, d of the text model), row by row.

    The same layers as PixtralVisionModel.forward calls; it joins a batch into one sequence with a mask between the
    pictures, here the batch is a batch.
    """
    tower = model.model.vision_tower
    patches = tower.patch_conv(pixels.to(tower.patch_conv.weight.dtype))  # (b, d, rows, columns)
    rows, columns = patches.shape[-2:]
    sequence = tower.ln_pre(patches.flatten(2).transpose(1, 2))  # (b, rows * columns, d)
    grid = torch.cartesian_prod(
        torch.arange(rows, device=pixels.device), torch.arange(columns, device=pixels.device)
    )  # (rows * columns, 2)
    positions = tower.patch_positional_embedding(sequence, grid)
    seen = tower.transformer(sequence, attention_mask=None, position_embeddings=positions).last_hidden_state
    features: torch.Tensor = model.model.multi_modal_projector(seen)
    return features
