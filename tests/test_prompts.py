"""The rendered prompt text: the model card's worked example, letter for letter."""

from pathlib import Path

import pytest

from storage.tables import Box, Detection
from tasks import prompts
from tasks.captioners import CaptionConfig
from tasks.errors import ConfigError, UnknownNameError

GOLDEN = Path(__file__).parent / "golden"
GROUNDED = sorted(name for name, one in prompts.TEMPLATES.items() if one.grounded)
CARD = """
sky-0: 0.41,0.00,0.20,0.15 | sky-1: 0.62,0.00,0.26,0.10 | wall-0: 0.01,0.02,0.35,0.86 | person-0: 0.38,0.35,0.12,0.40 |
person-1: 0.45,0.35,0.08,0.39 | wall-1: 0.39,0.10,0.35,0.48 | person-2: 0.71,0.29,0.20,0.51 |
wall-2: 0.75,0.03,0.24,0.88 | person-3: 0.00,0.57,0.22,0.42 | handbag-0: 0.21,0.75,0.11,0.23 |
person-4: 0.26,0.48,0.20,0.52 | floor-wood-0: 0.40,0.59,0.60,0.41
"""
"""The only public example, from the model card."""


def detection(
    object_id: str, box: tuple[float, float, float, float], index: int, frame_id: str = "m0_000000"
) -> Detection:
    label = object_id.rpartition("-")[0]
    return Detection(
        frame_id=frame_id,
        object_id=object_id,
        object_index=index,
        segment_id=index + 1,
        label=label,
        category_id=0,
        is_thing=label in ("person", "handbag"),
        score=0.9,
        box=Box(x=box[0], y=box[1], w=box[2], h=box[3]),
        area=0.1,
        mask=None,
        mask_width=100,
        mask_height=100,
    )


def card_detections() -> list[Detection]:
    parts = [part.split(":") for part in CARD.replace("\n", " ").split("|")]
    return [
        detection(name.strip(), tuple(map(float, numbers.split(","))), index)  # type: ignore[arg-type]
        for index, (name, numbers) in enumerate(parts)
    ]


@pytest.mark.parametrize("name", sorted(prompts.TEMPLATES))
def test_the_cards_example_is_rendered_letter_for_letter(name: str) -> None:
    assert prompts.render(name, card_detections()) == (GOLDEN / f"prompt-{name}.txt").read_text()


def test_prompt_order_is_the_detections_own_whatever_order_they_come_in() -> None:
    assert prompts.render("groundcap-card", card_detections()[::-1]) == prompts.render(
        "groundcap-card", card_detections()
    )


@pytest.mark.parametrize("name", GROUNDED)
def test_a_training_sample_is_the_prompt_with_the_caption_after_it(name: str) -> None:
    """The trap of Pixtral's 2024 chat template: with a caption after it, the system text was gone."""
    prompt, sample = prompts.render(name, card_detections()), prompts.render(name, card_detections(), "A caption.")
    assert sample == f"{prompt}A caption.</s>"
    assert prompts.TEMPLATES[name].system in sample
    assert all(one.object_id in sample for one in card_detections())
    assert sample.count("[IMG]") == sample.count("[INST]") == sample.count("[/INST]") == 1


@pytest.mark.parametrize("name", GROUNDED)
def test_a_frame_without_detections_has_an_empty_list(name: str) -> None:
    assert "[DETECTIONS]\n[/DETECTIONS]" in prompts.render(name, [])


def test_numbers_are_rounded_to_two_digits() -> None:
    assert (
        prompts.render_detections([detection("cat-0", (0.126, 0.999, 1 / 3, 0.0), 0)])
        == "[cat-0: 0.13,1.00,0.33,0.00]\n"
    )


@pytest.mark.parametrize("word", prompts.CONTROL)
def test_nothing_that_is_filled_in_may_be_read_as_a_command(word: str) -> None:
    with pytest.raises(ConfigError, match="command"):
        prompts.render("groundcap-card", [], f"a caption {word}")
    with pytest.raises(ConfigError, match="command"):
        prompts.render("groundcap-card", [detection(f"{word}-0", (0, 0, 1, 1), 0)])


def test_an_unknown_template_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'groundcap-card'"):
        CaptionConfig(template="groundcap-cart")


def test_templates_and_prompts_have_digests_of_their_own() -> None:
    assert len({one.digest for one in prompts.TEMPLATES.values()}) == len(prompts.TEMPLATES)
    assert prompts.digest("a") == "ca978112ca1bbdca"  # sha256("a") as the standard's test vectors give it


@pytest.mark.parametrize(("name", "words"), [("plain", ""), ("a-photo-of", "a photo of")])
def test_a_plain_prompt_is_the_picture_and_words_whatever_is_there(name: str, words: str) -> None:
    assert prompts.render(name, card_detections()) == prompts.render(name, []) == f"[IMG]{words}"
    assert prompts.plain_words(prompts.render(name, [])) == words
    assert prompts.render(name, [], " a dog") == f"[IMG]{words} a dog"


@pytest.mark.parametrize("prompt", [prompts.render(name, []) for name in GROUNDED] + ["", "a [IMG]", "[IMG][IMG]"])
def test_a_prompt_with_more_than_words_is_no_plain_one(prompt: str) -> None:
    with pytest.raises(ValueError, match="nothing but words"):
        prompts.plain_words(prompt)
