"""Multi-scale deformable attention (Zhu et al. 2021) in an order that a CPU sums fast; training's, nothing else's.

transformers' own function has the few sampling points as its innermost dimension: a CPU's vector instructions find
nothing to do there, and the backward pass spends a third of a training step in one multiplication. Here the many
queries are innermost. The results are the same but for rounding.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor
from torch.nn.functional import grid_sample
from transformers.models.mask2former import modeling_mask2former as stock


def deformable_attention(
    value: Tensor, shapes: Sequence[tuple[int, int]], sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """What each query gathers, (batch, queries, heads * channels).

    value (batch, tokens of all levels, heads, channels); shapes the levels' (height, width); sampling_locations (batch,
    queries, heads, levels, points, 2) as fractions x, y; attention_weights likewise without the 2.
    """
    batch, _, heads, channels = value.shape
    queries, points = sampling_locations.shape[1], sampling_locations.shape[4]
    # to (batch, heads, levels, points, queries, 2), in [-1, 1] as grid_sample wants it
    grids = (2 * sampling_locations - 1).permute(0, 2, 3, 4, 1, 5).flatten(0, 1)
    weights = attention_weights.permute(0, 2, 3, 4, 1).reshape(batch * heads, -1, 1, points, queries)
    total = None
    for level, (values, (height, width)) in enumerate(
        zip(value.split([height * width for height, width in shapes], dim=1), shapes, strict=True)
    ):
        picture = values.permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
        sampled = grid_sample(picture, grids[:, level], mode="bilinear", padding_mode="zeros", align_corners=False)
        gathered = (sampled * weights[:, level]).sum(-2)
        total = gathered if total is None else total + gathered
    assert total is not None, "there are levels"
    return total.view(batch, heads * channels, queries).transpose(1, 2).contiguous()


@contextmanager
def faster_attention() -> Iterator[None]:
    """While it lasts, transformers' Mask2Former computes its deformable attention with the function above."""
    kept = stock.multi_scale_deformable_attention
    stock.multi_scale_deformable_attention = deformable_attention
    try:
        yield
    finally:
        stock.multi_scale_deformable_attention = kept
