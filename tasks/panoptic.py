"""Mask2Former's raw output to a panoptic map, without ever holding every query's mask at picture size.

transformers' `post_process_panoptic_segmentation` (5.23) enlarges all queries' masks, most of which it then throws
away (its issue 29546 is the out-of-memory error that follows). Here queries are filtered by class score first, and
the kept ones are enlarged one at a time against a running best: three pictures' worth of memory, whatever the number
of queries. The arithmetic on each pixel is the same, in the same order, so the maps are the same to the bit.

Imported by backends that run on torch, and by nothing else.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

STOCK_SIZE = (384, 384)
"""What transformers enlarges masks to before it enlarges them to the picture, whatever the model's input was. The COCO
checkpoints' input is this size; for other sizes it is kept so that the maps are the same as transformers'."""


@dataclass(frozen=True)
class Region:
    """One segment of a panoptic map."""

    segment_id: int
    """Its number in the map, from 1."""
    category_id: int
    """Index of the class."""
    score: float
    """Softmax probability of the class, rounded to six places as transformers does."""


@dataclass(frozen=True)
class PanopticMap:
    """A picture divided into segments."""

    ids: Tensor
    """int32 (height, width): segment ids, 0 where there is none."""
    regions: list[Region]
    """In order of segment id."""


@dataclass(frozen=True)
class Content:
    """Where the picture lies in a padded model input: its top left height x width of the input's pixels."""

    height: int
    width: int
    input_height: int
    input_width: int


def panoptic_map(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: tuple[int, int],
    *,
    threshold: float,
    mask_threshold: float,
    overlap_mask_area_threshold: float,
    content: Content | None = None,
) -> PanopticMap:
    """One picture's segments; stuff is not fused.

    class_logits (queries, classes + 1), the last class being "no object"; mask_logits (queries, height, width); size
    the picture's (height, width). `content` says what part of the model's input is picture where the processor padded
    it: the padding is cut off before enlarging, which transformers forgets, so that its boxes move. Without it the
    result equals `post_process_panoptic_segmentation(..., label_ids_to_fuse=set(), target_sizes=[size])`, except that
    nothing found is a map of zeros here and of -1 there.

    Raises ValueError when the class logits, or the mask logits of a query that is kept, are not all finite: compared
    with a threshold they would be nothing found.
    """
    _check_finite(class_logits)
    scores, labels = class_logits.float().softmax(dim=-1).max(dim=-1)
    keep = labels.ne(class_logits.shape[-1] - 1) & (scores > threshold)
    scores, labels, masks = scores[keep], labels[keep], mask_logits[keep]
    if not len(scores):
        return PanopticMap(torch.zeros(size, dtype=torch.int32, device=mask_logits.device), [])
    _check_finite(masks)
    winner, claimed = _winners(masks, scores, size, mask_threshold, content)
    winner = winner.flatten().int()
    numbers = _number(torch.bincount(winner, minlength=len(scores)), claimed, overlap_mask_area_threshold)
    regions = [
        Region(number, label, round(score, 6))
        for number, label, score in zip(numbers, labels.tolist(), scores.tolist(), strict=True)
        if number
    ]
    ids = torch.tensor(numbers, dtype=torch.int32, device=winner.device).index_select(0, winner)
    return PanopticMap(ids.view(size), regions)


def _check_finite(logits: Tensor) -> None:
    if not logits.isfinite().all():
        raise ValueError('the model\'s output is not a number. Try dtype = "float32".')


def _number(won: Tensor, claimed: Tensor, least: float) -> list[int]:
    """Each query's segment id, counted from 1 over those that won more than `least` of what they claim; else 0."""
    # In float32 as in transformers: there a ratio of exactly 4/5 is above 0.8, because float32 rounds it up.
    ratios = (won / claimed).tolist()
    numbers, count = [], 0
    for here, wanted, ratio in zip(won.tolist(), claimed.tolist(), ratios, strict=True):
        valid = here > 0 and wanted > 0 and ratio > least
        count += valid
        numbers.append(count if valid else 0)
    return numbers


def _winners(
    masks: Tensor, scores: Tensor, size: tuple[int, int], mask_threshold: float, content: Content | None
) -> tuple[Tensor, Tensor]:
    """(index of the strongest query per pixel, pixels each query claims above the threshold). The first wins a tie."""
    best = winner = None
    claimed = torch.empty(len(scores), dtype=torch.int64, device=masks.device)
    for index in range(len(scores)):
        strength = _probabilities(masks[index], size, content)
        strength *= scores[index]
        claimed[index] = torch.count_nonzero(strength >= mask_threshold)
        if best is None or winner is None:
            best, winner = strength, torch.zeros(size, dtype=torch.int16, device=masks.device)
            continue
        # The latest to be strictly better has the highest index, so a maximum does what a masked write would, faster.
        torch.maximum(winner, (strength > best).to(torch.int16).mul_(index), out=winner)
        torch.maximum(best, strength, out=best)
    assert winner is not None, "callers keep at least one query"
    return winner, claimed


def _probabilities(mask: Tensor, size: tuple[int, int], content: Content | None) -> Tensor:
    """One query's mask logits as probabilities at picture size, a fresh tensor (height, width)."""
    between = STOCK_SIZE if content is None else (content.input_height, content.input_width)
    enlarged = interpolate(mask[None, None].float(), size=between, mode="bilinear", align_corners=False).sigmoid_()
    if content is not None:
        enlarged = enlarged[..., : content.height, : content.width]
    return interpolate(enlarged, size=size, mode="bilinear", align_corners=False)[0, 0]
