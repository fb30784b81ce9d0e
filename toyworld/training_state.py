"""A training run's state in one file: safetensors, and in its header, as JSON, what are no tensors. No pickle."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps of every parameter."""


def write_state(
    path: Path, model: Any, averaged: Mapping[str, Tensor], optimizer: Any, said: Mapping[str, Any]
) -> None:
    """Put weights, averaged weights, AdamW's moments and `said` on disk. A reader sees the old or the new."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"averaged/{name}": value for name, value in averaged.items()}
    for name, parameter in model.named_parameters():
        for moment, value in optimizer.state[parameter].items():
            tensors[f"{moment}/{name}"] = value
    temporary = path.with_suffix(".tmp")
    save_file(
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
        temporary,
        metadata={"said": json.dumps(said)},
    )
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def read_state(path: Path, model: Any, averaged: dict[str, Tensor], optimizer: Any) -> dict[str, Any]:
    """Put a state back into a model, its averaged weights and its optimizer; give back what was said with it."""
    with safe_open(path, framework="pt") as file:
        said: dict[str, Any] = json.loads(file.metadata()["said"])
        stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
    model.load_state_dict(_part(stored, "model"))
    with torch.no_grad():
        for name, value in _part(stored, "averaged").items():
            averaged[name].copy_(value)
    moments = {moment: _part(stored, moment) for moment in MOMENTS}
    for name, parameter in model.named_parameters():
        if name in moments["step"]:
            device = parameter.device
            optimizer.state[parameter] = {moment: moments[moment][name].to(device) for moment in MOMENTS}
    return said


def read_averaged(path: Path) -> dict[str, Tensor]:
    """The averaged weights of a state by name."""
    with safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("averaged/")]  # noqa: SIM118 - not a dictionary
        return {name.removeprefix("averaged/"): file.get_tensor(name) for name in names}


def _part(stored: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in stored.items() if name.startswith(start)}


@torch.no_grad()
def average_in(averaged: Mapping[str, Tensor], model: Any, decay: float) -> None:
    """Move the averaged weights a little towards the model's; counts are taken over as they are."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)
