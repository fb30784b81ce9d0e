"""Captions that keep to the grammar of their frame: whatever a model writes, wherever it is cut off."""

import dataclasses
import json
import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from storage.tables import Detection
from tasks import caption_check, captioners, lexicon, prompts, tags
from tasks.caption_check import check
from tasks.captioners import CaptionConfig, CaptionRequest
from tasks.errors import CheckpointError, ConfigError, UnknownNameError
from tasks.tag_grammar import DASHES, LETTERS, MARKS, WORD, citable, text_for
from tasks.token_limits import Grammars, TokenLimit
from tasks.token_vocabulary import Vocabulary
from toyworld.captions import write_caption
from toyworld.grounding_report import show
from toyworld.tiny_captioner import build_tiny_captioner
from toyworld.wordings import STYLES

CAPTIONER = Path(__file__).parents[1] / "toyworld" / "checkpoints" / "captioner"
GOLDEN = json.loads((Path(__file__).parent / "golden" / "violations.json").read_text(encoding="utf-8"))
NARROWER = {"malformed-class", "malformed-tag", "prompt-echo", "unknown-tag"}
"""Golden captions that pass the check, and that the grammar leaves out: blanks in tags, `<` and `[` among words."""
THINGS = ["person", "car", "traffic-light", "dog"]
STUFF = ["floor-wood", "wall", "sky"]
HOSTILE = [
    "Person-0", "a b-0", 'x"y-1', "-3", "a--0", " -0", "5-1", "mid-2", "é-0", "robot_x-1", "<-1", "sur-real.-7",
    "tv-10", "tv-1", "z" * 70 + "-0", "\u200bq-1", "ｆ-1", "a>b-1", "[x-1", "gdo-1", "&lt;-2", "person-0",
    "x\n-1", "\\-1", "x/y-1",
]  # fmt: skip
LIMITS = [1, 2, 3, 4, 5, 8, 12, 20, 30, 40, 60, 90, 150]


@cache
def grammars() -> Grammars:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(CAPTIONER)
    return Grammars(Vocabulary(tokenizer, len(tokenizer)))


def scene(chance: random.Random) -> list[Detection]:
    kind = chance.randrange(6)
    if kind == 0:
        return []
    if kind == 1:
        return [rows.detection("sky-0", is_thing=False)]
    if kind == 2:
        return [rows.detection(one) for one in HOSTILE]
    counts = [(label, chance.randrange(13 if label == "person" else 4)) for label in THINGS + STUFF]
    found = [rows.detection(f"{label}-{n}", is_thing=label in THINGS) for label, count in counts for n in range(count)]
    chance.shuffle(found)
    return found


def random_caption(found: Sequence[Detection], limit: int, chance: np.random.Generator) -> tuple[str, bool]:
    """A caption by a model that likes brackets, dashes and broken characters, and whether it ended by itself."""
    held, row = grammars(), grammars().limit(found)
    vocabulary = held.vocabulary
    scores = np.zeros(len(vocabulary.tokens))
    for pattern in (rb".*[<>\"].*", rb".*-.*|.*gd.*|\s*\d+", rb"[^\x00-\x7f]+"):
        liked = vocabulary.which(lambda written, pattern=pattern: bool(re.fullmatch(pattern, written, re.S | re.I)))
        scores[liked] += chance.choice([0, 2, 5])
    scores[vocabulary.eos] += chance.choice([-5, 0, 3])
    opens = vocabulary.which(lambda written: written.lstrip().startswith(b"<g"))
    tokens: list[int] = []
    while len(tokens) < limit and vocabulary.eos not in tokens:
        left = limit - len(tokens)
        liking = scores + chance.gumbel(size=len(scores)) + 9 * opens * (not row.tag and chance.random() < 0.2)
        token = int(liking.argmax())
        if not row.take(token, left):
            allowed = row.allowed(left)
            assert not allowed[token]
            token = int(np.where(allowed, liking, -np.inf).argmax())
        row.accept(token)
        assert row.error is None
        tokens.append(token)
    assert row.matcher.is_error() is False  # told of all that was seen to be good at a glance
    assert row.error is None
    written = b"".join(vocabulary.tokens[token] for token in tokens)
    return written.decode(), tokens[-1] == vocabulary.eos


