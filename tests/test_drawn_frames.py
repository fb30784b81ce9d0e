"""A frame drawn with what was detected and cited: what is seen where, hostile input, and the gallery's own colours."""

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from gallery_making import DOG, GOOD, HEIGHT, PERSON, WIDTH, detections_of, picture
from rows import detection

from storage.tables import Box, Mention
from tasks import tags
from tasks.drawn_frames import DASHES, HUES, NOT_DETECTED, OBJECT_HUES, draw_frame, looks
from tasks.frame_work import PictureError
from tasks.visible_text import visible, visible_line

SITE = Path(__file__).parents[1] / "gallery" / "site"
FRAME = "mabc_000000"


def mentions(text: str = GOOD) -> list[Mention]:
    return [
        Mention(caption_id="c", mention_index=index, kind=one.kind, label=one.label, object_ids=list(one.object_ids),
                text=one.text, start=one.start, end=one.end, verdict="ok")
        for index, one in enumerate(tags.parse(text).mentions)
    ]  # fmt: skip


def strength(image: PIL.Image.Image, area: tuple[int, int, int, int]) -> float:
    """How far the middle of an area is from the bare picture there."""
    left, top, width, height = area
    box = (left + width // 3, top + height // 2, left + width * 2 // 3, top + height * 3 // 4)
    bare = PIL.Image.open(io.BytesIO(picture(0))).convert("RGB")
    difference = np.asarray(image.crop(box), dtype=float) - np.asarray(bare.crop(box), dtype=float)
    return float(np.abs(difference).mean())


def test_boxes_are_drawn_in_the_colour_of_their_object_at_their_place() -> None:
    found = detections_of(FRAME)
    drawn = draw_frame(picture(0), found)
    assert (drawn.size, drawn.mode) == ((WIDTH, HEIGHT), "RGB")
    for one, (left, top, width, height) in zip(found[:2], (PERSON, DOG), strict=True):
        colour = looks(found)[one.object_id].colour
        assert drawn.getpixel((left + width // 2, top + height - 1)) == colour
        assert drawn.getpixel((left, top + height // 2)) == colour


def test_what_a_caption_cites_stands_out_and_the_rest_is_faint() -> None:
    found = detections_of(FRAME)
    only_dog = draw_frame(picture(0), found, mentions('<gdo class="dog" dog-0>a dog</gdo>'))
    all_alike = draw_frame(picture(0), found)
    assert strength(only_dog, DOG) > strength(all_alike, DOG) > strength(only_dog, PERSON) * 1.5 > 0


def test_ids_that_nothing_was_detected_under_are_not_drawn() -> None:
    found = detections_of(FRAME)
    strange = mentions('<gdo class="cat" cat-7>a cat</gdo>')
    drawn = draw_frame(picture(0), found, strange)
    assert strength(drawn, DOG) > 0
    assert looks(found).get("cat-7", NOT_DETECTED) is NOT_DETECTED
    bare = PIL.Image.open(io.BytesIO(picture(0))).convert("RGB")
    assert draw_frame(picture(0), [], strange).tobytes() == bare.tobytes()


@pytest.mark.parametrize(("edge", "size"), [(None, (320, 180)), (640, (640, 360)), (80, (80, 45)), (1, (1, 1))])
def test_the_longest_edge_is_what_was_asked_for(edge: int | None, size: tuple[int, int]) -> None:
    assert draw_frame(picture(0), detections_of(FRAME), longest_edge=edge).size == size


@pytest.mark.parametrize("box", [
    Box(x=0.0, y=0.0, w=1.0, h=1.0), Box(x=0.5, y=0.5, w=0.0, h=0.0), Box(x=0.99, y=0.99, w=0.01, h=0.01),
    Box(x=-2.0, y=-2.0, w=5.0, h=5.0), Box(x=3.0, y=3.0, w=1.0, h=1.0),
])  # fmt: skip
def test_any_box_and_any_name_can_be_drawn(box: Box) -> None:
    names = ["person-0", "\x1b[31m\nüß" * 30, "", "‮dog-0", "\ud800"]
    found = [dataclasses.replace(detection(), object_id=name, object_index=place, box=box)
             for place, name in enumerate(names)]  # fmt: skip
    assert draw_frame(picture(0), found).size == (WIDTH, HEIGHT)


def test_the_ninth_object_has_another_line_than_the_first() -> None:
    found = [dataclasses.replace(detection(f"dog-{place}"), object_index=place) for place in range(33)]
    known = looks(reversed(found))
    assert [known[f"dog-{place}"].hue for place in (0, 7, 8, 32)] == [0, 7, 0, 0]
    assert [known[f"dog-{place}"].line for place in (0, 7, 8, 32)] == [0, 0, 1, 0]


def test_bytes_that_are_no_picture_say_so() -> None:
    with pytest.raises(PictureError, match="cannot be decoded"):
        draw_frame(b"\xff\xd8", [])


def test_the_gallery_has_the_same_colours_and_lines() -> None:
    css = (SITE / "gallery.css").read_text(encoding="utf-8")
    hues = {int(place): tuple(bytes.fromhex(colour))
            for place, colour in re.findall(r"\.hue-(\d) \{ --hue: #([0-9a-f]{6});", css)}  # fmt: skip
    assert hues == dict(enumerate(HUES))
    listed = re.search(r"HUES = \[(\[.*?\])\];", (SITE / "frame.js").read_text(encoding="utf-8"))
    assert listed
    assert re.findall(r"\[(\d+), (\d+), (\d+)\]", listed[1]) == [tuple(map(str, colour)) for colour in HUES]
    lines = re.findall(r"\.line-(\d) \.over \{ stroke-dasharray: ([\d ]+);", (SITE / "frame.css").read_text("utf-8"))
    assert {int(place): tuple(map(int, dash.split())) for place, dash in lines} == dict(enumerate(DASHES[1:], 1))
    script = (SITE / "captions.js").read_text(encoding="utf-8")
    assert f"hue: place % {OBJECT_HUES}, line: Math.floor(place / {OBJECT_HUES}) % {len(DASHES)}" in script


def test_what_steers_a_terminal_or_the_reading_is_spelt_out() -> None:
    assert visible("plain üß 漢 👩‍🚀\n\t") == "plain üß 漢 👩‍🚀\n\t"
    assert visible("\x1b[2J\x9b \r\u202e\u2028\ud800\x7f") == (
        "[U+001B][2J[U+009B] [U+000D][U+202E][U+2028][U+D800][U+007F]"
    )
    assert visible_line("a\nb\tc") == "a⏎b c"
