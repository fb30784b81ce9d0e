"""The model that a stage trains: a checkpoint's weights, an adapter where the recipe has one, what a stage before left.

Everything that is loaded is safetensors.
"""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from tasks import trainables
from tasks.accelerator import loading, pick_dtype
from tasks.adapter_paths import TEXT_MODEL, some
from tasks.adapter_weights import CONFIG, WEIGHTS, apply_adapter, no_peft_warnings
from tasks.checkpoints import FILES, Checkpoint
from tasks.errors import CheckpointError, ConfigError
from tasks.loaded_models import Order, read_model
from tasks.training.recipes import LoraRecipe, Recipe

WRITTEN_BY_MODELS = ("config.json", "generation_config.json", "model.safetensors.index.json")


def build_model(
    recipe: Recipe, base: Checkpoint, device: torch.device, start: Path | None, tokens: Sequence[int] = ()
) -> Any:
    """The model ready to learn; with `start`, it goes on from the result of the stage before.

    Of `tokens` the rows are learnt beside the adapter, as they are read; as they are written too where both are tied.

    Raises CheckpointError when weights do not fit, ConfigError when a LoRA adapter would reach beyond the text model,
    TransientError when memory does not suffice.
    """
    backend = trainables.load(recipe.caption.backend)
    dtype = pick_dtype(recipe.caption.dtype, device)
    folder = start if start and not recipe.lora else base.folder
    with loading(recipe.caption.checkpoint):
        whole = Checkpoint(base.source, folder, base.digest)
        model, _ = read_model(backend.MODEL, backend.NAME, Order(whole, None, device, dtype, False))
        vars(model).pop("hf_device_map", None)  # else a Trainer takes it for one that is spread over devices
        model.main_input_name = "input_ids"  # what a Trainer counts; pictures may be there as features only
        if recipe.lora:
            return _with_lora(model, recipe.lora, recipe.seed, start, tokens)
        model.requires_grad_(True)
        if recipe.freeze_vision:
            model.get_submodule(backend.VISION).requires_grad_(False)
        return model


def _with_lora(model: Any, lora: LoraRecipe, seed: int, start: Path | None, tokens: Sequence[int]) -> Any:
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets,
        trainable_token_indices=list(tokens) or None,
    )  # fmt: skip
    torch.manual_seed(seed)
    with no_peft_warnings():
        try:
            adapted = get_peft_model(model, config)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"[lora] targets = {lora.targets!r}: {error}") from error
    names = [name for name, module in adapted.named_modules() if isinstance(module, LoraLayer)]
    if outside := [name for name in names if not TEXT_MODEL.search(name)]:
        raise ConfigError(
            f"[lora] targets = {lora.targets!r} also match {len(outside)} modules that are not the text model's: "
            f"{some(outside)}. Write more of the paths, such as self_attn.q_proj."
        )
    if start:
        _take_over(adapted, start)
    return adapted


def _take_over(adapted: Any, start: Path) -> None:
    """The adapter of a stage before, every tensor of it."""
    tensors = load_file(start / WEIGHTS)
    set_peft_model_state_dict(adapted, dict(tensors))
    there = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    wrong = [key for key, value in there.items() if key not in tensors or not torch.equal(value.cpu(), tensors[key])]
    if wrong or there.keys() != tensors.keys():
        raise CheckpointError(f"{start}: the adapter of the stage before does not fit the recipe: {some(wrong)}.")


def save_result(model: Any, recipe: Recipe, base: Checkpoint, target: Path) -> None:
    """The adapter as PEFT saves it, or the whole checkpoint; the folder appears as a whole."""
    draft = _new_draft(target)
    if recipe.lora:
        model.save_pretrained(draft, save_embedding_layers=False)
        _name_base(draft / CONFIG, recipe.caption.checkpoint)
        (draft / "README.md").unlink(missing_ok=True)  # PEFT's empty card; ours stands beside
    else:
        model.save_pretrained(draft)
        copy_inputs(base.folder, draft)
    _put(draft, target)


def _name_base(path: Path, checkpoint: str) -> None:
    """Not the folder of this machine that its weights were read from."""
    said = json.loads(path.read_text("utf-8"))
    said["base_model_name_or_path"] = Path(checkpoint).name if Path(checkpoint).exists() else checkpoint
    path.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n", "utf-8")


def export_merged(recipe: Recipe, base: Checkpoint, adapter: Path, target: Path, device: torch.device) -> float:
    """A checkpoint with the adapter added into its weights; gives what rounding took of it, see Applied.merge_loss."""
    backend = trainables.load(recipe.caption.backend)
    order = Order(base, None, device, pick_dtype(recipe.caption.dtype, device), False)
    with loading(recipe.caption.checkpoint):
        model, _ = read_model(backend.MODEL, backend.NAME, order)
        merged, applied = apply_adapter(model, adapter, merge=True)
    draft = _new_draft(target)
    merged.save_pretrained(draft)
    copy_inputs(base.folder, draft)
    _put(draft, target)
    return applied.merge_loss or 0.0


def copy_inputs(source: Path, target: Path) -> None:
    """Tokenizer, picture processor and the like: what a checkpoint has beside its model."""
    for pattern in FILES:
        for path in source.glob(pattern):
            if path.suffix != ".safetensors" and path.name not in WRITTEN_BY_MODELS:
                shutil.copyfile(path, target / path.name)


def _new_draft(target: Path) -> Path:
    draft = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    return draft


def _put(draft: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    os.replace(draft, target)
