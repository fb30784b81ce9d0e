"""GroundCap's rules on masks whose answer is known."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.coco_panoptic import LABELS, STUFF, THINGS
from tasks.masks import encode
from tasks.object_naming import (
    LAST_WHOLE_CATEGORY,
    NamedObject,
    Segment,
    clean_label,
    is_coco,
    is_split,
    name_objects,
)

CATEGORIES = Path(__file__).parent / "data" / "panoptic" / "panoptic_coco_categories.json"
WIDTH, HEIGHT = 200, 100

CARD = """sky-0: 0.41,0.00,0.20,0.15 | sky-1: 0.62,0.00,0.26,0.10 | wall-0: 0.01,0.02,0.35,0.86
person-0: 0.38,0.35,0.12,0.40 | person-1: 0.45,0.35,0.08,0.39 | wall-1: 0.39,0.10,0.35,0.48
person-2: 0.71,0.29,0.20,0.51 | wall-2: 0.75,0.03,0.24,0.88 | person-3: 0.00,0.57,0.22,0.42
handbag-0: 0.21,0.75,0.11,0.23 | person-4: 0.26,0.48,0.20,0.52 | floor-wood-0: 0.40,0.59,0.60,0.41"""
"""The model card's worked example, in its order."""


def segment(
    name: str, box: tuple[float, ...], *, number: int = 1, score: float = 0.9, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Segment:
    """A rectangle (x, y, w, h as fractions) of one of COCO's categories."""
    height, width = size
    x, y, w, h = box
    pixels = np.zeros(size, bool)
    pixels[round(y * height) : round((y + h) * height), round(x * width) : round((x + w) * width)] = True
    index = LABELS.index(name)
    return Segment(
        segment_id=number, category_id=index, label=name, is_thing=index < 80, score=score, mask=encode(pixels)
    )


def named(segments: list[Segment], **options: int) -> list[NamedObject]:
    return name_objects(segments, coco=True, **options)


def test_coco_names_are_in_the_order_of_the_categories_file() -> None:
    categories = sorted(json.loads(CATEGORIES.read_text()), key=lambda one: one["id"])
    assert tuple(one["name"] for one in categories) == LABELS
    assert tuple(one["name"] for one in categories if one["isthing"]) == THINGS
    assert len(LABELS) == 133


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("sky-other-merged", "sky"),
        ("tree-merged", "tree"),
        ("window-other", "window"),
        ("water-other", "water"),
        ("floor-wood", "floor-wood"),
        ("wall-brick", "wall-brick"),
        ("window-blind", "window-blind"),
        ("door-stuff", "door-stuff"),
        ("mirror-stuff", "mirror-stuff"),
        ("dining table", "dining-table"),
        ("hair drier", "hair-drier"),
        ("stop_sign", "stop-sign"),
        ("Person", "person"),
        ("tv; <screen>", "tv-screen"),
        ("crt, monitor", "crt-monitor"),
        ("", "object"),
    ],
)
def test_labels_are_cleaned(name: str, label: str) -> None:
    assert clean_label(name) == label


def test_cleaned_coco_labels_stay_different() -> None:
    assert len({clean_label(name) for name in LABELS}) == 133


def test_model_cards_example_comes_out_in_its_order_with_its_ids() -> None:
    wanted = [entry.strip().split(": ") for entry in CARD.replace("\n", " | ").split(" | ")]
    names = {"sky": "sky-other-merged", "wall": "wall-other-merged"}
    segments = []
    for number, (object_id, numbers) in enumerate(wanted, 1):
        label = object_id.rpartition("-")[0]
        box = tuple(map(float, numbers.split(",")))
        # Each of the card's boxes was one detection; a thing keeps its box as it is, so all stand in as things.
        one = segment(names.get(label, label), box, number=number, size=(1000, 1000))
        segments.append(
            Segment(
                segment_id=number,
                category_id=0,
                label=one.label,
                is_thing=True,
                score=0.7 + number / 100,
                mask=one.mask,
            )
        )
    for seed in range(20):
        random.Random(seed).shuffle(segments)
        objects = named(segments)
        assert [one.object_id for one in objects] == [object_id for object_id, _ in wanted]
        lines = [f"{one.box.x:.2f},{one.box.y:.2f},{one.box.w:.2f},{one.box.h:.2f}" for one in objects]
        assert lines == [numbers for _, numbers in wanted]
        assert [one.object_index for one in objects] == list(range(12))


