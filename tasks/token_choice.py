"""Choosing the next token, row by row, so that a row's text does not hang on what stands beside it in the batch.

Sampling is done with the Gumbel-max trick: the arg max of log p_i / T + g_i, with g_i = -log(-log u_i) drawn afresh for
every token, is distributed as softmax(log p / T). Every row draws from its own generator, so generation itself can stay
greedy, and a row's seed gives the same text in any batch.
"""

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor


class TokenChoice(LogitsProcessor):
    """The last logits processor of a greedy generation: its arg max is the token that is chosen.

    Keeps one log-probability per row and step, not the logits.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, device: torch.device) -> None:
        self.temperature, self.top_p = temperature, top_p
        self.generators = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]
        self.steps: list[torch.Tensor] = []
        """One tensor (rows,) a step: natural log-probability of the chosen token under the unchanged distribution."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) before, and those whose arg max is to be taken."""
        logprobs = torch.log_softmax(scores.float(), dim=-1)
        preference = logprobs if self.temperature == 0 else self._disturbed(logprobs)
        chosen = preference.argmax(dim=-1, keepdim=True)
        self.steps.append(logprobs.gather(1, chosen).squeeze(1))
        return preference

    def _disturbed(self, logprobs: torch.Tensor) -> torch.Tensor:
        heated = torch.log_softmax(logprobs / self.temperature, dim=-1)
        if self.top_p < 1:
            heated = heated.masked_fill(~nucleus(heated, self.top_p), float("-inf"))
        waits = torch.empty_like(heated)  # exponential waiting times: -log(u)
        for row, generator in zip(waits, self.generators, strict=True):
            row.exponential_(generator=generator)
        return heated - waits.clamp_min(torch.finfo(waits.dtype).tiny).log()

    def mean_logprobs(self, lengths: Sequence[int]) -> list[float]:
        """Per row the mean over its first `lengths` tokens. Not a number where the model's output was none."""
        table = torch.stack(self.steps, dim=1).double().cpu()  # (rows, steps)
        return [float(row[:length].mean()) for row, length in zip(table, lengths, strict=True)]


def nucleus(logprobs: torch.Tensor, top_p: float) -> torch.Tensor:
    """(rows, vocabulary) bool: the fewest likeliest tokens whose probabilities together reach `top_p`; at least one."""
    ordered, order = logprobs.sort(dim=-1, descending=True, stable=True)
    before = ordered.exp().cumsum(dim=-1).roll(1, dims=-1)
    before[:, 0] = 0
    return torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before < top_p)
