"""A stuff region as a few boxes: GroundCap's K-means rule, made deterministic.

Pixel coordinates are clustered for k = 1, 2, ...; each cluster gives a box whose edges leave out the outermost pixels;
overlaps between the boxes are removed; a k is worth coverage - overflow. Source: GroundCap's author's later public code
(StoryReasoning), read and restated in our own words and arithmetic. Three differences, all ours:

- Its restarts draw unseeded random numbers. Ours are seeded from the mask, so the same mask gives the same boxes.
- Clustering runs on a sample, and a large mask is looked at on a grid of at most GRID points a side. GroundCap's own
  frames are smaller than that, so for them every pixel counts.
- Of two boxes one inside the other, its adjustment leaves part of the overlap. Ours never leaves any.
"""

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""(n, 4): left, top, right, bottom in pixels, right and bottom exclusive."""

MIN_COVERAGE = 0.9
"""A k whose boxes cover this much of the mask, with MAX_OVERFLOW, ends the search."""
MAX_OVERFLOW = 0.3
"""Box pixels outside the mask, relative to the mask's pixels."""
TRIM = (1 - MIN_COVERAGE) / 2
"""Part of the pixels on each side of a cluster's centre that lie outside its box on that side: 5 %."""
RESTARTS = 6
"""Random starts of K-means for each k."""
GRID = 640
"""Longest side, in points, of the grid a mask is looked at on: boxes are good to 1/640, the prompt shows 1/100."""
SAMPLE = 1024
"""Pixels that K-means moves its centres by. All pixels of the grid count towards the boxes."""
MAX_ROUNDS = 300


class Fit(NamedTuple):
    """A set of boxes and how well it describes a mask."""

    boxes: Boxes
    coverage: float
    overflow: float

    @property
    def score(self) -> float:
        """What the best k is chosen by."""
        return self.coverage - self.overflow

    @property
    def is_good(self) -> bool:
        """Whether the search may end."""
        return self.coverage >= MIN_COVERAGE and self.overflow <= MAX_OVERFLOW


