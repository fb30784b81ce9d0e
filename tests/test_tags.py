"""The tag grammar: what it reads, that it never raises, that nothing is lost on the way through it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks import tags
from tasks.tag_structure import DEEPEST

TAG = '<gdo class="person" person-0>the man</gdo>'
FRAGMENTS = [
    "<gdo", "<gda", "<gdl", "</gdo", "</gda>", "</gdo>", "</gdl>", "<", ">", "/", ' class="person"', ' class="',
    "class=", "'", '"', " person-0", "person-1", " ", "\n", "the man", "<b>", "</s>", "[IMG]", "&lt;gdo", "<GDO", "=",
    "-", "\x00", "\u2028", "<gdx ", TAG,
]  # fmt: skip
LABELS = ["person", "traffic-light", "floor-wood", "wall"]

labels = st.sampled_from(LABELS)
object_ids = st.lists(st.builds("{}-{}".format, labels, st.integers(0, 40)), min_size=1, max_size=4)
words = st.text(st.characters(blacklist_characters="<&[＜‹〈⟨({", blacklist_categories=["Cs"]), max_size=20)
inner = words.filter(lambda text: any(character.isalnum() for character in text) and "gd" not in text.lower())
outer = words.filter(lambda text: "gd" not in text.lower())
rendered = st.builds(tags.render, st.sampled_from(sorted(tags.NAMES)), labels, object_ids, inner)
captions = st.lists(st.one_of(outer, rendered), max_size=8).map("".join)
hostile = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join),
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=25).map("".join),
)


def codes(text: str) -> list[str]:
    return [fault.code for fault in tags.parse(text).faults]


def test_a_caption_is_taken_apart() -> None:
    parsed = tags.parse(f'In the hall {TAG} is <gda class="sit" person-0 person-1>sitting \n down</gda>.')
    assert parsed.plain_text == "In the hall the man is sitting down."
    assert [(m.kind, m.label, m.object_ids, m.text, m.start, m.end) for m in parsed.mentions] == [
        ("object", "person", ("person-0",), "the man", 12, 19),
        ("action", "sit", ("person-0", "person-1"), "sitting down", 23, 35),
    ]
    assert parsed.well_formed


@pytest.mark.parametrize("text", ["a < b", "a < b and c > d", "I <3 it", "5 > 3", "", " ", "->", "<>", "<-", "a <= b"])
def test_angle_brackets_that_open_nothing_are_plain_text(text: str) -> None:
    parsed = tags.parse(text)
    assert parsed.plain_text == " ".join(text.split())
    assert parsed.well_formed


@pytest.mark.parametrize(
    ("text", "plain", "expected"),
    [
        ('The <gdo class="person" person-0 man</gdo> runs', "The man runs", ["truncated-tag"]),
        (f"{TAG[:-1]}", "the man", ["truncated-tag"]),
        ('A dog <gdo class="per', "A dog", ["truncated-tag"]),
        ('A dog <gdo class="dining ta', "A dog", ["truncated-tag"]),
        ('A dog <gdo class="person" pers', "A dog", ["truncated-tag"]),
        ("A dog <", "A dog", ["truncated-tag"]),
        ("A dog <gd", "A dog", ["truncated-tag"]),
        ("A dog </", "A dog", ["truncated-tag"]),
        ('<gdo class="person person-0>A</gdo>', "A", ["malformed-class"]),
        ("<gdo class='person' person-0>A</gdo>", "A", ["malformed-class"]),
        ("<gdo class=“person” person-0>A</gdo>", "A", ["malformed-class"]),
        ('<gdo person-0 class="person">A</gdo>', "A", ["malformed-class"]),
        ('<gdo class="person" person-0/>', "", ["malformed-tag"]),
        ('</gdo class="person">', "", ["malformed-tag", "stray-closing-tag"]),
        ("<gdo>A</gdo>", "A", ["missing-class", "no-id"]),
        ('<gdo class="person" person-0, person-1>A</gdo>', "A", ["malformed-id"]),
        ('<gdo class="person" person-01>A</gdo>', "A", ["malformed-id"]),
        ('<gdo class="person" 0>A</gdo>', "A", ["malformed-id"]),
        ('<gdo class="person" Person-0>A</gdo>', "A", ["malformed-id"]),
        ('<gdo class="person" person-0>...</gdo>', "...", ["empty-span"]),
        ("<person-0>A", "A", ["unknown-tag"]),
        ('<gda class="run person-9" person-0>A</gda>', "A", ["malformed-action"]),
        ('<gda class="person-9" person-0>A</gda>', "A", ["malformed-action"]),
        ('<gda class="RUNNING!!" person-0>A</gda>', "A", ["malformed-action"]),
        ('<gda class="Run" person-0>A</gda>', "A", ["malformed-action"]),
        ('<gda class="_" person-0>A</gda>', "A", ["malformed-action"]),
        ('<gda class="run-" person-0>A</gda>', "A", ["malformed-action"]),
        ('<gda class="ice-skate" person-0>A</gda><gda class="look at" person-0>B</gda>', "AB", []),
        ("<|im_end|>A", "A", ["special-token"]),
        ('[gdo class="person" person-0]A', '[gdo class="person" person-0]A', ["bracket-missing"]),
    ],
)
def test_faults(text: str, plain: str, expected: list[str]) -> None:
    assert (tags.strip(text), codes(text)) == (plain, expected)


def test_a_tag_that_is_never_closed_does_not_make_the_next_one_nested() -> None:
    text = f'<gdo class="person" person-1>The woman sees {TAG}'
    assert codes(text) == ["unclosed-tag"]
    assert [mention.text for mention in tags.parse(text).mentions] == ["The woman sees", "the man"]


def test_nested_tags_still_parse() -> None:
    parsed = tags.parse(f'<gdl class="couch" couch-0>where {TAG} sits</gdl>')
    assert [fault.code for fault in parsed.faults] == ["nested-tag"]
    assert [mention.text for mention in parsed.mentions] == ["where the man sits", "the man"]
    assert parsed.faults[0].mention == 1


def test_tags_that_nest_deep_are_faults_but_no_mentions() -> None:
    """Else the words inside would be kept as often as tags stand around them: 200 million characters here."""
    count = 20_000
    text = '<gdo class="a" a-0>x' * count + "</gdo>" * count + TAG
    parsed = tags.parse(text)
    assert tags.render_all(parsed) == text
    assert parsed.plain_text == "x" * count + "the man"
    assert len(parsed.mentions) == DEEPEST + 2
    assert [(m.start, m.end) for m in parsed.mentions[: DEEPEST + 1]] == [(n, count) for n in range(DEEPEST + 1)]
    assert (parsed.mentions[-1].text, parsed.mentions[-1].start) == ("the man", count)
    assert codes(text) == ["nested-tag"] * (count - 1)
    assert [fault.mention for fault in parsed.faults[: DEEPEST + 1]] == [*range(1, DEEPEST + 1), None]


def test_tags_that_cross_in_a_chain_are_all_mentions() -> None:
    """Each stands across its neighbours only, so none is deep."""
    names = ["gdo", "gda", "gdl"] * 20
    opened = [f'<{name} class="a" a-0>x ' for name in names]
    text = opened[0] + "".join(f"{opened[n]}</{names[n - 1]}>" for n in range(1, len(names))) + f"</{names[-1]}>"
    assert len(tags.parse(text).mentions) == len(names)


@pytest.mark.parametrize(
    ("object_id", "split"),
    [
        ("person-0", ("person", 0)), ("floor-wood-12", ("floor-wood", 12)), ("person", None), ("-0", None),
        ("a--0", None), ("person-", None), ("person-00", None), ("person-٣", None), ("Person-0", None), ("a b-0", None),
        ("", None),
    ],
)  # fmt: skip
def test_an_id_is_split_at_the_last_dash(object_id: str, split: tuple[str, int] | None) -> None:
    assert tags.split_id(object_id) == split


@pytest.mark.parametrize(
    ("kind", "label", "ids", "text"),
    [
        ("person", "person", ["person-0"], "a"), ("object", 'a"b', ["a-0"], "a"), ("object", "a", [], "a"),
        ("object", "a", ["a"], "a"), ("object", "a", ["a-0"], " "), ("object", "a", ["a-0"], TAG),
        ("object", "", ["a-0"], "a"), ("action", "Run", ["a-0"], "a"), ("action", "a-0", ["a-0"], "a"),
    ],
)  # fmt: skip
def test_render_refuses_what_no_tag_can_say(kind: str, label: str, ids: list[str], text: str) -> None:
    with pytest.raises(ValueError, match="cannot be written as a tag"):
        tags.render(kind, label, ids, text)


@settings(max_examples=300, deadline=None)
@given(hostile)
def test_parsing_never_raises_and_loses_nothing(text: str) -> None:
    parsed = tags.parse(text)
    assert tags.render_all(parsed) == text
    assert parsed.plain_text == " ".join(parsed.plain_text.split())
    assert {fault.code for fault in parsed.faults} <= tags.FAULTS
    for fault in parsed.faults:
        assert 0 <= fault.start <= fault.end <= len(text)
        assert fault.mention is None or 0 <= fault.mention < len(parsed.mentions)
    assert sum(len(mention.text) for mention in parsed.mentions) <= (DEEPEST + 1) * len(parsed.plain_text)
    starts = [mention.source_start for mention in parsed.mentions]
    assert starts == sorted(set(starts))
    for mention in parsed.mentions:
        assert parsed.plain_text[mention.start : mention.end] == mention.text == mention.text.strip()
        assert 0 <= mention.source_start < mention.open_end <= mention.source_end <= len(text)


@settings(max_examples=200, deadline=None)
@given(captions)
def test_well_formed_captions_come_back_from_their_parts(text: str) -> None:
    """Not only joined from the pieces: each tag is spelled anew from its kind, label, ids and words."""
    parsed = tags.parse(text)
    assert parsed.well_formed
    assert tags.render_all(parsed) == text
    for mention in parsed.mentions:
        inside = text[mention.open_end : mention.source_end - len("</gdo>")]
        source = text[mention.source_start : mention.source_end]
        assert tags.render(mention.kind, mention.label, mention.object_ids, inside) == source
        assert mention.text == tags.strip(inside)


@settings(max_examples=200, deadline=None)
@given(captions)
def test_stripping_twice_is_stripping_once(text: str) -> None:
    assert tags.strip(tags.strip(text)) == tags.strip(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "<gdo" * 100_000, '<gdo class="' * 40_000, "</gdo>" * 150_000, "(" * 1_000_000, "&lt;" + " " * 1_000_000,
        '<gdo class="a" a-0>x' * 40_000, '<gdo class="a" a-0>x</gda>' * 30_000, "<gdo " + "a-0 " * 250_000,
        "<gdo class=" + " " * 1_000_000, "<gdo" + " class" * 160_000 + ">", "<gdo class=“" * 40_000,
        '<gda class="a" a-0>' * 25_000 + "</gdo>" * 25_000, '<gdo class="a"' + " a-0" * 250_000, "<" * 1_000_000,
        '<gdo class="a" a-0>x<gda class="a" a-0>y</gdo>z</gda>' * 15_000,
    ],
    ids=range(15),
)  # fmt: skip
def test_a_long_hostile_text_is_read_in_linear_time(text: str) -> None:
    """The time limit is far above what linear reading takes; a quadratic one takes hours."""
    assert tags.render_all(tags.parse(text)) == text


def test_mutations_of_good_captions_never_raise() -> None:
    chance = random.Random(7)
    caption = f'{TAG} <gda class="sit" person-0>sits</gda> on <gdl class="floor-wood" floor-wood-0>the floor</gdl>.'
    for _ in range(3000):
        text = list(caption)
        for _ in range(chance.randint(1, 6)):
            place = chance.randrange(len(text))
            text[place : place + chance.randint(0, 3)] = chance.choice(FRAGMENTS)
        assert tags.render_all(tags.parse("".join(text))) == "".join(text)
