"""A LoRA adapter's tensors onto a model, all of them or an error.

PEFT ignores a tensor whose module it does not find, or warns; the caption then comes from the plain model under the
adapter's name. Here the file's tensors decide which modules are adapted, every one is compared after loading, and one
that is not in the model is an error that names it.
"""

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from tasks.accelerator import device_errors
from tasks.adapter_merging import merge_layers
from tasks.adapter_paths import TEXT_MODEL, Rename, compare_with_targets, renaming, some
from tasks.errors import CheckpointError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
TENSOR = re.compile(
    r"^(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector|lora_embedding_A|lora_embedding_B)(?:\.weight|\.bias)?$"
)
ROWS = re.compile(r"^(?P<module>.+)\.token_adapter\.trainable_tokens_delta$")
"""Rows of tokens that an adapter brings with it; PEFT's trainable_token_indices say of which."""
WORTH_SAYING = 0.01
"""Loss from merging above which it is a warning."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Applied:
    """What was applied. Anything that is not is an error, so that `applied` is `present` and `ignored` is 0."""

    present: int
    """Tensors of the adapter's file."""
    applied: int
    """Those of them that stand in the model: found there again after loading, and compared."""
    ignored: int
    """Those that do not."""
    modules: int
    """Modules that the tensors belong to: those with a LoRA pair, and those of which rows of tokens or the whole is
    replaced. lm_head is not among them where it is one weight with embed_tokens, whose rows the file has."""
    renamed: int
    """Tensors whose module path was of an older transformers."""
    outside_text_model: int
    """Of `modules`, those neither in the language model nor its lm_head: the vision tower's, the projector's."""
    targeted_without_tensors: int
    """Modules that the adapter's configuration names, but for which the file has nothing."""
    merge_loss: float | None
    """What rounding took of LoRA pairs and rows of tokens when they were put into the weights: the norm of what is
    missing over the norm of all they change, 0 to about 1. None where the adapter was not merged."""

    def as_notes(self) -> dict[str, int | float | None]:
        """As plain values."""
        return asdict(self)


def apply_adapter(model: Any, folder: Path, *, merge: bool = False) -> tuple[Any, Applied]:
    """Put an adapter's weights into a model; the model, and what was applied.

    `folder` is as PEFT saves it. Unmerged, LoRA pairs are computed in float32 beside the model's own layers; rows of
    tokens are rounded to the model's number format either way. Merged, generation is as fast as without, but what the
    weights' number format cannot tell apart is lost. Raises CheckpointError when the adapter is not LoRA, is pickled,
    has a value that is no finite number, or has a tensor that does not end up in the model; what torch raises when
    memory does not suffice.
    """
    said = _read_config(folder)
    tensors = _read_tensors(folder)
    there = {name: module for name, module in model.named_modules() if name}  # before wrapping, which renames them
    current = renaming(set(there))
    renamed = {PREFIX + current(key.removeprefix(PREFIX)): value for key, value in tensors.items()}
    if len(renamed) != len(tensors):
        raise CheckpointError(f"{folder}: two tensors of the adapter have the same place in today's model.")
    modules = _modules(renamed, set(there), folder)
    pairs = {module for module, parts in modules.items() if parts}
    linear = {name for name, module in there.items() if isinstance(module, torch.nn.Linear)}
    untouched = compare_with_targets(said, pairs, linear, current, folder / CONFIG)
    config = _config(said, current, sorted(pairs), folder)
    _check_rows(config.trainable_token_indices, model, pairs, folder)
    try:
        with device_errors():
            adapted = _wrap(model, config)
            set_peft_model_state_dict(adapted, dict(renamed))
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: the adapter does not fit this model: {error}") from error
    found = _check_all_applied(adapted, renamed, folder)
    applied = Applied(
        present=len(tensors),
        applied=found,
        ignored=len(tensors) - found,
        modules=len(modules),
        renamed=len(set(renamed) - set(tensors)),
        outside_text_model=sum(not TEXT_MODEL.search(module) for module in modules),
        targeted_without_tensors=len(untouched),
        merge_loss=merge_layers(adapted, folder) if merge else None,
    )
    _report(applied, folder)
    return adapted.unload() if merge else adapted.get_base_model(), applied


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        said = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: {CONFIG} cannot be read: {error}. Give a folder as PEFT saves it.") from error
    if not isinstance(said, dict) or said.get("peft_type") != "LORA":
        raise CheckpointError(f"{folder}: only LoRA adapters can be applied, this one is {said!r:.80}.")
    return said


def _read_tensors(folder: Path) -> dict[str, torch.Tensor]:
    if not (folder / WEIGHTS).exists():
        raise CheckpointError(f"{folder} has no {WEIGHTS} (pickled weights are refused). Save it with safetensors.")
    try:
        tensors: dict[str, torch.Tensor] = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{folder / WEIGHTS} is damaged: {error}. Fetch it again.") from error
    if not tensors:
        raise CheckpointError(f"{folder / WEIGHTS} has no tensors.")
    if wild := [name for name, values in tensors.items() if not values.isfinite().all()]:
        raise CheckpointError(
            f"{folder / WEIGHTS} has values that are no finite numbers in {some(wild)}. Its training went astray; "
            "train it again with a lower learning rate, or take an earlier one."
        )
    return tensors


