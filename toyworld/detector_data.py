"""Drawn scenes as the detector is trained on them.

Scenes come in rounds: a round draws so many new scenes and goes over them a few times, each time in another order and
each scene mirrored by chance. So drawing costs little beside training, and any batch can be had again from the run's
seed and its number alone.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from toyworld.detector_loss import Targets
from toyworld.detector_model import SIZE
from toyworld.drawing import draw
from toyworld.picture import Picture
from toyworld.sampling import sample
from toyworld.seeds import TRAIN

WORLD_SIZE, MOVIE_SIZE = (224, 128), (448, 256)
"""(width, height) that scenes are drawn at: as reports measure them, and as movies are."""
MOVIE_CHANCE = 0.3
JPEG_CHANCE, JPEG_QUALITY = 0.25, (40, 95)
"""So many scenes are compressed before the detector sees them, so that it bears with movies."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Scenes in memory."""

    images: NDArray[np.uint8]
    """(scenes, height, width, 3) RGB, resized as the detector's processor does it."""
    maps: NDArray[np.uint8]
    """(scenes, height, width): 1 + index into `classes`, 0 where there is no segment."""
    classes: list[NDArray[np.int64]]
    """Category ids of each scene's segments."""

    def __len__(self) -> int:
        """How many scenes."""
        return len(self.images)


def targets_of(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(map, category ids) of one picture, as in a Pool."""
    numbers = np.zeros(int(picture.segment_map.max(initial=0)) + 1, np.uint8)
    for index, region in enumerate(picture.regions):
        numbers[region.segment_id] = 1 + index
    return numbers[picture.segment_map], np.array([region.category_id for region in picture.regions], np.int64)


def draw_pool(
    seeds: Sequence[int],
    actors: tuple[int, int] | None = None,
    size: tuple[int, int] = SIZE,
    executor: Executor | None = None,
) -> Pool:
    """Draw the scenes of these seeds, with so many actors at least and most where that is said.

    `size` (width, height) is what they are resized to. An executor shares the work among its processes.
    """
    if executor is None:
        return _draw_pool(seeds, actors, size)
    parts = [seeds[start : start + 64] for start in range(0, len(seeds), 64)]
    pools = list(executor.map(_draw_pool, parts, [actors] * len(parts), [size] * len(parts)))
    return Pool(
        np.concatenate([pool.images for pool in pools]),
        np.concatenate([pool.maps for pool in pools]),
        [classes for pool in pools for classes in pool.classes],
    )


def _draw_pool(seeds: Sequence[int], actors: tuple[int, int] | None, size: tuple[int, int]) -> Pool:
    images = np.empty((len(seeds), size[1], size[0], 3), np.uint8)
    maps = np.empty((len(seeds), size[1], size[0]), np.uint8)
    classes = []
    for index, seed in enumerate(seeds):
        generator = np.random.default_rng((seed, 1))  # not the scene's own
        drawn_size = MOVIE_SIZE if generator.random() < MOVIE_CHANCE else WORLD_SIZE
        picture = draw(sample(seed) if actors is None else sample(seed, actors=actors), *drawn_size)
        image = Image.fromarray(_compressed(picture.image, generator))
        images[index] = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
        numbers, ids = targets_of(picture)
        maps[index] = cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST_EXACT)
        classes.append(ids)
    return Pool(images, maps, classes)


def _compressed(image: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.uint8]:
    if generator.random() >= JPEG_CHANCE:
        return image
    quality = int(generator.integers(*JPEG_QUALITY))
    written = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(written, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]


def round_seeds(number: int, scenes: int) -> range:
    """The seeds of one round's scenes; no two rounds share one."""
    first = TRAIN.start + number * scenes
    if first + scenes > TRAIN.stop:
        raise ValueError(f"round {number} of {scenes} scenes is beyond the seeds kept for training.")
    return range(first, first + scenes)


def batches(pool: Pool, seed: tuple[int, ...], passes: int, size: int) -> Iterator[tuple[torch.Tensor, Targets]]:
    """The batches of one round: uint8 pictures (size, height, width, 3) and their truth.

    What of a pass does not fill a batch is left out.
    """
    for number in range(passes):
        generator = np.random.default_rng((*seed, number))
        order = generator.permutation(len(pool))
        for start in range(0, len(pool) - size + 1, size):
            yield _batch(pool, order[start : start + size], generator.random(size) < 0.5)


def _batch(pool: Pool, chosen: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> tuple[torch.Tensor, Targets]:
    images, maps = pool.images[chosen], pool.maps[chosen]
    images[mirrored], maps[mirrored] = images[mirrored, :, ::-1], maps[mirrored, :, ::-1]
    most = max(1, *(len(pool.classes[index]) for index in chosen))
    classes = np.full((len(chosen), most), -1, np.int64)
    for row, index in enumerate(chosen):
        classes[row, : len(pool.classes[index])] = pool.classes[index]
    return torch.from_numpy(images), Targets(torch.from_numpy(classes), torch.from_numpy(maps))
