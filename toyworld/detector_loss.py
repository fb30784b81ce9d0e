"""Mask2Former's loss (Cheng et al. 2022) over whole masks, many times faster than point by point on a CPU.

transformers' own loss samples points, because COCO's masks do not fit into memory; it goes through pictures and layers
one by one, and a training step on small pictures spends a third of its time there. Here masks are small enough to be
compared whole, all pictures and layers at once. What it is made of is the same, with the same weights out of the
model's configuration: cross-entropy of the classes, cross-entropy of the masks where it is hard, dice of the masks,
each after a Hungarian matching by the same three, after every decoder layer. It draws no random numbers.

One part is added. Queries learn slowly what small things are, because few are matched to them; so every pixel of the
features that they look at, and of those that masks are made of, is asked for its category as well. What answers is a
layer that is trained along and thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits, cross_entropy

HARD_PART = 0.25
"""Part of a mask's pixels that are hard: those of largest loss. PointRend, and Mask2Former after it, take the least
certain of three times as many random points as they keep for three quarters of these: one in four."""
HARD_WEIGHT = 0.75
"""What the hard pixels' mean weighs in a mask's cross-entropy; the mean over all weighs the rest."""
THIN = 2
"""Matching, and the losses of all layers but the last, look at every second row and column of the masks."""
EPSILON = 1e-6
PROBE = 8
"""One pixel in so many is looked at to tell how large a hard pixel's loss is."""


