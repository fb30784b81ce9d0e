"""Pictures as the captioner's vision tower meets them: compressed, a little off in colour, moved, mirrored.

A drawn scene costs as much as a training step on it, and a small tower knows a thousand pictures by heart in minutes:
varied views make more of each.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from toyworld.captioner_heads import ATTRIBUTES
from toyworld.captioner_model import HEIGHT_PX, PATCH_PX, WIDTH_PX
from toyworld.captioner_patches import patch_attributes, patch_parts, quarter_categories
from toyworld.drawing import draw
from toyworld.facts import Thing
from toyworld.picture import Picture
from toyworld.sampling import sample
from toyworld.seeing import facts_of

JPEG_CHANCE, JPEG_QUALITY = 0.5, (40, 95)
"""So many pictures are compressed, as a movie's frames are."""
GAIN, OFFSET, NOISE = 0.02, 3.0, 3.0
"""Standard deviations of the factor and summand of each colour channel, and largest one of the noise; of 255."""
MOVED_PX = 4
"""How far a picture is moved at most where boxes stay as they are: about as much as boxes are off."""
ZOOM, SHIFT = (0.8, 1.35), 0.25
"""By how much the views of the vision tower's own training are enlarged, and moved in parts of the picture."""
_MIRRORED = [
    ATTRIBUTES["facing"].index({"left": "right", "right": "left"}.get(one, one)) for one in ATTRIBUTES["facing"]
]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture and what its patches show, as in captioner_heads.Batch."""

    image: NDArray[np.uint8]
    categories: NDArray[np.int8]
    patches: NDArray[np.int8]


def draw_views(seeds: Sequence[int], views: int) -> list[View]:
    """So many views of each of the scenes of these seeds."""
    found = []
    for seed in seeds:
        scene = sample(seed)
        picture = draw(scene, WIDTH_PX, HEIGHT_PX)
        ids = {region.segment_id: (f"{region.segment_id}",) for region in picture.regions}
        found += views_of(picture, facts_of(scene, picture, ids).things, views, np.random.default_rng((seed, 2)))
    return found


def views_of(picture: Picture, shown: Iterable[Thing], views: int, generator: np.random.Generator) -> list[View]:
    """So many views of a picture; `shown`: what can be seen of its things."""
    things, found = {one.actor_id: one for one in shown}, []
    for _ in range(views):
        flip = generator.random() < 0.5
        moved = _moved(picture, generator, flip)
        patches = patch_attributes(moved, patch_parts(moved, PATCH_PX), things)
        if flip:
            facing = list(ATTRIBUTES).index("facing")
            patches[..., facing] = np.where(patches[..., facing] >= 0, np.take(_MIRRORED, patches[..., facing]), -1)
        found.append(
            View(
                image=photographed(moved.image, generator),
                categories=quarter_categories(moved, PATCH_PX),
                patches=patches,
            )
        )
    return found


def _moved(picture: Picture, generator: np.random.Generator, flip: bool) -> Picture:
    """Another part of the picture, larger or smaller; what lies beyond its border mirrors it."""
    height, width = picture.segment_map.shape
    zoom = np.exp(generator.uniform(*np.log(ZOOM)))
    x, y = (np.array([0.5, 0.5]) + generator.uniform(-SHIFT, SHIFT, 2)) * [width, height]
    across = -zoom if flip else zoom
    matrix = np.array([[across, 0, width / 2 - across * x], [0, zoom, height / 2 - zoom * y]])
    border = {"borderMode": cv2.BORDER_REFLECT}
    image = cv2.warpAffine(picture.image, matrix, (width, height), flags=cv2.INTER_LINEAR, **border)
    numbers = cv2.warpAffine(
        picture.segment_map.astype(np.int16), matrix, (width, height), flags=cv2.INTER_NEAREST, **border
    )
    return replace(picture, image=np.asarray(image, np.uint8), segment_map=numbers.astype(np.int32))


def shifted(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """The picture moved by MOVED_PX at most."""
    x, y = generator.uniform(-MOVED_PX, MOVED_PX, 2)
    matrix = np.array([[1, 0, x], [0, 1, y]])
    size = image.shape[1], image.shape[0]
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def photographed(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as a movie's frame may bring it."""
    gain, offset = 1 + GAIN * generator.standard_normal(3), OFFSET * generator.standard_normal(3)
    changed = image * gain.astype(np.float32) + offset.astype(np.float32)
    changed += generator.standard_normal(image.shape, np.float32) * np.float32(generator.uniform(0, NOISE))
    image = np.clip(changed, 0, 255).astype(np.uint8)
    if generator.random() < JPEG_CHANCE:
        quality = int(generator.integers(*JPEG_QUALITY))
        _, written = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)
    return image
