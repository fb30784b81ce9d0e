"""Panoptic quality (Kirillov et al., Panoptic Segmentation, CVPR 2019), from segment maps, by panopticapi's rules.

A found and a true segment of the same category match when their intersection over union is above a half; at most one
can. PQ of a category is the matches' summed IoU over (matches + half the false positives + half the false negatives):
segmentation quality (the matches' mean IoU) times recognition quality (an F1). Counts are kept, ratios derived. The
authority is panopticapi's evaluation.py; tests hold its answers.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SegmentMap = NDArray[np.int32]
"""(height, width): segment ids, 0 where there is none. In the truth 0 is void: it counts for nobody."""
NONE = 0
MATCH = 0.5


@dataclass(slots=True)
class Counts:
    """What PQ of one category is made of."""

    iou_sum: float = 0.0
    """Over the matches."""
    true_positives: int = 0
    """Matched pairs."""
    false_positives: int = 0
    """Found segments without a match."""
    false_negatives: int = 0
    """True segments without a match."""

    def __iadd__(self, other: "Counts") -> "Counts":
        """Add another picture's."""
        self.iou_sum += other.iou_sum
        self.true_positives += other.true_positives
        self.false_positives += other.false_positives
        self.false_negatives += other.false_negatives
        return self

    @property
    def seen(self) -> bool:
        """Whether the category occurred at all, in truth or in error. PQ of what never did is undefined."""
        return self.true_positives + self.false_positives + self.false_negatives > 0

    @property
    def _cases(self) -> float:
        return self.true_positives + 0.5 * (self.false_positives + self.false_negatives)

    @property
    def quality(self) -> float:
        """PQ, 0 to 1; not a number when the category never occurred."""
        return self.iou_sum / self._cases if self.seen else float("nan")

    @property
    def segmentation_quality(self) -> float:
        """SQ, the mean IoU of the matches; 0 without a match, as panopticapi has it."""
        return self.iou_sum / self.true_positives if self.true_positives else 0.0

    @property
    def recognition_quality(self) -> float:
        """RQ, an F1 over segments; not a number when the category never occurred."""
        return self.true_positives / self._cases if self.seen else float("nan")


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the categories that occurred; not numbers when none did."""

    panoptic: float
    segmentation: float
    recognition: float
    categories: int
    """How many occurred."""


def count(
    truth: SegmentMap,
    true_categories: Mapping[int, int],
    found: SegmentMap,
    found_categories: Mapping[int, int],
    *,
    crowd: Collection[int] = (),
    true_areas: Mapping[int, int] | None = None,
) -> dict[int, Counts]:
    """One picture's counts by category.

    The mappings give the category of each segment id; ids that they lack, 0 among them, are no segments: void in the
    truth, nothing in what was found. As the paper has it, void pixels are cut out of found segments before IoU is
    taken, and a found segment without a match that lies more than half in void, or in the crowd region of its own
    category, is no error. `crowd`: true segments that stand for a crowd; they match nothing and are never missed. Of
    several of one category the last in `true_categories` counts, as in panopticapi. `true_areas`: pixels of the true
    segments where they are given beside the map (panopticapi reads them from the JSON); else they are counted.

    Raises ValueError when the maps differ in shape.
    """
    if truth.shape != found.shape:
        raise ValueError(f"the true map is {truth.shape} and the found one {found.shape}; they have to be alike.")
    overlaps = _overlaps(truth, found)
    true_area, found_area, in_void = _areas(overlaps, true_categories, found_categories)
    true_area = true_area if true_areas is None else dict(true_areas)
    counts: dict[int, Counts] = {}
    matched_true, matched_found = set(), set()
    for (true_id, found_id), shared in overlaps.items():
        if true_id not in true_area or found_id not in found_area or true_id in crowd:
            continue
        category = true_categories[true_id]
        union = true_area[true_id] + found_area[found_id] - in_void.get(found_id, 0) - shared
        if category == found_categories[found_id] and (iou := shared / union) > MATCH:
            counts.setdefault(category, Counts()).iou_sum += iou
            counts[category].true_positives += 1
            matched_true.add(true_id)
            matched_found.add(found_id)
    for true_id in true_area.keys() - matched_true - set(crowd):
        counts.setdefault(true_categories[true_id], Counts()).false_negatives += 1
    crowd_of = {category: true_id for true_id, category in true_categories.items() if true_id in crowd}
    for found_id in found_area.keys() - matched_found:
        category = found_categories[found_id]
        excused = in_void.get(found_id, 0) + overlaps.get((crowd_of.get(category, -1), found_id), 0)
        if excused / found_area[found_id] <= MATCH:
            counts.setdefault(category, Counts()).false_positives += 1
    return counts


def _overlaps(truth: SegmentMap, found: SegmentMap) -> dict[tuple[int, int], int]:
    """Shared pixels of every pair of ids that share any."""
    pairs = (truth.astype(np.int64).ravel() << 32) | found.astype(np.int64).ravel()
    values, areas = np.unique(pairs, return_counts=True)
    return {(int(value >> 32), int(value & 0xFFFFFFFF)): int(area) for value, area in zip(values, areas, strict=True)}


def _areas(
    overlaps: Mapping[tuple[int, int], int], true_categories: Mapping[int, int], found_categories: Mapping[int, int]
) -> tuple[dict[int, int], dict[int, int], dict[int, int]]:
    """Pixels of each true segment, of each found one, and of each found one in the truth's void."""
    true_area: dict[int, int] = {}
    found_area: dict[int, int] = {}
    in_void: dict[int, int] = {}
    for (true_id, found_id), shared in overlaps.items():
        void = true_id == NONE or true_id not in true_categories
        if not void:
            true_area[true_id] = true_area.get(true_id, 0) + shared
        if found_id != NONE and found_id in found_categories:
            found_area[found_id] = found_area.get(found_id, 0) + shared
            if void:
                in_void[found_id] = in_void.get(found_id, 0) + shared
    return true_area, found_area, in_void


def total(pictures: Iterable[Mapping[int, Counts]]) -> dict[int, Counts]:
    """Counts by category over many pictures. PQ is made of these sums, not of pictures' means."""
    summed: dict[int, Counts] = {}
    for picture in pictures:
        for category, counts in picture.items():
            summed.setdefault(category, Counts()).__iadd__(counts)
    return summed


def mean_quality(counts: Mapping[int, Counts], categories: Iterable[int]) -> float:
    """The mean of PQ over those of the categories that occurred; not a number when none did."""
    return qualities(counts, categories).panoptic


def qualities(counts: Mapping[int, Counts], categories: Iterable[int]) -> Quality:
    """PQ, SQ and RQ, each the mean over those of the categories that occurred."""
    seen = [counts[category] for category in categories if category in counts and counts[category].seen]
    if not seen:
        return Quality(float("nan"), float("nan"), float("nan"), 0)
    return Quality(
        float(np.mean([one.quality for one in seen])),
        float(np.mean([one.segmentation_quality for one in seen])),
        float(np.mean([one.recognition_quality for one in seen])),
        len(seen),
    )
