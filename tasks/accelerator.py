"""Choosing a device and a number format, and what a device's failures mean. Imported by backends that run on torch."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tasks.errors import ConfigError, TransientError

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
CPU_OUT_OF_MEMORY = "DefaultCPUAllocator"
"""What torch's RuntimeError names when the machine's own memory does not suffice."""


def pick_device(name: str) -> torch.device:
    """'auto' is the first GPU, or the CPU. Raises ConfigError for a device that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}: {error}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} is not there: {torch.cuda.device_count()} GPU(s) found. Try 'auto'.")
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """'auto' is bfloat16 on a GPU and float32 on the CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ConfigError(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}.")
    return DTYPES[name]


def list_devices() -> list[str]:
    """Every GPU by name, or the CPU alone."""
    return [f"cuda:{index}" for index in range(torch.cuda.device_count())] or ["cpu"]


@contextmanager
def device_errors() -> Iterator[None]:
    """Around work on a device: what torch raises there, told apart.

    A lost device is a TransientError, memory that does not suffice a MemoryError: ask again with less. Both are
    RuntimeErrors to torch, like a picture that a model cannot work on. All else passes.
    """
    try:
        yield
    except torch.AcceleratorError as error:
        raise TransientError(f"the device failed: {error}. A new process may use it again.") from error
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and CPU_OUT_OF_MEMORY not in str(error):
            raise
        # The error's frames hold the failed work's tensors, and it stays the MemoryError's context.
        traceback.clear_frames(error.__traceback__)
        gc.collect()
        torch.cuda.empty_cache()  # nothing where there is no GPU
        raise MemoryError(str(error)) from error


@contextmanager
def loading(what: str) -> Iterator[None]:
    """`device_errors` around loading, where there is nothing to halve: too little memory is a TransientError too."""
    try:
        with device_errors():
            yield
    except MemoryError as error:
        raise TransientError(
            f"memory does not suffice for loading {what}: {error}. Something else may hold the device's memory; else "
            "use a smaller dtype, or a device with more."
        ) from error
