"""Choosing the next token, row by row, so that a row's text does not hang on what stands beside it in the batch.

Sampling is done with the Gumbel-max trick: the arg max of log p_i / T + g_i, with g_i = -log(-log u_i) drawn afresh for
every token, is distributed as softmax(log p / T). Every row draws from its own generator, so a row's seed gives the
same text in any batch.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

FAR = 1000.0
"""What is taken from the preference of tokens outside the nucleus: more than any two inside can differ by."""


def choose(
    scores: Tensor, generators: Sequence[torch.Generator], temperature: float, top_p: float,
    limit: Callable[[Tensor], None] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """From scores (rows, vocabulary) the chosen tokens (rows) and their natural log-probabilities (rows).

    Temperature 0 is greedy. `limit` puts minus infinity into (rows, vocabulary) until a row's largest number stands on
    a token that may be chosen: then that is drawn from those that may, and from outside the nucleus only where none
    inside may. The log-probabilities are those of the unchanged distribution, not numbers where the scores are none.
    """
    logprobs = torch.log_softmax(scores.float(), dim=-1)
    preference = logprobs if temperature == 0 else _disturbed(logprobs, generators, temperature, top_p)
    if limit is not None:
        preference = preference.clone()
        limit(preference)
    chosen = preference.argmax(dim=-1)
    return chosen, logprobs.gather(1, chosen[:, None]).squeeze(1)


def _disturbed(logprobs: Tensor, generators: Sequence[torch.Generator], temperature: float, top_p: float) -> Tensor:
    heated = torch.log_softmax(logprobs / temperature, dim=-1)
    waits = torch.empty_like(heated)  # exponential waiting times: -log(u)
    for row, generator in zip(waits, generators, strict=True):
        row.exponential_(generator=generator)
    disturbed = heated - waits.clamp_min(torch.finfo(waits.dtype).tiny).log()
    return disturbed - FAR * ~nucleus(heated, top_p) if top_p < 1 else disturbed


def nucleus(logprobs: Tensor, top_p: float) -> Tensor:
    """(rows, vocabulary) bool: the fewest likeliest tokens whose probabilities together reach `top_p`; at least one."""
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(dim=-1).roll(1, dims=-1)
    before[:, 0] = 0
    return torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before < top_p)
