"""A small store with real pictures, masks and captions of every verdict, for tests of what goes out and comes in."""

import dataclasses
import io
from typing import Any

import numpy as np
import rows as made
from numpy.typing import NDArray
from PIL import Image

from storage.store import Store
from storage.tables import Detection, Frame
from tasks.boxes import from_corners_px
from tasks.coco_panoptic import LABELS
from tasks.consistency import check_captions
from tasks.masks import encode

WIDTH, HEIGHT = 48, 32
GOOD = '<gdo class="person" person-0>A man</gdo> sits on <gdl class="grass" grass-0>the grass</gdl>, "grün".'
AT_FAULT = '<gdo class="dog" dog-7>A dog</gdo> runs.'


def picture(shade: int, form: str = "JPEG") -> bytes:
    """A picture whose left and right halves differ, so that mirrored ones would show."""
    pixels = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
    pixels[:, WIDTH // 2 :, 0] = 255 - shade
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, form)
    return packed.getvalue()


def frame(index: int, movie: str, form: str = "JPEG") -> Frame:
    shade = 20 * index + (7 if movie == "ma" else 0)
    image = dataclasses.replace(made.frame().image, bytes=picture(shade, form), path=f"{index}.jpg")
    return dataclasses.replace(made.frame(index, movie), width=WIDTH, height=HEIGHT, image=image)


def region(left: int, top: int, right: int, bottom: int) -> NDArray[np.bool_]:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[top:bottom, left:right] = True
    return pixels


def detection(frame_id: str, place: int, object_id: str, segment_id: int, pixels: NDArray[np.bool_]) -> Detection:
    mask = encode(pixels)
    label = object_id.rpartition("-")[0]
    name = {"grass": "grass-merged"}.get(label, label)
    return dataclasses.replace(
        made.detection(object_id, frame_id=frame_id), object_index=place, segment_id=segment_id,
        category_id=LABELS.index(name), is_thing=label != "grass", score=0.9, area=mask.area_px / pixels.size,
        box=from_corners_px(*mask.corners_px, WIDTH, HEIGHT), mask=mask.counts, mask_width=WIDTH, mask_height=HEIGHT,
    )  # fmt: skip


def detections(frame_id: str) -> list[Detection]:
    """A man, a dog that reaches out of the picture's middle, and grass around both."""
    man, dog = region(4, 2, 20, 30), region(28, 10, 48, 26)
    grass = region(0, 20, WIDTH, HEIGHT) & ~man & ~dog
    return [
        detection(frame_id, 0, "person-0", 1, man),
        detection(frame_id, 1, "dog-0", 2, dog),
        detection(frame_id, 2, "grass-0", 3, grass),
    ]


def fill(store: Store, movies: tuple[str, ...] = ("mb", "ma"), texts: tuple[Any, ...] = (GOOD, AT_FAULT, None)) -> None:
    """Movies of as many frames as there are texts, captioned with them by `old`; None is a caption that failed."""
    for movie in movies:
        made.write(store, [dataclasses.replace(made.movie(movie), title=f"The {movie}")], movie)
        shard = f"{movie}/00000"
        frames = made.write(store, [frame(number, movie) for number in range(len(texts))], shard)
        found = [one for number in range(len(texts)) for one in detections(f"{movie}_{number:06d}")]
        detected = made.write(store, list(found), shard, inputs=[frames.fingerprint])
        told: list[Any] = [
            made.caption(f"{movie}_{number:06d}", text or "", captioner="old", error=None if text else "no memory")
            for number, text in enumerate(texts)
        ]
        captions = made.write(store, told, shard, captioner="old", inputs=[detected.fingerprint])
        check_captions(captions, detected, store)
