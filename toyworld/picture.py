"""What drawing a scene gives: the picture, and the exact truth about every pixel of it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One thing, or all of one stuff class, as far as the picture shows it."""

    segment_id: int
    """Its value in the picture's segment_map, 1 or more."""
    category_id: int
    """Index into vocabulary.LABELS."""
    label: str
    """vocabulary.LABELS[category_id]."""
    is_thing: bool
    """Whether it is countable."""
    actor_id: int | None
    """The scene's actor; None for stuff."""
    area_px: int
    """Pixels of the picture it has."""
    hidden: float
    """Part of its own silhouette inside the frame that others cover, 0 to 1."""
    behind: Mapping[int, float]
    """Part of its own silhouette inside the frame that another one covers, by that one's actor_id, ascending; of those
    that one sees there."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A drawn scene."""

    image: NDArray[np.uint8]
    """(height, width, 3), RGB."""
    segment_map: NDArray[np.int32]
    """(height, width): a region's segment_id, 0 where what is seen is too small to be a region."""
    regions: tuple[Region, ...]
    """Things by depth, far to near, then stuff in vocabulary's order."""