def split(mask: NDArray[np.bool_], max_boxes: int = 6) -> Boxes:
    """The boxes of a stuff mask (height, width); none when no k up to `max_boxes` has a positive score."""
    best = Fit(np.empty((0, 4)), 0.0, 0.0)
    if not mask.any():
        return best.boxes
    top, bottom = _extent(np.any(mask, axis=1))
    left, right = _extent(np.any(mask, axis=0))
    region = mask[top:bottom, left:right]
    step = -(-max(region.shape) // GRID)
    grid = np.ascontiguousarray(region[::step, ::step])
    if not grid.any():
        grid, step = np.ascontiguousarray(region), 1
    points = np.argwhere(grid.T).astype(np.float32)
    rng = np.random.default_rng(zlib.crc32(np.packbits(grid).tobytes()))
    sums = np.pad(grid.cumsum(0, dtype=np.int64).cumsum(1), ((1, 0), (1, 0)))
    for k in range(1, max_boxes + 1):
        fit = _best_fit(points, k, sums, rng)
        best = fit if fit.score > best.score else best
        if fit.is_good:
            break
    boxes: Boxes = np.minimum(best.boxes * step + [left, top, left, top], [right, bottom, right, bottom])
    return boxes


def _extent(occupied: NDArray[np.bool_]) -> tuple[int, int]:
    """(first, one past last) true place."""
    places = np.flatnonzero(occupied)
    return int(places[0]), int(places[-1]) + 1


def _best_fit(points: NDArray[np.float32], k: int, sums: NDArray[np.int64], rng: np.random.Generator) -> Fit:
    """The best boxes over the restarts; starts that end in the same centres are measured once."""
    best, seen = Fit(np.empty((0, 4)), 0.0, 0.0), set()
    sample = points if len(points) <= SAMPLE else points[np.sort(rng.choice(len(points), SAMPLE, replace=False))]
    for _ in range(RESTARTS if k > 1 else 1):
        centres = kmeans(sample, k, rng)
        if (key := centres.round(2).tobytes()) in seen:
            continue
        seen.add(key)
        boxes = remove_overlaps(_cluster_boxes(points, nearest(points, centres), len(centres)))
        fit = _measure(boxes, sums)
        best = fit if fit.score > best.score else best
        if best.is_good:
            break
    return best


def kmeans(points: NDArray[np.float32], k: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Lloyd's K-means from a k-means++ start: at most k centres (x, y), sorted.

    points (n, 2). Fewer than k come out where points coincide. Arthur and Vassilvitskii 2007.
    """
    centres = points[rng.integers(len(points))][None]
    while len(centres) < k:
        distance = ((points[:, None] - centres) ** 2).sum(-1).min(1).astype(np.float64)
        if not (total := distance.sum()):
            break
        # The first point whose running sum passes the draw; a point at distance 0 adds nothing and is never taken.
        chosen = np.searchsorted(distance.cumsum(), rng.random() * total, side="right")
        centres = np.concatenate([centres, points[min(chosen, len(points) - 1)][None]])
    owner = nearest(points, centres)
    for _ in range(MAX_ROUNDS):
        counts = np.bincount(owner, minlength=len(centres))
        totals = np.stack([np.bincount(owner, points[:, axis], len(centres)) for axis in (0, 1)], axis=1)
        kept = counts > 0
        centres = (totals[kept] / counts[kept, None]).astype(np.float32)
        previous, owner = owner, nearest(points, centres)
        if np.array_equal(owner, previous):
            break
    order = np.lexsort((centres[:, 1], centres[:, 0]))
    ordered: NDArray[np.float32] = np.take(centres, order, axis=0)
    return ordered


def nearest(points: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each point (n, 2) the index of the nearest centre (k, 2). The first wins a tie.

    Minimises |c|^2 - 2 p.c, one centre after the other: k passes over n numbers, no (n, k) array.
    """
    best, owner = np.full(len(points), np.inf, np.float32), np.zeros(len(points), np.int64)
    for index, (x, y) in enumerate(centres):
        cost = (x * x + y * y) - points[:, 0] * (2 * x) - points[:, 1] * (2 * y)
        owner[cost < best] = index
        np.minimum(best, cost, out=best)
    return owner


def _cluster_boxes(points: NDArray[np.float32], owner: NDArray[np.int64], k: int) -> Boxes:
    """One trimmed box per cluster. A cluster with under two pixels on a side of its centre gives none."""
    boxes = []
    horizontal, vertical = (_histograms(points[:, axis].astype(np.int64), owner, k) for axis in (0, 1))
    for across, down in zip(horizontal, vertical, strict=True):
        if (x := _trimmed(across)) and (y := _trimmed(down)):
            boxes.append((x[0], y[0], x[1], y[1]))
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _histograms(values: NDArray[np.int64], owner: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """(k, size): how many of each cluster's pixels lie in each column, or row."""
    size = int(values.max()) + 1
    return np.bincount(owner * size + values, minlength=k * size).reshape(k, size)


def _trimmed(counts: NDArray[np.int64]) -> tuple[int, int] | None:
    """(first, one past last) coordinate after leaving out TRIM of the pixels on each side of the mean."""
    total = counts.sum()
    if total < 2:
        return None
    middle = int(np.ceil((counts * np.arange(len(counts))).sum() / total))  # pixels below it are on the near side
    near, far = counts[:middle].cumsum(), counts[middle:].cumsum()
    if not len(near) or not len(far) or near[-1] < 2 or far[-1] < 2:
        return None
    first = np.searchsorted(near, int(near[-1] * TRIM), side="right")
    last = middle + np.searchsorted(far, far[-1] - int(far[-1] * TRIM), side="left")
    return int(first), int(last) + 1


def remove_overlaps(boxes: Boxes) -> Boxes:
    """Boxes (n, 4) moved apart pair by pair until none overlap, on whole pixels; a box left empty is dropped.

    A pair is parted along the axis where that costs less of the two boxes' length together; each gives way in
    proportion to its own length.
    """
    boxes = boxes.copy()
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            _part(boxes[i], boxes[j])
    boxes = np.floor(boxes)
    return boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])]


def _part(one: Boxes, other: Boxes) -> None:
    """Part two boxes (4,) in place."""
    lengths = [(one[axis + 2] - one[axis], other[axis + 2] - other[axis]) for axis in (0, 1)]
    if any(not (a > 0 and b > 0) for a, b in lengths):
        return
    if any(min(one[axis + 2], other[axis + 2]) <= max(one[axis], other[axis]) for axis in (0, 1)):
        return
    moves = []
    for axis, (a, b) in enumerate(lengths):
        first, second, own = (one, other, a) if one[axis] < other[axis] else (other, one, b)
        reach = first[axis + 2] - second[axis]
        moves.append((reach / (a + b), axis, first, second, first[axis + 2] - reach * own / (a + b)))
    _, axis, first, second, meeting = moves[0] if moves[0][0] < moves[1][0] else moves[1]
    first[axis + 2] = meeting
    second[axis] = meeting


def _measure(boxes: Boxes, sums: NDArray[np.int64]) -> Fit:
    """Coverage and overflow from the mask's summed-area table (height + 1, width + 1)."""
    left, top, right, bottom = boxes.astype(np.int64).T
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    boxed = (right - left) * (bottom - top)
    total = sums[-1, -1]
    return Fit(boxes, float(inside.sum() / total), float((boxed - inside).sum() / total))