class PixelNaming(nn.Module):
    """Says the category of every pixel of a Mask2Former's features: three scales, and what masks are made of."""

    def __init__(self, config: Any):
        super().__init__()
        channels = (config.feature_size,) * 3 + (config.mask_feature_size,)
        self.layers = nn.ModuleList(nn.Conv2d(one, config.num_labels, 1) for one in channels)

    def forward(self, features: Sequence[Tensor], categories: Tensor, weights: Tensor) -> Tensor:
        """The mean cross-entropy, a scalar, summed over the features (pictures, channels, height, width).

        categories (pictures, categories, rows, columns) is the part of each cell that each covers, weights (pictures,
        1, rows, columns) what a cell counts; both are averaged over the cells of coarser features.
        """
        losses = []
        for layer, feature in zip(self.layers, features, strict=True):
            said = layer(feature).float().log_softmax(1)
            wanted = adaptive_avg_pool2d(categories * weights, feature.shape[-2:])
            losses.append(-(wanted * said).sum() / wanted.sum().clamp(min=EPSILON))
        return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class Targets:
    """The truth of a batch."""

    classes: Tensor
    """int64 (pictures, segments): category ids; -1 where a picture has fewer segments."""
    maps: Tensor
    """uint8 (pictures, height, width): 1 + index into `classes`, 0 where there is no segment."""

    def coverage(self, shrink: int) -> Tensor:
        """float32 (pictures, segments, height / shrink, width / shrink): part of each cell that a segment covers."""
        (pictures, height, width), segments = self.maps.shape, self.classes.shape[1]
        rows, columns = (torch.arange(side, device=self.maps.device) // shrink for side in (height, width))
        high, wide = height // shrink, width // shrink
        cells = self.maps.long() * (high * wide) + rows[:, None] * wide + columns
        share = torch.full((1, 1), 1 / shrink**2, device=self.maps.device).expand(pictures, height * width)
        counted = torch.zeros(pictures, (segments + 1) * high * wide, device=self.maps.device)
        return counted.scatter_add_(1, cells.flatten(1), share).view(pictures, segments + 1, high, wide)[:, 1:]

    def categories(self, coverage: Tensor, count: int) -> Tensor:
        """Coverage by category instead of by segment: (pictures, count, rows, columns)."""
        named = (self.classes[..., None] == torch.arange(count, device=self.classes.device)).float()
        return torch.einsum("psc,psrw->pcrw", named, coverage)


def detector_loss(model: Any, pixels: Tensor, targets: Targets, naming: PixelNaming | None = None) -> Tensor:
    """The mean loss of a batch, a scalar. `model` is a Mask2FormerForUniversalSegmentation, pixels its input."""
    said = model.model(pixel_values=pixels, output_hidden_states=True)
    states = torch.stack(said.transformer_decoder_intermediate_states)  # (layers, queries, pictures, channels)
    classes = model.class_predictor(states.transpose(1, 2)).float()  # (layers, pictures, queries, categories + 1)
    final = said.masks_queries_logits[-1]
    shrink, config = targets.maps.shape[-1] // final.shape[-1], model.config
    coverage = targets.coverage(shrink)
    thin = torch.stack([masks[..., ::THIN, ::THIN] for masks in said.masks_queries_logits]).float()
    thin_coverage = coverage[..., ::THIN, ::THIN]
    with torch.no_grad():
        layer, picture, query, segment = match(classes, thin, targets.classes, thin_coverage, THIN * shrink, config)
    wanted = torch.full(classes.shape[:3], config.num_labels, dtype=torch.int64, device=pixels.device)
    wanted[layer, picture, query] = targets.classes[picture, segment]
    weights = torch.ones(config.num_labels + 1, device=pixels.device)
    weights[-1] = config.no_object_weight
    named = cross_entropy(classes.flatten(0, 2), wanted.flatten(), weights) * len(classes)
    last = layer == len(classes) - 1
    parts = (
        _mask_losses(thin[layer, picture, query][~last], thin_coverage[picture, segment][~last], THIN * shrink),
        _mask_losses(final[picture[last], query[last]].float(), coverage[picture[last], segment[last]], shrink),
    )
    crossed, dice = (torch.cat(part).sum() for part in zip(*parts, strict=True))
    shapes = (config.mask_weight * crossed + config.dice_weight * dice) / max(1, int((targets.classes >= 0).sum()))
    total: Tensor = config.class_weight * named + shapes
    if naming is not None:
        thin_mask_features = said.pixel_decoder_last_hidden_state[..., ::THIN, ::THIN].contiguous()
        features = (*said.pixel_decoder_hidden_states, thin_mask_features)
        sizes = thin_coverage.sum((2, 3), keepdim=True).clamp(min=1)
        weights = (thin_coverage / sizes.sqrt()).sum(1, keepdim=True)  # a small segment's pixel counts more
        categories = targets.categories(thin_coverage, config.num_labels)
        total = total + config.class_weight * naming(features, categories, weights)
    return total


def _mask_losses(logits: Tensor, coverage: Tensor, shrink: int) -> tuple[Tensor, Tensor]:
    """(cross-entropy, dice) of each mask; logits and coverage (masks, height, width)."""
    logits, coverage = logits.flatten(1), coverage.flatten(1)
    each = binary_cross_entropy_with_logits(logits, coverage, reduction="none")
    probe = each.detach()[:, ::PROBE]
    bar = probe.kthvalue(round(probe.shape[1] * (1 - HARD_PART)), dim=1, keepdim=True).values
    hard = (each.detach() > bar).float()
    hardest = (each * hard).sum(1) / hard.sum(1).clamp(min=1)
    crossed = (1 - HARD_WEIGHT) * each.mean(1) + HARD_WEIGHT * hardest
    said = logits.sigmoid()
    area = shrink**2  # in the picture's pixels, so that the 1 in the dice is one pixel
    shared = 2 * area * (said * coverage).sum(1)
    return crossed, 1 - (shared + 1) / (area * (said.sum(1) + coverage.sum(1)) + 1)


def match(
    classes: Tensor, masks: Tensor, wanted: Tensor, coverage: Tensor, shrink: int, config: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(layer, picture, query, segment) indices of the cheapest matching after each layer.

    classes (layers, pictures, queries, categories + 1) and masks (layers, pictures, queries, height, width) are logits;
    wanted (pictures, segments), coverage (pictures, segments, height, width).
    """
    flat, cover = masks.flatten(3), coverage.flatten(2).transpose(1, 2)
    pixels, area = flat.shape[-1], shrink**2
    shared = flat @ cover
    said = flat.sigmoid()
    crossed = (-torch.log1p(-said.clamp(max=1 - EPSILON)).sum(-1, keepdim=True) - shared) / pixels
    overlap = 2 * area * (said @ cover)
    sizes = area * (said.sum(-1, keepdim=True) + cover.sum(1)[None, :, None, :])
    dice = 1 - (overlap + 1) / (sizes + 1)
    named = classes.softmax(-1).gather(
        3, wanted.clamp(min=0)[None, :, None, :].expand(*classes.shape[:3], wanted.shape[1])
    )
    cost = config.mask_weight * crossed + config.dice_weight * dice - config.class_weight * named
    table = cost.cpu().numpy()
    present = (wanted >= 0).sum(1).tolist()
    found = []
    for layer in range(table.shape[0]):
        for picture, segments in enumerate(present):
            queries, chosen = linear_sum_assignment(table[layer, picture, :, :segments])
            found.append((np.full(len(queries), layer), np.full(len(queries), picture), queries, chosen))
    layers, pictures, queries, chosen = (
        torch.from_numpy(np.concatenate(part)).to(masks.device) for part in zip(*found, strict=True)
    )
    return layers, pictures, queries, chosen
