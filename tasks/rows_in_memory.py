"""How many captions a device has memory for at once."""

from pathlib import Path
from typing import Any

import torch

from tasks.continuous_batching import PROMPT_TOKENS

MOST_ON_GPU, MOST_ON_CPU = 128, 32
"""More rows bring little: the weights are then read for enough tokens at a time, and what remains is work per token."""
USABLE = 0.8
"""So much of the free memory is planned with; the rest is for what cannot be foreseen, and for other processes."""
FLOAT32_BYTES = 4
LOGIT_COPIES = 4
"""Tensors (rows, vocabulary) in float32 that choosing tokens needs at once."""
WIDE_COPIES, LONG_COPIES = 3, 8
"""Tensors (tokens, intermediate size) and (tokens, hidden size) that a layer needs at once."""


def rows_that_fit(text: Any, tokens: int) -> int:
    """Rows of `tokens` tokens each that fit into free memory beside a loaded MistralModel: a power of two, at least 1.

    Rounded down to powers of two so that memory in use by chance hardly ever changes it.
    """
    device = text.norm.weight.device
    most = MOST_ON_GPU if device.type == "cuda" else MOST_ON_CPU
    free = free_bytes(device)
    if free is None:
        return most
    room = free * USABLE - _reading_bytes(text)
    fitting = min(most, max(1, int(room / _row_bytes(text, tokens))))
    return int(2 ** (fitting.bit_length() - 1))


def _row_bytes(text: Any, tokens: int) -> int:
    """What one row needs: keys and values of every layer, and the choice of a token."""
    config = text.config
    per_token = 2 * len(text.layers) * config.num_key_value_heads * config.head_dim * text.norm.weight.element_size()
    return int(tokens * per_token + LOGIT_COPIES * FLOAT32_BYTES * config.vocab_size)


def _reading_bytes(text: Any) -> int:
    """What reading prompts needs, whatever the number of rows."""
    config = text.config
    numbers = WIDE_COPIES * config.intermediate_size + LONG_COPIES * config.hidden_size
    return int(PROMPT_TOKENS * numbers * text.norm.weight.element_size())


def free_bytes(device: torch.device) -> int | None:
    """Memory that can be had on a device; None where it is not said.

    On a GPU what the driver has, and what torch holds without using it. In main memory what Linux calls available, no
    more than the control group's limit leaves.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    said = Path("/proc/meminfo")
    if not said.exists():
        return None
    (line,) = [one for one in said.read_text().splitlines() if one.startswith("MemAvailable:")]
    return min([int(line.split()[1]) * 1024, *_left_by_group()])


def _left_by_group(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes that this process's control group may still take, where it has a limit. Its file cache counts as free."""
    most, now, kinds = (folder / name for name in ("memory.max", "memory.current", "memory.stat"))
    if not (most.exists() and now.exists() and kinds.exists()) or not most.read_text().strip().isdigit():
        return []
    cached = sum(int(line.split()[1]) for line in kinds.read_text().splitlines() if line.startswith("inactive_file "))
    return [max(0, int(most.read_text()) - int(now.read_text()) + cached)]
