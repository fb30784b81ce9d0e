"""Pixtral through transformers' LlavaForConditionalGeneration, with an optional LoRA adapter.

Differences to the stock path, all tested against it: pictures of one size go through the vision tower side by side
instead of as one long sequence (whose attention grows with the square of the batch); the tokens are chosen by
tasks/token_choice.py; generation settings are ours alone.
"""

import logging
import math
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig, LlavaForConditionalGeneration

from tasks.accelerator import device_errors, loading, pick_device, pick_dtype
from tasks.adapter_weights import apply_adapter
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, Origin
from tasks.checkpoints import Checkpoint, find_checkpoint
from tasks.errors import CheckpointError
from tasks.pixtral_inputs import Inputs, PixtralInputs
from tasks.token_choice import TokenChoice

LLAVA: Any = LlavaForConditionalGeneration
SETTINGS: Any = GenerationConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model on its device, with what it reads through. One request at a time."""

    model: Any
    inputs: PixtralInputs
    device: torch.device
    notes: dict[str, Any]
    lock: threading.Lock = field(default_factory=threading.Lock)


_loaded: dict[tuple[str, ...], Loaded] = {}
_lock = threading.Lock()


def identify(config: CaptionConfig) -> Origin:
    """Digests of the checkpoint and the adapter. Raises CheckpointError."""
    checkpoint, adapter = _find(config)
    weights = {"checkpoint": checkpoint.digest} | ({"adapter": adapter.digest} if adapter else {})
    return Origin(checkpoint.label, adapter.label if adapter else None, weights)


def load(config: CaptionConfig) -> "PixtralCaptioner":
    """The captioner; its model is loaded once per process, weights, number format and device.

    Raises CheckpointError when it is not Pixtral or the adapter is not its own, TransientError when memory does not
    suffice.
    """
    checkpoint, adapter = _find(config)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    place = f"{device.type}:{device.index or 0}"  # cuda and cuda:0 are the same
    how = ("merged" if config.merge_adapter else "beside") if adapter else ""
    key = (checkpoint.digest, adapter.digest if adapter else "", how, place, str(dtype))
    with _lock:
        if key not in _loaded:
            with loading(config.checkpoint):
                _loaded[key] = _load(checkpoint, adapter, device, dtype, merge=config.merge_adapter)
        return PixtralCaptioner(_loaded[key], config)


def _find(config: CaptionConfig) -> tuple[Checkpoint, Checkpoint | None]:
    checkpoint = find_checkpoint(config.checkpoint, config.revision)
    return checkpoint, find_checkpoint(config.adapter) if config.adapter else None


def _load(
    checkpoint: Checkpoint, adapter: Checkpoint | None, device: torch.device, dtype: torch.dtype, *, merge: bool
) -> Loaded:
    inputs = PixtralInputs(checkpoint.folder)
    model = _load_model(checkpoint.folder, device, dtype)
    _check_agreement(model, inputs, checkpoint.folder)
    notes: dict[str, Any] = {"dtype": str(dtype).removeprefix("torch."), "device": device.type}
    if adapter:
        model, applied = apply_adapter(model, adapter.folder, merge=merge)
        notes["adapter"] = applied.as_notes()
    # A checkpoint's generation_config.json may ask for beams, penalties or sampling. Everything is said in `_settings`.
    model.generation_config = SETTINGS()
    return Loaded(model.eval().requires_grad_(False), inputs, device, notes)


def _load_model(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    try:
        with device_errors():
            model, info = LLAVA.from_pretrained(
                folder,
                dtype=dtype,
                device_map={"": device},  # straight onto the device, not through a copy in main memory
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded as Pixtral (model type llava): {error}") from error
    wrong = {kind: sorted(map(str, info[kind])) for kind in ("missing_keys", "mismatched_keys") if info[kind]}
    if wrong:
        raise CheckpointError(f"{folder} does not have all of Pixtral's weights, or not in its shapes: {wrong!s:.500}")
    if info["unexpected_keys"]:
        log.warning("%s has weights that Pixtral does not use: %s", folder, sorted(info["unexpected_keys"])[:5])
    return model


def _check_agreement(model: Any, inputs: PixtralInputs, folder: Path) -> None:
    config = model.config
    if config.vision_config.model_type != "pixtral":
        raise CheckpointError(f"{folder}: its vision tower is {config.vision_config.model_type}, not pixtral.")
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

    @property
    def notes(self) -> dict[str, Any]:
        """Number format and device, and what the adapter changed."""
        return dict(self.loaded.notes)

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        """One result per request, in order; see the protocol."""
        with self.loaded.lock, device_errors():
            return self._captions(requests)

    @torch.inference_mode()
    def _captions(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        read = [self._read(request) for request in requests]
        ready = [(request, one) for request, one in zip(requests, read, strict=True) if isinstance(one, Inputs)]
        made = iter(self._generate([one for _, one in ready], [request.seed for request, _ in ready]) if ready else [])
        return [next(made) if isinstance(one, Inputs) else one for one in read]

    def _read(self, request: CaptionRequest) -> Inputs | CaptionResult:
        try:
            one = self.loaded.inputs(request.prompt, request.image)
        except ValueError as error:
            return CaptionResult(error=f"the model cannot read this request: {error}")
        room: int = self.loaded.model.config.text_config.max_position_embeddings
        if len(one.ids) + self.config.max_new_tokens > room:
            return CaptionResult(
                prompt_tokens=len(one.ids),
                error=f"{len(one.ids)} tokens of prompt and {self.config.max_new_tokens} of caption are more than the "
                f"model's {room}. Lower max_new_tokens, max_detections or the frames' longest_edge.",
            )
        return one

    def _generate(self, batch: Sequence[Inputs], seeds: Sequence[int]) -> list[CaptionResult]:
        loaded = self.loaded
        choice = TokenChoice(seeds, self.config.temperature, self.config.top_p, loaded.device)
        embeddings, mask = _embed(loaded.model, loaded.inputs, batch)
        made = loaded.model.generate(
            inputs_embeds=embeddings,
            attention_mask=mask,
            generation_config=self._settings(),
            logits_processor=[choice],
        ).tolist()
        eos = loaded.inputs.tokenizer.eos_token_id
        ends = [ids.index(eos) + 1 if eos in ids else len(ids) for ids in made]
        means = choice.mean_logprobs(ends)
        return [
            self._result(one, ids[:end], mean, stopped=eos in ids)
            for one, ids, end, mean in zip(batch, made, ends, means, strict=True)
        ]

    def _result(self, one: Inputs, ids: list[int], mean_logprob: float, *, stopped: bool) -> CaptionResult:
        if not math.isfinite(mean_logprob):
            error = 'the model\'s output is not a number. Try dtype = "float32".'
            return CaptionResult(prompt_tokens=len(one.ids), completion_tokens=len(ids), error=error)
        return CaptionResult(
            prompt_tokens=len(one.ids),
            completion_tokens=len(ids),
            text=self.loaded.inputs.text(ids),
            finish_reason="stop" if stopped else "length",
            mean_logprob=mean_logprob,
        )

    def _settings(self) -> Any:
        """All that decides how it generates: greedy over what TokenChoice prefers, until `</s>` or the limit."""
        tokenizer = self.loaded.inputs.tokenizer
        return SETTINGS(
            max_new_tokens=self.config.max_new_tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )


def _embed(model: Any, inputs: PixtralInputs, batch: Sequence[Inputs]) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompts' embeddings (b, t, d) with the pictures in their places, padded on the left, and the mask (b, t)."""
    longest = max(len(one.ids) for one in batch)
    pad = inputs.tokenizer.pad_token_id or 0  # any token will do, the mask hides it
    ids = torch.tensor([[pad] * (longest - len(one.ids)) + one.ids for one in batch], device=model.device)
    mask = torch.tensor([[0] * (longest - len(one.ids)) + [1] * len(one.ids) for one in batch], device=model.device)
    embeddings = model.get_input_embeddings()(ids)
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, one in enumerate(batch):
        by_size[tuple(one.pixels.shape)].append(index)
    for indices in by_size.values():
        features = image_features(model, torch.stack([batch[index].pixels for index in indices]).to(model.device))
        for index, feature in zip(indices, features, strict=True):
            embeddings[index, (ids[index] == inputs.image_id) & (mask[index] == 1)] = feature.to(embeddings.dtype)
    return embeddings, mask


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