def accepts(found: Sequence[Detection], text: str) -> bool:
    """Whether the grammar takes the text token by token, and then the end."""
    vocabulary, row = grammars().vocabulary, grammars().limit(found)
    return all(_takes(row, token) for token in (*vocabulary.shortest(text.encode())[0], vocabulary.eos))


def _takes(row: TokenLimit, token: int) -> bool:
    if not row.take(token, 10_000):
        assert not row.allowed(10_000)[token]
        return False
    row.accept(token)
    return row.error is None


def check_random_captions(count: int, seed: int) -> None:
    chance, mentions, ended, cut = random.Random(seed), 0, 0, 0
    for number in range(count):
        found = scene(chance)
        text, stopped = random_caption(found, chance.choice(LIMITS), np.random.default_rng(seed + number))
        checked = check(text, found)
        assert not checked.violations, (text, checked.violations)
        mentions += len(checked.mentions)
        ended, cut = ended + stopped, cut + (not stopped)
    assert min(mentions, ended, cut) > count / 50


def test_random_captions_have_no_violation_wherever_they_are_cut_off() -> None:
    check_random_captions(250, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thousands_of_random_captions_have_no_violation() -> None:
    check_random_captions(10_000, 2)


def captions_of_a_random_model(folder: Path, count: int, decoding: str) -> Iterator[tuple[str, str, list[Detection]]]:
    """(text, finish_reason, detections) of a network of random weights at temperature 1, under limits of all kinds."""
    for limit in (1, 2, 5, 20, 40, 90):
        chance = random.Random(limit)
        config = CaptionConfig(
            checkpoint=str(folder),
            max_new_tokens=limit,
            temperature=1.0,
            decoding=decoding,
            device="cpu",
            batch_size=16,
        )
        asked = []
        for number in range(count):
            found = [dataclasses.replace(one, object_index=n) for n, one in enumerate(scene(chance))]
            found = [one for one in found if "[" not in one.object_id and "\n" not in one.object_id]
            asked.append(
                CaptionRequest(
                    frame_id=f"m_{number:06}",
                    frame_number=number,
                    candidate=0,
                    image=np.random.default_rng(number).integers(0, 255, (32, 48, 3), dtype=np.uint8),
                    detections=found,
                    prompt=prompts.render("groundcap-card", found),
                    seed=number,
                )
            )
        for one, result in zip(asked, captioners.load(config)(asked), strict=True):
            assert result.error is None
            assert result.mean_logprob is not None
            yield result.text, result.finish_reason, list(one.detections)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_captioner(tmp_path_factory.mktemp("tiny"))


def check_random_model(folder: Path, count: int) -> None:
    free = [check(text, found).codes for text, _, found in captions_of_a_random_model(folder, count, "free")]
    assert any(free)
    reasons = set()
    for text, reason, found in captions_of_a_random_model(folder, count, "constrained"):
        assert not check(text, found).violations, text
        reasons.add(reason)
    assert reasons == {"stop", "length"}


def test_a_model_of_random_weights_writes_no_violation(folder: Path) -> None:
    check_random_model(folder, 24)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_model_of_random_weights_writes_no_violation_in_thousands_of_captions(folder: Path) -> None:
    check_random_model(folder, 700)


# What the grammar takes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_the_drawn_worlds_reference_captions_are_taken(seed: int) -> None:
    shown = show(seed)
    for style in STYLES:
        assert accepts(shown.detections, write_caption(shown.facts, style, seed))


@pytest.mark.parametrize("example", GOLDEN, ids=lambda example: example["code"])
def test_golden_captions(example: dict[str, list[str]]) -> None:
    found = [rows.detection(one) for one in example["things"]]
    found += [rows.detection(one, is_thing=False) for one in example["stuff"]]
    assert not accepts(found, str(example["failing"]))
    assert accepts(found, str(example["passing"])) == (example["code"] not in NARROWER)


def published() -> Iterator[str]:
    data = Path(__file__).parent / "data" / "captions"
    for file in data.rglob("*.json"):
        for words in re.findall(r'"((?:[^"\\]|\\.){20,300}\.)"', file.read_text(encoding="utf-8")):
            yield json.loads(f'"{words}"')
    for file in data.rglob("*.txt"):
        if file.name.startswith(("hyp", "ref")):
            yield from file.read_text(encoding="utf-8").splitlines()


def test_published_captions_are_taken() -> None:
    found = [rows.detection(f"{label}-{n}") for label in ("person", "dog") for n in range(3)]
    texts = [text for text in published() if text.strip() and not check(text, found).violations]
    assert len(texts) > 15
    refused = [text for text in texts if not accepts(found, text)]
    assert not [text for text in refused if not set("<[") & set(text)]


WORDS = st.lists(
    st.sampled_from([*"gdoal -7&.,'’—é中(>\"\n_", "mid-4", "50-50", "kingdom", "man", "gd", "Person"]), min_size=1
)
SPAN = WORDS.map("".join)


@st.composite
def caption(draw: st.DrawFn) -> str:
    ids = st.lists(st.sampled_from(["person-0", "person-1", "person-10"]), min_size=1, max_size=3)
    parts = []
    for kind in draw(st.lists(st.sampled_from(["words", "object", "action", "location"]), min_size=1, max_size=5)):
        label = draw(st.sampled_from(["run", "look at", "ice-skate"])) if kind == "action" else "person"
        text = draw(SPAN)
        try:
            parts.append(text if kind == "words" else tags.render(kind, label, draw(ids), text))
        except ValueError:
            parts.append(text)
    return "".join(parts)


@settings(max_examples=150, deadline=None)
@given(caption())
def test_what_is_taken_is_clean_and_what_is_clean_is_taken(text: str) -> None:
    found = [rows.detection(f"person-{n}") for n in (0, 1, 10)]
    violations = check(text, found).violations
    if accepts(found, text):
        assert not violations
    elif not violations:  # only what the module says it leaves out
        plain = "|".join(re.split(r"<[^>]*>", text))
        assert re.search(r"(?i)(?<![a-z0-9_-])gd[oal]|[-_–—]\d", plain), text


@settings(max_examples=100, deadline=None)
@given(SPAN, st.data())
def test_plain_tokens_may_follow_anywhere_in_running_text(text: str, data: st.DataObject) -> None:
    vocabulary, row = grammars().vocabulary, grammars().limit([rows.detection("person-0")])
    if row.matcher.try_consume_tokens(list(before := vocabulary.shortest(text.encode())[0])) == len(before):
        plain = [token for token, is_plain in enumerate(vocabulary.plain) if is_plain]
        if text[-1] in "gGdD":
            plain = [token for token in plain if not vocabulary.goes_on[token]]
        token = data.draw(st.sampled_from(plain))
        assert row.matcher.validate_tokens([token]) == 1


def test_no_character_of_running_text_is_one_that_the_checker_objects_to() -> None:
    kinds = {"word": WORD, "letters": LETTERS, "marks": MARKS, "dashes": DASHES}
    named = {name: [chr(n) for a, b in pairs for n in range(ord(a), ord(b) + 1)] for name, pairs in kinds.items()}
    every = [character for characters in named.values() for character in characters]
    assert len(every) == len(set(every))
    assert not set("<[") & set(every)
    for name, characters in named.items():
        for character in characters:
            folded = caption_check._folded_character(character)
            assert not caption_check._CONTROL.match(character)
            assert (folded == "-") == (name == "dashes")
            assert name == "word" or not (folded.isascii() and (folded.isalnum() or folded in "[<"))
            assert name == "word" or not folded.isdecimal()
            assert name not in ("word", "letters") or character.isalnum()
    assert not any(label[-1].isdigit() or label.endswith("mid") for label in lexicon.LABELS)


# Frames -------------------------------------------------------------------------------------------------------------


def test_without_detections_no_tag_opens() -> None:
    assert accepts([], "Nothing to be seen.")
    row = grammars().limit([])
    assert not [
        written
        for written, may in zip(grammars().vocabulary.tokens, row.allowed(999), strict=True)
        if may and b"<" in written
    ]


def test_only_a_frames_own_ids_are_taken_and_stuff_does_nothing() -> None:
    found = [rows.detection("dog-0"), rows.detection("dog-1"), rows.detection("sky-0", is_thing=False)]
    for text, may in {
        '<gdo class="dog" dog-1 dog-0>Dogs</gdo>': True, '<gdo class="dog" dog-2>A dog</gdo>': False,
        '<gdo class="dog" dog-0 dog-0>A dog</gdo>': False, '<gdo class="dog" sky-0>A dog</gdo>': False,
        '<gda class="run" dog-0>runs</gda>': True, '<gda class="glow" sky-0>glows</gda>': False,
        '<gdl class="sky" sky-0>in the sky</gdl>': True, '<gdo class="dog" dog-0>...</gdo> x': False,
        '<gdo class="dog" dog-0>A <gdo class="dog" dog-1>dog</gdo></gdo>': False, "&lt;gdo": False, "[IMG] x": False,
        "a gdo class": False, "dog-1": False, "in his mid-40s, 50-50, at -5": True,
    }.items():  # fmt: skip
        assert accepts(found, text) == may, text


@pytest.mark.parametrize("object_id", HOSTILE)
def test_a_hostile_id_is_cited_without_fault_or_not_at_all(object_id: str) -> None:
    found = [rows.detection(object_id)]
    for one in citable(found).object_ids:
        assert accepts(found, tags.render("object", one.rpartition("-")[0], [one], "x"))
    assert (object_id in citable(found).object_ids) == (object_id in {
        "5-1", "mid-2", "é-0", "robot_x-1", "sur-real.-7", "tv-10", "tv-1", "gdo-1", "person-0", "x/y-1", "ｆ-1",
    })  # fmt: skip


def test_digits_after_a_dash_are_no_id_of_the_frame() -> None:
    assert not accepts([rows.detection("mid-2")], "in his mid-40s")
    assert not accepts([rows.detection("5-1")], "a 5-1 chance")
    assert not accepts([rows.detection("-3")], "at -5 degrees")


def test_compiled_grammars_are_bounded_and_found_again_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.token_limits.GRAMMARS", 3)
    held = Grammars(grammars().vocabulary)
    first = [rows.detection("dog-0"), rows.detection("car-0"), rows.detection("dog-1")]
    assert held.limit(first).matcher
    assert held.limit(first[::-1]).matcher
    assert list(held.compiled) == [citable(first)]
    for number in range(5):
        assert held.limit([rows.detection(f"cat-{number}")]).matcher
        assert held.limit(first).matcher
    assert len(held.compiled) == 3
    assert citable(first) in held.compiled


def test_a_row_that_nothing_may_follow_ends_with_an_error() -> None:
    row = grammars().limit([rows.detection("dog-0")])
    row.accept(grammars().vocabulary.ids[b"<"])
    row.accept(grammars().vocabulary.ids[b"x"])
    assert row.error is not None
    assert "may not follow" in row.error


@pytest.mark.parametrize("text", ["", "x", "the man is</gdo>", "a" * 70, "é—中"])
def test_the_shortest_way_to_write_a_text(text: str) -> None:
    vocabulary = grammars().vocabulary
    tokens, _ = vocabulary.shortest(text.encode())
    assert b"".join(vocabulary.tokens[token] for token in tokens).decode() == text
    assert len(tokens) <= len(PreTrainedTokenizerFast.from_pretrained(CAPTIONER).encode(text, add_special_tokens=False))


def test_grammar_text_for_servers() -> None:
    found = [rows.detection(f"dog-{n}") for n in range(3)]
    text = text_for(found)
    assert text.startswith("root ::= ")
    assert " dog-2" in text
    assert text_for(found, "lark").startswith("start: ")
    assert "<" not in text_for([])
    with pytest.raises(UnknownNameError, match="ebnf"):
        text_for(found, "ebfn")


@settings(max_examples=60, deadline=None)
@given(caption())
def test_what_a_server_is_let_write_is_clean(text: str) -> None:
    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import gbnf_to_lark

    found = [rows.detection(f"person-{n}") for n in (0, 1, 10)]
    vocabulary = grammars().vocabulary
    matcher = LLMatcher(vocabulary.grammar_tokenizer, gbnf_to_lark(text_for(found)), log_level=0)
    tokens = list(vocabulary.shortest(text.encode())[0])
    if matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting():
        assert accepts(found, text)
        assert not check(text, found).violations


def test_who_cannot_be_constrained_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be constrained"):
        captioners.identify(CaptionConfig(backend="scripted", decoding="constrained"))
    with pytest.raises(UnknownNameError, match="constrained"):
        CaptionConfig(decoding="constraint")


def test_a_tokenizer_that_is_not_byte_level_is_refused() -> None:
    from tokenizers import Tokenizer, models

    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "</s>": 1}, "a")), eos_token="</s>"
    )
    with pytest.raises(CheckpointError, match="byte-level"):
        Vocabulary(plain, 2)
