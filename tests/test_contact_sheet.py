"""A few captioned frames as one picture: which frames, in which colours, how large."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
from gallery_making import GOOD, HOSTILE, write_movie

from storage.store import Store
from tasks.contact_sheet import CELL_WIDTH, COLUMNS, GAP, LINE, MOST_LINES, as_jpeg, coloured_words, contact_sheet
from tasks.drawn_frames import HUES, NOT_DETECTED, looks
from tasks.sample_captions import Sample, sample_captions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Sixty frames in two shards: of each three captions one is clean and cites, one is clean, one is at fault."""
    made = Store(str(tmp_path_factory.mktemp("sheet") / "store"))
    write_movie(
        made, {"alpha": [GOOD, "Nothing is cited.", HOSTILE[3]], "bare": ["Nothing is cited."], "odd": [HOSTILE[3]]}
    )
    return made


@pytest.fixture(scope="module")
def samples(store: Store) -> list[Sample]:
    return sample_captions(store, "alpha", ["mabc"], 4)


def test_samples_are_the_best_captions_at_even_distances(store: Store, samples: list[Sample]) -> None:
    assert {sample.text for sample in samples} == {GOOD}
    assert [int(sample.frame.frame_id[-6:]) for sample in samples] == [6, 21, 36, 51]  # of 0, 3, 6, ... 57
    assert [len(sample.detections) for sample in samples] == [3, 3, 3, 3]
    assert all(len(sample.mentions) == 4 for sample in samples)
    assert [sample.text for sample in sample_captions(store, "bare", ["mabc"], 2)] == ["Nothing is cited."] * 2
    assert len(sample_captions(store, "alpha", ["mabc"], 500)) == 20
    assert sample_captions(store, "alpha", ["mnone"], 4) == sample_captions(store, "nobody", ["mabc"], 4) == []


def test_words_of_a_tag_have_the_colour_of_their_object(samples: list[Sample]) -> None:
    known = looks(samples[0].detections)
    words = list(coloured_words(samples[0]))
    colours = dict(words)
    assert " ".join(word for word, _ in words) == samples[0].plain_text == "A man walks with his dog under a wide sky."
    assert colours["man"] == colours["walks"] == known["person-0"].colour
    assert colours["dog"] == known["dog-0"].colour
    assert colours["with"] is None


def test_boxes_and_words_are_drawn_in_one_colour(samples: list[Sample]) -> None:
    sheet = contact_sheet(samples[:1])
    height = round(CELL_WIDTH * 180 / 320)
    assert sheet.width == CELL_WIDTH + 2 * GAP
    pixels = np.asarray(sheet)
    picture, words = pixels[GAP : GAP + height], pixels[GAP + height :]
    for hue in looks(samples[0].detections).values():
        assert (picture == hue.colour).all(axis=2).sum() > 100
        assert (words == hue.colour).all(axis=2).sum() > 40
    assert not any((words == colour).all(axis=2).any() for colour in HUES[3:])


def test_what_is_not_detected_and_what_is_hostile_is_drawn_too(store: Store) -> None:
    (sample,) = sample_captions(store, "alpha", ["mabc"], 1)
    unknown = dataclasses.replace(sample.mentions[0], object_ids=["cat-7"])
    odd = dataclasses.replace(sample, mentions=[unknown])
    assert dict(coloured_words(odd))["man"] == NOT_DETECTED.colour
    for text in (*HOSTILE, "word " * 5000, "x" * 5000, ""):
        sheet = contact_sheet([dataclasses.replace(sample, text=text, plain_text=text, mentions=[])])
        assert sheet.height <= 2 * GAP + round(CELL_WIDTH * 180 / 320) + 4 + MOST_LINES * LINE


def test_four_frames_stand_in_two_rows(samples: list[Sample]) -> None:
    sheet = contact_sheet(samples)
    assert sheet.width == COLUMNS * (CELL_WIDTH + GAP) + GAP
    assert sheet.height > 2 * CELL_WIDTH * 180 // 320


def test_a_picture_of_noise_is_made_as_small_as_asked() -> None:
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 900, 3), dtype=np.uint8))
    encoded = as_jpeg(noise, 60_000)
    assert 10_000 < len(encoded) < 60_000
    image = PIL.Image.open(io.BytesIO(encoded))
    assert (image.format, image.width < 900) == ("JPEG", True)


def test_without_a_clean_caption_those_at_fault_are_shown(store: Store) -> None:
    found = sample_captions(store, "odd", ["mabc"], 2)
    assert [(sample.text, sample.ok) for sample in found] == [(HOSTILE[3], False)] * 2