def _modules(tensors: dict[str, torch.Tensor], there: set[str], folder: Path) -> dict[str, set[str]]:
    """Paths of the modules the tensors belong to, with the parts of LoRA that are there for them: none for rows.

    Raises CheckpointError for a tensor without a module in the model, and for half a pair.
    """
    parts: dict[str, set[str]] = {}
    lost = []
    for key in tensors:
        path = key.removeprefix(PREFIX)
        match = TENSOR.match(path)
        found = match or ROWS.match(path)
        module = found["module"] if found else path.rpartition(".")[0]
        if module not in there:
            lost.append(key)
        else:
            parts.setdefault(module, set()).update([match["part"]] if match else [])
    if lost:
        raise CheckpointError(
            f"{folder}: {len(lost)} of {len(tensors)} adapter tensors have no module in this model: {some(lost)}. "
            "The adapter belongs to another checkpoint, or was saved under module names that are not known here."
        )
    if halves := [module for module, said in parts.items() if said and not _is_whole(said)]:
        raise CheckpointError(f"{folder}: only one half of the LoRA pair is there for {some(halves)}.")
    return parts


def _is_whole(parts: set[str]) -> bool:
    return {"lora_A", "lora_B"} <= parts or {"lora_embedding_A", "lora_embedding_B"} <= parts


def _config(said: dict[str, Any], current: Rename, modules: list[str], folder: Path) -> LoraConfig:
    """The adapter's configuration with exactly the file's modules as targets, by their full paths of today."""
    if not modules:
        raise CheckpointError(
            f"{folder / WEIGHTS} has no LoRA pair, only rows of tokens or whole modules. PEFT puts these into a model "
            "only beside LoRA pairs: train at least one module of target_modules too."
        )
    known = set(LoraConfig.__dataclass_fields__)
    kept = {key: value for key, value in said.items() if key in known and key not in ("peft_type", "runtime_config")}
    for pattern in ("rank_pattern", "alpha_pattern"):
        kept[pattern] = {current(key): value for key, value in (said.get(pattern) or {}).items()}
    if isinstance(rows := said.get("trainable_token_indices"), dict):
        kept["trainable_token_indices"] = {current(key): value for key, value in rows.items()}
    kept |= {"target_modules": modules, "inference_mode": True, "init_lora_weights": True, "auto_mapping": None}
    kept["base_model_name_or_path"] = None  # else PEFT warns that the weights were read from a folder
    # These narrow target_modules down, and may be written in old paths; what was adapted is known from the tensors.
    kept |= {"exclude_modules": None, "layers_to_transform": None, "layers_pattern": None, "target_parameters": None}
    try:
        return LoraConfig(**kept)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG} does not suit this version of PEFT: {error}") from error


def _check_rows(said: Any, model: Any, modules: set[str], folder: Path) -> None:
    """Raises CheckpointError for rows that the model has not, and for an adapter beside the very rows it replaces."""
    if not said:
        return
    count = len(model.get_input_embeddings().weight)
    for rows in said.values() if isinstance(said, dict) else [said]:
        known = isinstance(rows, list) and all(isinstance(one, int) and 0 <= one < count for one in rows)
        if not known or len(set(rows)) < len(rows):
            raise CheckpointError(
                f"{folder / CONFIG}: trainable_token_indices are not different tokens of this model's {count}. The "
                "adapter belongs to another checkpoint."
            )
    if both := [name for name in modules if name.rpartition(".")[2] in ("lm_head", "embed_tokens")]:
        raise CheckpointError(f"{folder} brings rows of tokens and adapts {some(both)} too; take one of the two.")


def _wrap(model: Any, config: LoraConfig) -> Any:
    with no_peft_warnings():
        return get_peft_model(model, config)


@contextmanager
def no_peft_warnings() -> Iterator[None]:
    """Without what PEFT warns of and nobody who captions or trains can do anything about."""
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 in its old way.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # lm_head or embed_tokens of a model where they are one weight: tasks/adapter_merging.py unties them.
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True` and a tied layer", UserWarning)
        # A Trainer's checkpoints then hold these layers too; what is left in the end does not.
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers` to `True`", UserWarning)
        yield


def _check_all_applied(adapted: Any, tensors: dict[str, torch.Tensor], folder: Path) -> int:
    """How many tensors are found in the model again: all of them. Raises CheckpointError."""
    there = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    wrong = [key for key, value in tensors.items() if key not in there or not _is_same(there[key], value)]
    if wrong:
        raise CheckpointError(
            f"{folder}: {len(wrong)} of {len(tensors)} adapter tensors were not applied: {some(wrong)}."
        )
    if extra := sorted(set(there) - set(tensors)):
        raise CheckpointError(f"{folder}: the file has nothing for {len(extra)} tensors of the adapter: {some(extra)}.")
    return len(tensors) - len(wrong)


def _is_same(loaded: torch.Tensor, value: torch.Tensor) -> bool:
    if loaded.is_meta:  # has a shape and no values
        return loaded.shape == value.shape
    return torch.equal(loaded.cpu(), value.to(loaded.dtype).cpu())


def _report(applied: Applied, folder: Path) -> None:
    log.info("adapter %s: %s", folder.name, applied)
    if applied.merge_loss is not None and applied.merge_loss > WORTH_SAYING:
        log.warning(
            "adapter %s: merging lost %.0f %% of it to rounding; merge_adapter = false loses nothing of its LoRA pairs",
            folder.name, 100 * applied.merge_loss,
        )  # fmt: skip
    if applied.outside_text_model:
        log.warning(
            "adapter %s also changes %d modules outside the language model (bare target names such as q_proj match the "
            "vision tower too)", folder.name, applied.outside_text_model,
        )  # fmt: skip
    if applied.targeted_without_tensors:
        log.warning(
            "adapter %s names %d modules as targets for which its file has no tensors; they stay as they are",
            folder.name, applied.targeted_without_tensors,
        )  # fmt: skip
