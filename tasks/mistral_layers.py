"""Mistral's layers over a cache that every caption has a row of: reading prompts, and one more token for all rows.

transformers keeps a batch's keys and values padded on the left and as long for all; a row cannot leave it, nor another
take its place. Here a token's slot is its position, each row has its own length, and what a row has not written is
masked. The layers' own modules are called (norms, projections, MLP), so adapters beside the weights work; only the
attention between them is ours: the query heads of a group are the queries of one call, so keys and values are
read once and not repeated for each query head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.mistral.modeling_mistral import apply_rotary_pos_emb

SLOT_STEP = 128
"""A cache grows by so many slots at once."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries (b, heads, t, d), keys, values (b, KV heads, t, d)) -> what is attended to, (b, t, heads * d)."""


@dataclass(frozen=True, eq=False)
class Prefix:
    """Keys and values of tokens that many prompts begin with, per layer (KV heads, tokens, head_dim)."""

    ids: tuple[int, ...]
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()


class Cache:
    """Keys and values of the rows' tokens, per layer (rows, KV heads, slots, head_dim)."""

    def __init__(self, text: Any) -> None:
        """For a MistralModel. Room comes with `make_room`."""
        config, weight = text.config, text.norm.weight
        shape = (0, config.num_key_value_heads, 0, config.head_dim)
        layers = range(len(text.layers))
        self.keys = [torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in layers]
        self.values = [torch.zeros_like(one) for one in self.keys]
        self.rows = self.slots = 0

    def make_room(self, rows: int, slots: int) -> None:
        """Have at least `rows` rows of `slots` slots. New ones are zeros: also what is masked must be a number."""
        if rows <= self.rows and slots <= self.slots:
            return
        rows, slots = max(rows, self.rows), max(-(-slots // SLOT_STEP) * SLOT_STEP, self.slots)
        for tensors in (self.keys, self.values):
            for index, old in enumerate(tensors):
                new = old.new_zeros((rows, old.shape[1], slots, old.shape[3]))
                new[: self.rows, :, : self.slots] = old
                tensors[index] = new
        self.rows, self.slots = rows, slots

    def copy_row(self, source: int, target: int, length: int) -> None:
        """The first `length` tokens of a row into another row."""
        for one in (*self.keys, *self.values):
            one[target, :, :length] = one[source, :, :length]

    def clear_row(self, row: int) -> None:
        """Zeros, where a row's numbers were none: hidden by the mask they would still spoil the next row there."""
        for one in (*self.keys, *self.values):
            one[row] = 0


def read_prefix(text: Any, ids: Sequence[int]) -> Prefix:
    """Read tokens that prompts begin with."""
    if not ids:
        return Prefix(())
    cache = Cache(text)
    embeddings = text.embed_tokens(torch.tensor([list(ids)], device=text.norm.weight.device))
    read_prompts(text, embeddings, [len(ids)], cache, 0, Prefix(()))
    keys, values = (tuple(one[0, :, : len(ids)].clone() for one in kind) for kind in (cache.keys, cache.values))
    return Prefix(tuple(ids), keys, values)


def read_prompts(
    text: Any, embeddings: Tensor, lengths: Sequence[int], cache: Cache, first: int, prefix: Prefix
) -> Tensor:
    """Read prompts into the cache's rows from `first` on; hidden states (b, d) after each prompt's last token.

    `embeddings` (b, t, d) are what follows the prefix, padded on the right; `lengths` count the prefix in. The padding
    writes slots behind a prompt's end; they are masked until the row's own tokens have overwritten them.
    """
    b, t, _ = embeddings.shape
    start = len(prefix.ids)
    rows = slice(first, first + b)
    cache.make_room(first + b, start + t)
    for index, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
        cache.keys[index][rows, :, :start] = keys
        cache.values[index][rows, :, :start] = values
    positions = torch.arange(start, start + t, device=embeddings.device)
    window = text.config.sliding_window
    mask = None
    if start or (window and window < t):
        mask = _mask(positions, start + t, window, embeddings.dtype)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept = cache.keys[layer][rows], cache.values[layer][rows]
        kept[0][:, :, start : start + t], kept[1][:, :, start : start + t] = k, v
        if start:
            k, v = (one[:, :, : start + t] for one in kept)
        groups = q.shape[1] // k.shape[1]
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        found = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return found.transpose(1, 2).reshape(b, t, -1)

    hidden = _through_layers(text, embeddings, positions[None], attend)
    last = torch.tensor([length - start - 1 for length in lengths], device=embeddings.device)
    return hidden[torch.arange(b, device=embeddings.device), last]


def read_tokens(text: Any, tokens: Sequence[int], lengths: Sequence[int], cache: Cache) -> Tensor:
    """One more token for each of the cache's first rows, of which `lengths` slots are written; hidden states (b, d)."""
    b, used = len(tokens), max(lengths) + 1
    cache.make_room(b, used)
    device = text.norm.weight.device
    given = torch.tensor([list(tokens), list(lengths)], device=device)
    rows, positions = torch.arange(b, device=device), given[1]
    embeddings = text.embed_tokens(given[0, :, None])
    mask = _mask(positions, used, text.config.sliding_window, embeddings.dtype)[:, None, None]  # (b, 1, 1, used)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = cache.keys[layer], cache.values[layer]
        keys[rows, :, positions], values[rows, :, positions] = k[:, :, 0], v[:, :, 0]
        grouped = q.view(b, k.shape[1], -1, q.shape[-1])  # (b, KV heads, query heads of each, d)
        found = scaled_dot_product_attention(grouped, keys[:b, :, :used], values[:b, :, :used], attn_mask=mask)
        return found.reshape(b, 1, -1)

    return _through_layers(text, embeddings, positions[:, None], attend)[:, 0]


def _mask(positions: Tensor, slots: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """(positions, slots): 0 where a token may look, minus infinity where not."""
    slot = torch.arange(slots, device=positions.device)
    hidden = slot > positions[:, None]
    if window:
        hidden |= slot <= positions[:, None] - window
    return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(hidden, float("-inf"))


def _through_layers(text: Any, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    """Embeddings (b, t, d) to normed hidden states, as MistralModel.forward does it; positions (b or 1, t)."""
    cosines, sines = text.rotary_emb(x, positions)
    for index, layer in enumerate(text.layers):
        attention, normed = layer.self_attn, layer.input_layernorm(x)
        q, k, v = (
            project(normed).view(*normed.shape[:2], -1, attention.head_dim).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = apply_rotary_pos_emb(q, k, cosines, sines)
        x = x + attention.o_proj(attend(index, q, k, v))
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    hidden: Tensor = text.norm(x)
    return hidden
