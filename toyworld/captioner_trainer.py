"""One step of the captioner's training: forward, losses, update, average."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from toyworld.captioner_forward import embed, look, multiply, read
from toyworld.captioner_heads import (
    LOOK_LAYERS,
    PLAN_LAYERS,
    POINT_LAYERS,
    Batch,
    Heads,
    binding_losses,
    caption_loss,
    pointer_losses,
    vision_losses,
)
from toyworld.training_state import average_in

SEEING, BINDING, TELLING = "seeing", "binding", "telling"
"""The phases: the vision tower alone; then which box is what; then captions. Earlier losses stay on, if smaller."""
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])
"""Of the picture processor: CLIP's."""
LOSS_WEIGHTS = {
    SEEING: {"vision": 1.0},
    BINDING: {"vision": 0.5, "binding": 1.0},
    TELLING: {"vision": 0.25, "binding": 0.3, "pointer": 0.5, "caption": 1.0},
}
AVERAGING = 0.99
"""Decay of the averaged weights, a step."""
CLIP = 1.0
"""Largest norm of the gradient."""


@dataclass
class Trainer:
    """A model in training and all that belongs to it."""

    trained: nn.ModuleDict
    """`model` and its `heads`."""
    averaged: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    dtype: torch.dtype
    """What matrices are multiplied in."""

    @classmethod
    def new(cls, model: Any, heads: Heads, dtype: torch.dtype, *, weight_decay: float, rate: float) -> "Trainer":
        """Around an untrained model."""
        trained = nn.ModuleDict({"model": model, "heads": heads})
        decayed = [value for value in trained.parameters() if value.ndim > 1]
        others = [value for value in trained.parameters() if value.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)
        averaged = {name: value.detach().clone() for name, value in trained.state_dict().items()}
        return cls(trained, averaged, optimizer, dtype)

    def step(self, batch: Batch, phase: str, rate: float, number: int) -> dict[str, float]:
        """One update, the `number`th; gives back the losses by name."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = losses(self.trained, batch, phase, self.dtype)
        loss = total(parts, phase)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained.parameters(), CLIP)
        self.optimizer.step()
        average_in(self.averaged, self.trained, min(AVERAGING, (1 + number) / (10 + number)))
        return {name: float(value.detach()) for group in parts.values() for name, value in group.items()}


def normalised(images: Tensor) -> Tensor:
    """Pictures (b, h, w, 3) uint8 as the picture processor gives them: (b, 3, h, w) float32."""
    scaled = (images.float() / 255 - MEAN.to(images.device)) / STD.to(images.device)
    return scaled.permute(0, 3, 1, 2).contiguous()


def losses(trained: nn.ModuleDict, batch: Batch, phase: str, dtype: torch.dtype) -> dict[str, dict[str, Tensor]]:
    """The losses that this phase asks for, by group and name."""
    model: Any = trained["model"]
    heads: Any = trained["heads"]
    seen, features = look(model, normalised(batch.images), dtype)
    parts = {"vision": vision_losses(heads, seen, batch)}
    if phase == SEEING:
        return parts
    watched = {*LOOK_LAYERS, *((*POINT_LAYERS, *PLAN_LAYERS) if phase == TELLING else ())}
    told = batch.weights[:, 1:] > 0
    first = int(told.any(0).int().argmax()) if phase == TELLING else 0
    said = read(model, embed(model, batch.ids, features[: len(batch.ids)]), dtype, watched, first)
    parts["binding"] = binding_losses(heads, said, batch, model.config.image_token_id)
    if phase == TELLING:
        parts["pointer"] = pointer_losses(heads, said, batch)
        logits = multiply(said.states[-1][:, :-1][told[:, first:]], model.lm_head.weight, dtype).float()
        parts["caption"] = {"caption": caption_loss(logits, batch.ids[:, 1:][told], batch.weights[:, 1:][told])}
    return parts


def total(parts: dict[str, dict[str, Tensor]], phase: str) -> Tensor:
    """The losses' weighted sum."""
    weights = LOSS_WEIGHTS[phase]
    return torch.stack([weights[group] * loss for group in parts for loss in parts[group].values()]).sum()
