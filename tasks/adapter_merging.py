"""A wrapped model's adapter added into its weights, and how much of it their number format takes."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer

from tasks.errors import CheckpointError

Loss = tuple[float, float]
"""Of a layer: the squared norm of what rounding took of its change, and that of the whole change."""


@torch.no_grad()
def merge_layers(adapted: Any, folder: Path) -> float:
    """Add every adapted layer's change into its weight; gives Applied.merge_loss. Raises CheckpointError."""
    layers: list[Any] = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    rows: list[Any] = [module for module in adapted.modules() if isinstance(module, TrainableTokensLayer)]
    try:
        losses = [_merge_rows(layer) for layer in rows]
        _untie(adapted.get_base_model(), layers)
        losses += [_merge_pair(layer) for layer in layers]
    except ValueError as error:
        raise CheckpointError(f"{folder}: the adapter cannot be added into the weights: {error}") from error
    missing, changed = (sum(column) for column in zip(*losses, strict=True))
    return round((missing / changed) ** 0.5, 6) if changed else 0.0


def _merge_rows(layer: Any) -> Loss:
    """Rows of tokens take the place of those that were there, in the weights' number format."""
    (name,) = layer.active_adapters
    before = layer.get_base_layer().weight[layer.token_indices[name]].float()
    layer.merge(safe_merge=True)
    if layer.tied_adapter:  # the same rows of the same weight: they are counted where they are read
        return 0.0, 0.0
    after = layer.get_base_layer().weight[layer.token_indices[name]].float()
    return _loss(before, after, layer.trainable_tokens_delta[name].float())


def _merge_pair(layer: Any) -> Loss:
    """What the layer should have become is itself merged in float32, one layer at a time."""
    before = layer.get_base_layer().weight.float().clone()
    exact = copy.deepcopy(layer).float()
    for one in (layer, exact):
        one.merge(safe_merge=True)
    return _loss(before, layer.get_base_layer().weight.float(), exact.get_base_layer().weight)


def _loss(before: torch.Tensor, after: torch.Tensor, wanted: torch.Tensor) -> Loss:
    return float((after - wanted).square().sum()), float((wanted - before).square().sum())


def _untie(model: Any, layers: list[Any]) -> None:
    """Give adapted layers weights of their own where others have the same one: what is added is meant for them alone.

    Where lm_head writes with what embed_tokens reads with, an adapter of lm_head would change what is read too.
    """
    users = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    shared = [layer.get_base_layer() for layer in layers if users[id(layer.get_base_layer().weight)] > 1]
    for layer in shared:
        layer.weight = torch.nn.Parameter(layer.weight.clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()) if shared else ():
        config.tie_word_embeddings = False  # else a checkpoint of it would be tied again when it is read
