"""Weights onto a device, once per process: what the captioners that run on transformers share."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from safetensors import SafetensorError
from transformers import GenerationConfig

from tasks.accelerator import device_errors, loading, pick_device, pick_dtype
from tasks.adapter_weights import apply_adapter
from tasks.captioners import CaptionConfig, Origin
from tasks.checkpoints import Checkpoint, find_checkpoint
from tasks.errors import CheckpointError

T = TypeVar("T")
SETTINGS: Any = GenerationConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """Which weights, and how they are to be held."""

    checkpoint: Checkpoint
    adapter: Checkpoint | None
    device: torch.device
    dtype: torch.dtype
    merge_adapter: bool

    @property
    def key(self) -> tuple[str, ...]:
        """Two orders with the same key are for the same model."""
        place = f"{self.device.type}:{self.device.index or 0}"  # cuda and cuda:0 are the same
        how = ("merged" if self.merge_adapter else "beside") if self.adapter else ""
        return self.checkpoint.digest, self.adapter.digest if self.adapter else "", how, place, str(self.dtype)


@dataclass(frozen=True)
class Models(Generic[T]):
    """The models of one backend, by what they are."""

    read: Callable[[Order], T]
    held: dict[tuple[str, ...], T] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, config: CaptionConfig) -> T:
        """The model for a configuration, read when it is not there yet.

        Raises CheckpointError when it cannot be read, ConfigError for a device that is not there, TransientError when
        memory does not suffice.
        """
        checkpoint, adapter = _find(config)
        device = pick_device(config.device)
        order = Order(checkpoint, adapter, device, pick_dtype(config.dtype, device), config.merge_adapter)
        with self.lock:
            if order.key not in self.held:
                with loading(config.checkpoint):
                    self.held[order.key] = self.read(order)
            return self.held[order.key]


def origin(config: CaptionConfig) -> Origin:
    """Digests of the checkpoint and the adapter. Raises CheckpointError."""
    checkpoint, adapter = _find(config)
    weights = {"checkpoint": checkpoint.digest} | ({"adapter": adapter.digest} if adapter else {})
    return Origin(checkpoint.label, adapter.label if adapter else None, weights)


def _find(config: CaptionConfig) -> tuple[Checkpoint, Checkpoint | None]:
    checkpoint = find_checkpoint(config.checkpoint, config.revision)
    return checkpoint, find_checkpoint(config.adapter) if config.adapter else None


def read_model(kind: Any, name: str, order: Order) -> tuple[Any, dict[str, Any]]:
    """A model of one of transformers' classes with its adapter, ready to write, and what is to be noted of it.

    `name` is said in errors. Raises CheckpointError when not all of the weights are there, in the right shapes.
    """
    model = _read_weights(kind, name, order.checkpoint.folder, order.device, order.dtype)
    notes: dict[str, Any] = {"dtype": str(order.dtype).removeprefix("torch."), "device": order.device.type}
    if order.adapter:
        model, applied = apply_adapter(model, order.adapter.folder, merge=order.merge_adapter)
        notes["adapter"] = applied.as_notes()
    for module in model.modules():
        if hasattr(module, "generation_config"):
            # A checkpoint's generation_config.json may ask for beams, penalties or sampling. They are not asked.
            module.generation_config = SETTINGS()
    return model.eval().requires_grad_(False), notes


def _read_weights(kind: Any, name: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    try:
        with device_errors():
            model, info = kind.from_pretrained(
                folder,
                dtype=dtype,
                device_map={"": device},  # straight onto the device, not through a copy in main memory
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded as {name}: {error}") from error
    wrong = {why: sorted(map(str, info[why])) for why in ("missing_keys", "mismatched_keys") if info[why]}
    if wrong:
        raise CheckpointError(
            f"{folder} does not have all of the weights of {name}, or not in its shapes: {wrong!s:.500}"
        )
    if info["unexpected_keys"]:
        log.warning("%s has weights that %s does not use: %s", folder, name, sorted(info["unexpected_keys"])[:5])
    return model
