"""Repairs: what is certain is mended, and nothing else; no word is lost, no fault is made."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_consistency import CORRUPTIONS, FRAGMENTS, Scene

from tasks.caption_check import check_against
from tasks.repairs import MOST_STEPS, repair

THINGS = {"person-0": True, "person-1": True, "dog-0": True, "couch-0": True, "sky-0": False}
MAN = '<gdo class="person" person-0>the man</gdo>'
EXAMPLES = [
    ("an unknown id", '<gdo class="person" person-9>The man</gdo> smiles.', False,
     "The man smiles.", ["drop-markup person-9"]),
    ("one of an action's ids is unknown", '<gda class="run" person-9 person-0>running</gda>', False,
     '<gda class="run" person-0>running</gda>', ["drop-id person-9"]),
    ("one of an object's ids is unknown", '<gdo class="person" person-0 person-9>two men</gdo>', False, "two men",
     ["drop-markup person-0 person-9"]),
    ("no id at all", '<gdl class="couch">on the couch</gdl>', False, "on the couch", ["drop-markup"]),
    ("an id that is none", '<gdo class="person" person_0>A man</gdo>', False, "A man", ["drop-markup person_0"]),
    ("unclosed before the next tag", f'<gdo class="dog" dog-0>A dog and {MAN}', False,
     f'<gdo class="dog" dog-0>A dog and {MAN}', []),
    ("unclosed around its noun, before the next tag", f'<gdo class="dog" dog-0>The brown dog {MAN}', False,
     f'<gdo class="dog" dog-0>The brown dog</gdo> {MAN}', ["close-tag dog-0"]),
    ("unclosed around its noun, at the end", 'Here is <gdo class="dog" dog-0>a dog.', False,
     'Here is <gdo class="dog" dog-0>a dog</gdo>.', ["close-tag dog-0"]),
    ("unclosed, and more than its noun", '<gdo class="person" person-0>The man walks home.', False,
     '<gdo class="person" person-0>The man walks home.', []),
    ("cut off among a tag's words", '<gda class="run" person-0>running home ', True,
     '<gda class="run" person-0>running home</gda> ', ["close-tag person-0"]),
    ("cut off a sentence after its tag", '<gdo class="person" person-0>The man runs. He is', True,
     '<gdo class="person" person-0>The man runs. He is', []),
    ("cut off in an opening tag", f'{MAN} and <gdo class="dog" do', True, f"{MAN} and ", ["drop-fragment"]),
    ("cut off after an opening tag", f'{MAN} and <gdo class="dog" dog-0>', True, f"{MAN} and ", ["drop-fragment"]),
    ("cut off in a closing tag", "so " + MAN[:-3], True, f"so {MAN}", ["drop-fragment", "close-tag person-0"]),
    ("a closing tag without its bracket", "so " + MAN[:-1], True, f"so {MAN}", ["close-tag person-0"]),
    ("its class among the words", '<gdo class="dragon" dragon-9>It</gdo> and dragon-9', False,
     '<gdo class="dragon" dragon-9>It</gdo> and dragon-9', []),
    ("words that would grow together to an id", 'per<gdo class="dog" dog-9>son</gdo>-0', False,
     'per<gdo class="dog" dog-9>son</gdo>-0', []),
    ("the wrong class is a guess", '<gdo class="dog" person-0>it</gdo>', False,
     '<gdo class="dog" person-0>it</gdo>', []),
    ("a clean caption", MAN, True, MAN, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "cut_off", "after", "repairs"), [one[1:] for one in EXAMPLES], ids=[one[0] for one in EXAMPLES]
)
def test_what_is_certain_is_mended_and_nothing_else(text: str, cut_off: bool, after: str, repairs: list[str]) -> None:
    mended = repair(text, THINGS, cut_off=cut_off)
    assert (mended.text, list(mended.repairs)) == (after, repairs)


def keeps_its_promises(text: str, things: dict[str, bool], *, cut_off: bool) -> str:
    mended = repair(text, things, cut_off=cut_off)
    before, after = check_against(text, things), check_against(mended.text, things)
    assert after.plain_text == before.plain_text
    codes = [Counter((one.code, one.object_id) for one in checked.violations) for checked in (before, after)]
    assert codes[1] <= codes[0]
    assert bool(mended.repairs) == (mended.text != text)
    assert not mended.repairs or codes[1] != codes[0]
    again = repair(mended.text, things, cut_off=cut_off)
    assert (again.text, again.repairs) == (mended.text, ())
    return mended.text


@settings(max_examples=400, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS)).map("".join), st.booleans())
def test_any_text_keeps_its_words_gets_no_fault_and_is_repaired_once(text: str, cut_off: bool) -> None:
    keeps_its_promises(text, THINGS, cut_off=cut_off)


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_planted_corruptions_lose_faults_and_nothing_else(kind: str) -> None:
    for number in range(25):
        scene = Scene(random.Random(f"{kind}/{number}"))
        things = {one.object_id: one.is_thing for one in scene.detections}
        mended = keeps_its_promises(CORRUPTIONS[kind][1](scene), things, cut_off=bool(number % 2))
        if CORRUPTIONS[kind][0] in ("unknown-object", "no-id", "malformed-id"):
            assert "unknown-object" not in check_against(mended, things).codes


def test_a_caption_with_tags_at_fault_without_number_is_left() -> None:
    text = '<gdo class="person" person-9>he</gdo> ' * (MOST_STEPS + 1)
    assert repair(text, THINGS).repairs == ()
    assert len(repair(text[: len(text) // 2], THINGS).repairs) > MOST_STEPS // 3
