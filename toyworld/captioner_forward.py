"""The captioner's layers as training calls them: the same numbers as transformers' own forward, several times as fast.

What is different: pictures of one size are a batch, not one long sequence; samples are padded on the right, so that
causality alone hides the padding; attention and norms have backward passes of their own that keep less in memory; the
matrices may be multiplied in bfloat16, which CPUs with instructions for it do four times as fast. Hidden states, and
queries and keys where they are wanted, are given back for the auxiliary losses.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, silu

BLOCK = 128
"""Tokens whose attention is computed at once."""


@dataclass
class Read:
    """What the text model made of a batch. `states`: (b, t, d) before the first and after every layer, then normed."""

    states: list[Tensor] = field(default_factory=list)
    queries: dict[int, Tensor] = field(default_factory=dict)
    """By layer: (b, heads, t, head_dim), turned by their positions and scaled."""
    keys: dict[int, Tensor] = field(default_factory=dict)
    """By layer: (b, KV heads, t, head_dim), turned by their positions."""


class Attention(torch.autograd.Function):
    """softmax(q k' + mask) v with grouped queries. q (n, groups * t, d) scaled, k and v (n, t, d), mask or None."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:  # noqa: D102
        scores = torch.bmm(q, k.mT) if mask is None else torch.baddbmm(mask, q, k.mT)
        weights = scores.softmax(-1)
        out = torch.bmm(weights, v)
        ctx.save_for_backward(q, k, v, weights, out)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: D102
        q, k, v, weights, out = ctx.saved_tensors
        grad = grads[0]
        grad_v = torch.bmm(weights.mT, grad)
        inner = torch.bmm(grad, v.mT)
        inner.sub_((grad * out).sum(-1, keepdim=True)).mul_(weights)
        return torch.bmm(inner, k), torch.bmm(inner.mT, q), grad_v, None


class Norm(torch.autograd.Function):
    """RMSNorm of x (..., d) with weight (d)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:  # noqa: D102
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        normed = x * scale
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: D102
        normed, scale, weight = ctx.saved_tensors
        product = grads[0] * normed
        along = (product @ weight).unsqueeze(-1).div_(normed.shape[-1])
        grad = torch.addcmul(grads[0] * weight, normed, along, value=-1).mul_(scale)
        return grad, product.flatten(0, -2).sum(0), None


def look(model: Any, pixels: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Pictures (b, 3, h, w), normalised, to the tower's features (b, patches, d) and the text model's (b, patches, d').

    `dtype` is what matrices are multiplied in.
    """
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    patch = tower.patch_size
    b, _, height, width = pixels.shape
    rows, columns = height // patch, width // patch
    cut = pixels.view(b, 3, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5).reshape(b, rows * columns, -1)
    x = multiply(cut, tower.patch_conv.weight.flatten(1), dtype).float()
    x = Norm.apply(x, tower.ln_pre.weight, tower.ln_pre.variance_epsilon)
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(x.device)
    turn = tower.patch_positional_embedding(x, grid)
    for layer in tower.transformer.layers:
        norms = layer.attention_norm, layer.ffn_norm
        x, _, _ = _layer(x, layer.attention, layer.feed_forward, norms, turn, dtype, causal=False)
    hidden = multiply(x, projector.linear_1.weight, dtype) + projector.linear_1.bias
    return x, multiply(gelu(hidden), projector.linear_2.weight, dtype).float() + projector.linear_2.bias


def embed(model: Any, ids: Tensor, features: Tensor) -> Tensor:
    """Token ids (b, t) and picture features (b, patches, d) to embeddings (b, t, d)."""
    embeddings: Tensor = model.get_input_embeddings()(ids)
    places = ids == model.config.image_token_id
    return embeddings.masked_scatter(places[..., None], features.to(embeddings.dtype))


def read(model: Any, x: Tensor, dtype: torch.dtype, watched: Collection[int] = (), first: int = 0) -> Read:
    """Embeddings (b, t, d), padded on the right, through the text model; queries and keys of the `watched` layers.

    After the last layer, and in its queries, there are only the tokens from `first` on.
    """
    text = model.model.language_model
    turn = tuple(one[0] for one in text.rotary_emb(x, torch.arange(x.shape[1], device=x.device)[None]))
    said = Read([x])
    for index, layer in enumerate(text.layers):
        norms = layer.input_layernorm, layer.post_attention_layernorm
        start = first if index == len(text.layers) - 1 else 0
        x, queries, keys = _layer(x, layer.self_attn, layer.mlp, norms, turn, dtype, causal=True, first=start)
        said.states.append(x)
        if index in watched:
            said.queries[index], said.keys[index] = queries, keys
    said.states.append(Norm.apply(x, text.norm.weight, text.norm.variance_epsilon))
    return said


def _layer(
    x: Tensor, attention: Any, mlp: Any, norms: tuple[Any, Any], turn: tuple[Tensor, ...], dtype: torch.dtype, *,
    causal: bool, first: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """One layer of either model, for the tokens from `first` on: (x, queries, keys)."""
    b, t, _ = x.shape
    dim = attention.head_dim
    h = Norm.apply(x, norms[0].weight, norms[0].variance_epsilon).to(dtype)
    q, k, v = (
        multiply(h[:, start:], one.weight, dtype).view(b, t - start, -1, dim).transpose(1, 2)
        for one, start in ((attention.q_proj, first), (attention.k_proj, 0), (attention.v_proj, 0))
    )
    q, k = _turned(q, tuple(one[first:] for one in turn)) * dim**-0.5, _turned(k, turn)
    out = _attended(q.to(dtype), k.to(dtype), v, causal).transpose(1, 2).reshape(b, t - first, -1)
    x = x[:, first:] + multiply(out, attention.o_proj.weight, dtype)
    h = Norm.apply(x, norms[1].weight, norms[1].variance_epsilon).to(dtype)
    gated = silu(multiply(h, mlp.gate_proj.weight, dtype)) * multiply(h, mlp.up_proj.weight, dtype)
    return x + multiply(gated, mlp.down_proj.weight, dtype), q, k


def _attended(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """q (b, heads, s, d) of the last s tokens, k and v (b, KV heads, t, d): what is attended to, (b, heads, s, d).

    `causal`: tokens see no later ones. Then BLOCK tokens at a time, so that most of what is hidden is not computed.
    """
    b, heads, s, dim = q.shape
    t, groups, n = k.shape[2], heads // k.shape[1], b * k.shape[1]
    keys, values = k.reshape(n, t, dim), v.reshape(n, t, dim)
    found = []
    for start in range(0, s, BLOCK if causal else s):
        end = min(s, start + BLOCK) if causal else s
        reach = t - s + end
        mask = None
        if causal:
            hidden = torch.full((end - start, reach), -torch.inf, device=q.device, dtype=q.dtype)
            mask = hidden.triu(t - s + start + 1).repeat(groups, 1)[None]
        asked = q[:, :, start:end].reshape(n, groups * (end - start), dim)
        out = Attention.apply(asked, keys[:, :reach], values[:, :reach], mask)
        found.append(out.view(b, heads, end - start, dim))
    return torch.cat(found, dim=2)


def multiply(x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """x times weight transposed, computed and given in `dtype`."""
    return linear(x.to(dtype), weight.to(dtype))


def _turned(x: Tensor, turn: tuple[Tensor, ...]) -> Tensor:
    """Rotary positions: x (b, heads, t, d) by cosines and sines (t, d)."""
    cosines, sines = turn[0][..., : x.shape[-1] // 2], turn[1][..., : x.shape[-1] // 2]
    one, other = x.float().chunk(2, -1)
    return torch.cat((one * cosines - other * sines, other * cosines + one * sines), -1)
