"""How many captions a device has memory for at once.

Told from what does not change from run to run: the device's whole memory, the model, the prompts' length. What happens
to be free is not asked: in a batch of another size sums are rounded in another order, and of two tokens that are as
good as equal the other one may be chosen. So the same work on the same machine has the same batches, and captions.
"""

from typing import Any

import torch

from tasks import machine
from tasks.continuous_batching import PROMPT_TOKENS

MOST_ON_GPU, MOST_ON_CPU = 128, 32
"""More rows bring little: the weights are then read for enough tokens at a time, and what remains is work per token."""
USABLE_ON_GPU, USABLE_ON_CPU = 0.8, 0.5
"""So much of the memory is planned with, the model's weights included. The rest is for the detector, what cannot be
foreseen, and other processes, of which main memory has more."""
FLOAT32_BYTES = 4
LOGIT_COPIES = 4
"""Tensors (rows, vocabulary) in float32 that choosing tokens needs at once."""
WIDE_COPIES, LONG_COPIES = 3, 8
"""Tensors (tokens, intermediate size) and (tokens, hidden size) that a layer needs at once."""


def rows_that_fit(text: Any, tokens: int, weights: int) -> int:
    """Rows of `tokens` tokens each that fit into a device's memory beside a MistralModel: a power of two, at least 1.

    weights: bytes of the whole model, vision and adapter included. A power of two, so that neither a driver that keeps
    a little more for itself nor a prompt that is a little longer makes another number of it.
    """
    device = text.norm.weight.device
    most, usable = (MOST_ON_GPU, USABLE_ON_GPU) if device.type == "cuda" else (MOST_ON_CPU, USABLE_ON_CPU)
    memory = memory_bytes(device)
    room = memory * usable - weights - _reading_bytes(text)
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


def weight_bytes(model: Any) -> int:
    """What a loaded model's weights take, whatever their number formats."""
    tensors = {id(one): one for one in (*model.parameters(), *model.buffers())}  # tied ones once
    return sum(one.numel() * one.element_size() for one in tensors.values())


def memory_bytes(device: torch.device) -> int:
    """All memory of a device, in use or not; of main memory no more than the control group's limit."""
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        return int(total)
    return machine.memory_bytes()[0]
