"""Choosing the next token, row by row, so that a row's text does not hang on what stands beside it in the batch.

Sampling is done with the Gumbel-max trick: the arg max of log p_i / T + g_i, with g_i = -log(-log u_i) drawn afresh for
every token, is distributed as softmax(log p / T). Every row draws from its own generator, so a row's seed gives the
same text in any batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def choose(
    scores: Tensor, generators: Sequence[torch.Generator], temperature: float, top_p: float,
    limit: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """From scores (rows, vocabulary) the chosen tokens (rows) and their natural log-probabilities (rows).

    Temperature 0 is greedy. `limit` puts minus infinity on what may not be chosen. The log-probabilities are those of
    the unchanged distribution, not numbers where the scores are none.
    """
    logprobs = torch.log_softmax(scores.float(), dim=-1)
    preference = logprobs
    if limit is not None:
        preference = logprobs.clone()
        limit(preference)
    if temperature > 0:
        preference = _disturbed(preference, generators, temperature, top_p)
    chosen = preference.argmax(dim=-1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)


def _disturbed(logprobs: Tensor, generators: Sequence[torch.Generator], temperature: float, top_p: float) -> Tensor:
    heated = torch.log_softmax(logprobs / temperature, dim=-1)
    if top_p < 1:
        heated = heated.masked_fill(~nucleus(heated, top_p), float("-inf"))
    waits = torch.empty_like(heated)  # exponential waiting times: -log(u)
    for row, generator in zip(waits, generators, strict=True):
        row.exponential_(generator=generator)
    return heated - waits.clamp_min(torch.finfo(waits.dtype).tiny).log()


def nucleus(logprobs: Tensor, top_p: float) -> Tensor:
    """(rows, vocabulary) bool: the fewest likeliest tokens whose probabilities together reach `top_p`; at least one."""
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(dim=-1).roll(1, dims=-1)
    before[:, 0] = 0
    return torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before < top_p)
