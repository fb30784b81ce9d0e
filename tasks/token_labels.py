"""Labels of tokens: what a captioner is to write, in batches, and the loss on it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = -100
"""The label of a token that is not learnt: the prompt's, the picture's, the padding's."""


def token_loss(
    outputs: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None, *, shifted: bool, smoothing: float
) -> Tensor:
    """Mean cross-entropy of the labelled tokens, over all micro-batches of a step together: `num_items_in_batch`.

    So a step is the same step however many micro-batches it is made of. A Trainer takes it as compute_loss_func.
    """
    logits = outputs["logits"].float()
    if shifted:
        logits, labels = logits[:, :-1], labels[:, 1:]
    total = cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
    count = labels.ne(IGNORED).sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
    loss: Tensor = total / count
    return loss


def padded(rows: Sequence[Sequence[int]], fill: int, *, left: bool = False) -> Tensor:
    """(rows, longest) of rows of different lengths."""
    longest = max(map(len, rows))
    if left:
        return torch.tensor([[*[fill] * (longest - len(row)), *row] for row in rows])
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
