"""A wrapped model's adapter added into its weights, and how much of it their number format takes."""

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.trainable_tokens.layer import TrainableTokensLayer

from tasks.errors import CheckpointError


@torch.no_grad()
def merge_layers(adapted: Any, folder: Path) -> float:
    """Add every adapted layer's change into its weight; gives Applied.merge_loss.

    What it should have become is the same layer merged in float32, one layer at a time. Raises CheckpointError.
    """
    missing = changed = 0.0
    layers: list[Any] = [module for module in adapted.modules() if isinstance(module, LoraLayer)]
    rows: list[Any] = [module for module in adapted.modules() if isinstance(module, TrainableTokensLayer)]
    for one in rows:
        one.merge(safe_merge=True)  # they take the place of those that were there, in the weights' number format
    _untie(adapted.get_base_model(), layers)
    for layer in layers:
        before = layer.get_base_layer().weight.float().clone()
        exact = copy.deepcopy(layer).float()
        try:
            for one in (layer, exact):
                one.merge(safe_merge=True)
        except ValueError as error:
            raise CheckpointError(f"{folder}: the adapter cannot be added into the weights: {error}") from error
        wanted = exact.get_base_layer().weight
        missing += float((layer.get_base_layer().weight.float() - wanted).square().sum())
        changed += float((wanted - before).square().sum())
    return round((missing / changed) ** 0.5, 6) if changed else 0.0


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