def test_a_thing_is_one_box_to_the_pixel() -> None:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[10, 20] = pixels[59, 119] = True
    one = Segment(segment_id=1, category_id=0, label="person", is_thing=True, score=0.9, mask=encode(pixels))
    (found,) = named([one])
    assert (found.box.x, found.box.y, found.box.w, found.box.h) == (0.1, 0.1, 0.5, 0.5)


def test_only_categories_beyond_ninety_are_split_with_coco_labels() -> None:
    assert LABELS[LAST_WHOLE_CATEGORY] == "gravel"
    whole = [name for name in STUFF if not is_split(segment(name, (0, 0, 1, 1)), coco=True)]
    assert whole == [
        "banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood", "flower", "fruit",
        "gravel",
    ]  # fmt: skip
    assert not any(is_split(segment(name, (0, 0, 1, 1)), coco=True) for name in THINGS)


def test_with_other_labels_the_thing_flag_decides() -> None:
    mask = segment("sky-other-merged", (0, 0, 1, 1)).mask
    sky = Segment(segment_id=1, category_id=2, label="sky", is_thing=False, score=0.9, mask=mask)
    assert is_split(sky, coco=False)
    assert not is_split(sky, coco=True)
    assert is_coco(LABELS)
    assert not is_coco(["person", "sky"])
    assert not is_coco([*LABELS[1:], LABELS[0]])


def two_walls(name: str) -> Segment:
    """One region in two far parts: the left eighth and the right eighth."""
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[:, :25] = pixels[:, -25:] = True
    index = LABELS.index(name)
    return Segment(segment_id=7, category_id=index, label=name, is_thing=index < 80, score=0.8, mask=encode(pixels))


def test_stuff_in_two_parts_is_two_boxes_of_one_segment() -> None:
    left, right = named([two_walls("wall-other-merged")])
    assert (left.object_id, right.object_id) == ("wall-0", "wall-1")
    assert left.segment == right.segment
    assert left.box.x + left.box.w <= 25 / WIDTH
    assert right.box.x >= 1 - 25 / WIDTH


def test_stuff_of_the_first_ninety_is_one_box_though_in_two_parts() -> None:
    (one,) = named([two_walls("floor-wood")])
    assert (one.box.x, one.box.w) == (0, 1)
    (one,) = named([two_walls("person")])
    assert (one.box.x, one.box.w) == (0, 1)


def test_the_highest_scores_stay_wherever_they_lie() -> None:
    segments = [
        segment("person", (i % 10 / 10, i // 10 / 10, 0.1, 0.1), number=i + 1, score=0.5 + i / 200) for i in range(60)
    ]
    objects = named(segments, max_detections=40)
    assert sorted(one.segment.segment_id for one in objects) == list(range(21, 61))
    assert [one.object_id for one in objects] == [f"person-{i}" for i in range(40)]


def test_an_empty_mask_is_no_object() -> None:
    nothing = segment("person", (0, 0, 0, 0))
    assert named([nothing]) == []
    assert named([]) == []


boxes = st.tuples(*(st.floats(0, 0.9) for _ in range(2)), *(st.floats(0.02, 1) for _ in range(2)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LABELS), boxes, st.floats(0, 1)), max_size=12), st.randoms())
def test_order_and_ids_do_not_hang_on_the_order_of_segments(
    found: list[tuple[str, tuple[float, ...], float]], rng: random.Random
) -> None:
    segments = [
        segment(name, box, number=number, score=score, size=(40, 60))
        for number, (name, box, score) in enumerate(found, 1)
    ]
    objects = named(segments, max_detections=8)
    rng.shuffle(segments)
    assert named(segments, max_detections=8) == objects
    assert len({one.object_id for one in objects}) == len(objects) <= 8
    for one in objects:
        assert one.object_id.rpartition("-")[0] == one.label
        assert 0 <= one.box.x <= one.box.x + one.box.w <= 1 + 1e-9
        assert 0 <= one.box.y <= one.box.y + one.box.h <= 1 + 1e-9
        assert one.box.w > 0 < one.box.h
