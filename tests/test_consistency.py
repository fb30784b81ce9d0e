"""The consistency check: golden examples, planted corruptions, the stage."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import rows
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import catalog
from storage.store import Store, TableRef
from storage.tables import Caption, Detection, Mention, Verdict, Violation
from tasks import tags
from tasks.consistency import CODES, check, check_captions, violations_markdown
from tasks.errors import StoreError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "violations.json").read_text(encoding="utf-8"))
PAGE = Path(__file__).parents[1] / "docs" / "violations.md"
THINGS = ["person", "dog", "handbag", "traffic-light", "chair", "couch"]
STUFF = ["sky", "floor-wood", "wall", "grass"]
VERBS = ["sit", "run", "look at", "hold", "smile"]
FRAGMENTS = ["<gdo", ' class="dog"', " dog-0", ">", "x", "</gdo>", "dog-1", "[IMG]", "[dog-0: 1,", "\x00", "&lt;"]
SPELLINGS = [
    "Person-7", "PERSON-7", "person-07", "person_7", "_person-7_", "person-7-", "man--person-7--runs", "person--7",
    "person\u20117", "person\u20137", "person\u20147", "person\u22127", "person-7th", "Traffic_Light-1", "#dog-3",
    "*dog-3*", "ｐｅｒｓｏｎ－７", "person-7\u2014it", "person-12345678901",
]  # fmt: skip
INVISIBLE = ["\u200b", "\u200c", "\u200d", "\u2060", "\u00ad", "\ufeff"]
CAPTIONS = 150
"""Clean captions per kind of corruption: 40 kinds make 6,000 corrupted ones."""


def detection(object_id: str, is_thing: bool = True, frame_id: str = "m_000000") -> Detection:
    return rows.detection(object_id, is_thing=is_thing, frame_id=frame_id)


def example_detections(example: dict[str, list[str]]) -> list[Detection]:
    return [detection(one) for one in example["things"]] + [detection(one, False) for one in example["stuff"]]


def found(text: str, detections: list[Detection]) -> list[str]:
    return [violation.code for violation in check(text, detections).violations]


@pytest.mark.parametrize("example", GOLDEN, ids=lambda example: example["code"])
def test_golden_examples(example: dict[str, list[str]]) -> None:
    assert set(found(str(example["failing"]), example_detections(example))) == {example["code"]}
    assert found(str(example["passing"]), example_detections(example)) == []


def test_every_code_has_an_example_and_a_remedy() -> None:
    assert sorted(CODES) == [example["code"] for example in GOLDEN]
    assert set(CODES) >= tags.FAULTS
    assert all(code.meaning and code.remedy for code in CODES.values())


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == violations_markdown(), "run: python -m docs.generate"


def test_a_verdict_is_the_first_violation_of_its_mention() -> None:
    text = '<gdo class="dog" person-9 person-9>A</gdo> <gdo class="person" person-0>B</gdo>'
    checked = check(text, [detection("person-0")])
    assert checked.verdicts == ("duplicate-id", "ok")
    assert checked.codes == ["duplicate-id", "label-mismatch", "unknown-object"]
    assert {violation.object_id for violation in checked.violations} == {"person-9"}


def test_an_untagged_caption_is_no_violation() -> None:
    assert found("A man sits.", [detection("person-0")]) == []
    for text in ("A MI-6 agent drinks 7-up with a 50-50 chance.", "MI\u20116 and MI_6", "a chairperson-7", "person 7"):
        assert found(text, [detection("person-0")]) == []


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_id_among_the_words_is_found_in_every_spelling(spelling: str) -> None:
    """At its place, though letters before it grow when they are made small, and under the id it means."""
    (violation,) = check(f"İß ﬁne {spelling} runs", []).violations
    label = "traffic-light" if "ight" in spelling else "dog" if "dog" in spelling else "person"
    number = {"traffic-light": "1", "dog": "3", "person": "7"}[label]
    assert violation.object_id == (None if "123" in spelling else f"{label}-{number}")
    inside = f"İß ﬁne {spelling} runs"[violation.start : violation.end]
    assert inside in spelling
    assert inside[0].isalpha()
    assert inside[-1].isdigit()


def test_labels_of_tags_are_known_but_a_hostile_one_is_not() -> None:
    assert found('<gdo class="Robot" robot-0>A</gdo> and Robot-3', [])[-1] == "bare-id"
    assert "bare-id" not in found('<gdo class=" " robot-0>A</gdo> -3 and -4', [])


def test_an_id_without_a_label_makes_no_trouble() -> None:
    assert found("5-0", [detection("-3"), detection("person-0")]) == []
    assert found("at -5", [detection("-3")]) == ["bare-id"]


def test_messages_do_not_repeat_a_long_caption_for_every_fault() -> None:
    text = '<gdo class="' + "a" * 10_000 + '" ' + " ".join(f"b-{n}" for n in range(1000)) + ">x</gdo>"
    assert sum(len(violation.message) for violation in check(text, []).violations) < 40 * len(text)


def test_without_detections_every_citation_is_unknown() -> None:
    assert found('<gdo class="person" person-0>A man</gdo> sits.', []) == ["unknown-object"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_checking_never_raises(text: str) -> None:
    checked = check(text, [detection("dog-0")])
    assert set(checked.codes) <= set(CODES)
    assert len(checked.verdicts) == len(checked.mentions)
    assert all(0 <= violation.start <= violation.end <= len(text) for violation in checked.violations)


# Planted corruptions ------------------------------------------------------------------------------------------------


class Scene:
    """Random detections, and a caption of tagged and plain parts that is true of them."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        counts = {label: chance.randint(1, 4) for label in chance.sample(THINGS, 3) + chance.sample(STUFF, 2)}
        self.detections = [detection(f"{a}-{n}", a in THINGS) for a in counts for n in range(counts[a])]
        self.ids = [one.object_id for one in self.detections]
        self.parts = [self.tag("object"), *(self.part() for _ in range(chance.randint(1, 6))), self.tag("action")]
        chance.shuffle(self.parts)

    def part(self) -> str:
        return self.chance.choice([self.tag, self.words])()

    def words(self) -> str:
        return self.chance.choice(["in the light of dusk,", "a < b", "beside them;", "(quietly)", "near\n", "at 5-0"])

    def tag(self, kind: str = "") -> str:
        kind = kind or self.chance.choice(["object", "location", "action"])
        pool = [one for one in self.detections if one.is_thing or kind != "action"]
        label = self.chance.choice(pool).label
        ids = [one.object_id for one in pool if one.label == label]
        ids = self.chance.sample(ids, self.chance.randint(1, len(ids)))
        return tags.render(kind, self.chance.choice(VERBS) if kind == "action" else label, ids, self.inside(label))

    def inside(self, label: str) -> str:
        return self.chance.choice([f"the {label}", "it", "something\nred", "two of them"])

    @property
    def text(self) -> str:
        return " ".join(self.parts) + "."

    def pick(self, *names: str) -> int:
        return self.chance.choice([i for i, part in enumerate(self.parts) if part.startswith(names or "<gd")])

    def change(self, old: str, new: str, *names: str, last: bool = False) -> str:
        """The caption with `old` replaced by `new`, once, in one of its tags."""
        place = self.pick(*names)
        part = self.parts[place]
        assert old in part
        self.parts[place] = new.join(part.rsplit(old, 1)) if last else part.replace(old, new, 1)
        return self.text

    def change_id(self, new: str, *names: str) -> str:
        """The caption with one cited id replaced; {} in `new` is the id, {1} its label."""
        place = self.pick(*names)
        old = self.chance.choice(tags.parse(self.parts[place]).mentions[0].object_ids)
        head, bracket, rest = self.parts[place].partition(">")
        self.parts[place] = head.replace(f" {old}", f" {new.format(old, old.rpartition('-')[0])}", 1) + bracket + rest
        return self.text

    def no_ids(self) -> str:
        place = self.pick()
        head, _, rest = self.parts[place].partition(">")
        self.parts[place] = head[: head.rindex('"') + 1] + ">" + rest
        return self.text

    def relabel(self) -> str:
        place = self.pick("<gdo", "<gdl")
        label = tags.parse(self.parts[place]).mentions[0].label
        other = self.chance.choice([one for one in THINGS + STUFF if one != label])
        self.parts[place] = self.parts[place].replace(f'"{label}"', f'"{other}"')
        return self.text

    def other_id(self) -> str:
        """An id that exists, of another label, beside the right ones."""
        place = self.pick("<gdo", "<gdl")
        label = tags.parse(self.parts[place]).mentions[0].label
        other = self.chance.choice([one.object_id for one in self.detections if one.label != label])
        self.parts[place] = self.parts[place].replace(">", f" {other}>", 1)
        return self.text

    def stuff_acts(self) -> str:
        stuff = self.chance.choice([one.object_id for one in self.detections if not one.is_thing])
        self.parts.append(tags.render("action", "glow", [stuff], "glowing"))
        return self.text

    def nest(self) -> str:
        place = self.pick("<gdo", "<gdl")
        self.parts[place] = self.parts[place].replace(">", f">{self.tag('object')} ", 1)
        return self.text

    def cross(self) -> str:
        one, other = self.tag("object"), self.tag("action")
        self.parts.append(one[: -len("</gdo>")] + other[: other.index(">") + 1] + "so</gdo> on</gda>")
        return self.text

    def empty(self) -> str:
        place = self.pick()
        head, _, rest = self.parts[place].partition(">")
        self.parts[place] = head + ">" + self.chance.choice(["", " ", "\n", "."]) + rest[rest.rindex("</") :]
        return self.text

    def cut(self) -> str:
        """Cut where a token limit would cut: inside the opening or the closing of the last tag."""
        self.parts = self.parts[: self.pick() + 1]
        text = " ".join(self.parts)
        opening = text.rindex("<gd")
        start = self.chance.choice([(opening, text.index(">", opening)), (text.rindex("</"), len(text) - 1)])
        return text[: self.chance.randint(start[0] + 1, start[1])]

    def add(self, *what: str) -> str:
        self.parts.insert(self.chance.randint(0, len(self.parts)), self.chance.choice(what))
        return self.text


CORRUPTIONS: dict[str, tuple[str, Callable[[Scene], str]]] = {
    "number out of range": ("unknown-object", lambda s: s.change_id("{1}-44")),
    "object of a class that is not there": ("unknown-object", lambda s: s.change_id("zebra-0")),
    "actor that is not there": ("unknown-object", lambda s: s.change_id("person-77", "<gda")),
    "class of another object": ("label-mismatch", Scene.relabel),
    "id of another class added": ("label-mismatch", Scene.other_id),
    "id repeated": ("duplicate-id", lambda s: s.change_id("{0} {0}")),
    "stuff that acts": ("action-cites-stuff", Scene.stuff_acts),
    "closing tag lost": ("unclosed-tag", lambda s: s.change("</gdo>", "", "<gdo")),
    "stray closing tag": ("stray-closing-tag", lambda s: s.text + "</gdl>"),
    "closing tag doubled": ("stray-closing-tag", lambda s: s.change("</gda>", "</gda></gda>", "<gda")),
    "closing tag of another kind": ("mismatched-closing-tag", lambda s: s.change("</gdo>", "</gda>", "<gdo")),
    "tag inside a tag": ("nested-tag", Scene.nest),
    "tags that cross": ("crossing-tags", Scene.cross),
    "words lost": ("empty-span", Scene.empty),
    "ids lost": ("no-id", Scene.no_ids),
    "underscore in an id": ("malformed-id", lambda s: s.change_id("person_0")),
    "comma after an id": ("malformed-id", lambda s: s.change_id("{0},")),
    "number lost": ("malformed-id", lambda s: s.change_id("person")),
    "number filled up": ("malformed-id", lambda s: s.change_id("person-007")),
    "tag of another name": ("unknown-tag", lambda s: s.change("<gdo", "<obj", "<gdo")),
    "HTML": ("unknown-tag", lambda s: s.add("<b>bold</b>", "<br/>", "<person-0>")),
    "class attribute lost": ("missing-class", lambda s: s.change('class="', 'label="')),
    "class empty": ("empty-class", lambda s: s.change('class="', 'class="" x="')),
    "quotes lost": ("malformed-class", lambda s: s.change('"', "")),
    "quotes of another sort": ("malformed-class", lambda s: s.change('class="', "class='")),
    "tag in capitals": ("uppercase-tag", lambda s: s.change("<gda", "<GDA", "<gda")),
    "blank after the bracket": ("malformed-tag", lambda s: s.change("<gd", "< gd")),
    "bracket lost at the end of a tag": ("truncated-tag", lambda s: s.change(">", " ")),
    "bracket lost at the start of a tag": ("bracket-missing", lambda s: s.change("<gd", "gd")),
    "tag escaped": ("bracket-missing", lambda s: s.change("<gd", "&lt;gd")),
    "cut inside a tag": ("truncated-tag", Scene.cut),
    "special token": ("special-token", lambda s: s.add("[IMG]", "[INST]", "</s>", "<s>", "<|im_end|>", "[IMG_BREAK]")),
    "prompt repeated": ("prompt-echo", lambda s: s.add("[DETECTIONS]", "[person-0: 0.38,0.35,0.12,0.40]")),
    "id among the words": ("bare-id", lambda s: s.add("person-0", "(dog-3)", "sky-0's")),
    "id among the words in another spelling": ("bare-id", lambda s: s.add(*SPELLINGS)),
    "id in the class of an action": ("malformed-action", lambda s: s.change('class="', 'class="person-9 ', "<gda")),
    "no lemma in the class of an action": ("malformed-action", lambda s: s.change('class="', 'class="No_', "<gda")),
    "control character": ("control-character", lambda s: s.add("\x00", "\ufffd", "\u202e", "a\x1bb")),
    "invisible character": ("control-character", lambda s: s.add(*(f"a{one}b" for one in INVISIBLE))),
    "nothing left": ("empty-caption", lambda s: s.chance.choice(["", " \n", "...", "</s>"])),
}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_planted_corruptions_are_caught(kind: str) -> None:
    expected, corrupt = CORRUPTIONS[kind]
    chance = random.Random(kind)
    for _ in range(CAPTIONS):
        scene = Scene(chance)
        clean = scene.text
        assert found(clean, scene.detections) == []
        text = corrupt(scene)
        codes = found(text, scene.detections)
        assert expected in codes, f"{text!r}: {codes}"


def test_enough_corruptions_are_planted() -> None:
    assert len(CORRUPTIONS) * CAPTIONS >= 6000
    assert {code for code, _ in CORRUPTIONS.values()} >= set(CODES) - {"unknown-attribute"}


# The stage ----------------------------------------------------------------------------------------------------------


def caption(frame: int, text: str, error: str | None = None, plain: str | None = None) -> Caption:
    return rows.caption(f"m_{frame:06}", text, captioner="demo", error=error, plain_text=plain)


def stored(store: Store, captions: list[Caption], detections: list[Detection]) -> tuple[TableRef, TableRef]:
    refs = []
    for row, many, captioner in ((Caption, captions, "demo"), (Detection, detections, "")):
        output = store.output([row], stage=row.table, shard="m/0000", version=1, config={"rows": repr(many)},
                              captioner=captioner)  # fmt: skip
        with output.writer() as write:
            for one in many:
                write(one)
        refs.append(output.ref)
    return refs[0], refs[1]


def test_the_stage_gives_every_caption_a_verdict(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    good = 'A  <gdo class="person" person-0>man</gdo>.'
    rows = [caption(0, good), caption(1, good), caption(2, "", error="out of memory"), caption(3, "Bare.")]
    captions, detections = stored(store, rows, [detection("person-0"), detection("dog-0", frame_id="m_000001")])
    ref = check_captions(captions, detections, store)
    verdicts = list(store.read(ref, Verdict))
    assert [(v.verdict, v.codes, v.mentions, v.violations) for v in verdicts] == [
        ("ok", [], 1, 0), ("violations", ["unknown-object"], 1, 1), ("failed", [], 0, 0), ("ok", [], 0, 0),
    ]  # fmt: skip
    assert (ref.captioner, ref.shard, ref.rows) == ("demo", "m/0000", 4)
    assert {(v.captions_fingerprint, v.detections_fingerprint) for v in verdicts} == {
        (captions.fingerprint, detections.fingerprint)
    }
    mentions = store.ref("mentions", "m/0000", "demo")
    violations = store.ref("violations", "m/0000", "demo")
    assert mentions
    assert violations
    assert [(m.text, m.start, m.end, m.verdict) for m in store.read(mentions, Mention)] == [
        ("man", 2, 5, "ok"), ("man", 2, 5, "unknown-object"),
    ]  # fmt: skip
    (violation,) = store.read(violations, Violation)
    assert good[violation.start : violation.end] == '<gdo class="person" person-0>'
    assert (violation.caption_id, violation.object_id) == ("m_000001/demo/0", "person-0")


def test_the_stage_runs_again_only_when_an_input_changes(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    rows = [caption(0, 'A <gdo class="person" person-0>man</gdo>.')]
    captions, detections = stored(store, rows, [detection("person-0")])
    first = check_captions(captions, detections, store)
    written = (tmp_path / first.path).stat().st_mtime_ns
    assert check_captions(captions, detections, store) == first
    assert (tmp_path / first.path).stat().st_mtime_ns == written
    captions, detections = stored(store, rows, [detection("person-1")])
    again = check_captions(captions, detections, store)
    assert again.fingerprint != first.fingerprint
    assert [verdict.verdict for verdict in store.read(again, Verdict)] == ["violations"]


def test_no_verdict_is_kept_for_captions_that_were_made_anew_and_came_out_otherwise(tmp_path: Path) -> None:
    """A server may answer the same request with other words, after a damaged file was deleted say."""
    store = Store(str(tmp_path))

    def caption_again(text: str) -> TableRef:
        output = store.output([Caption], stage="caption", shard="m/0000", version=1, config=None, captioner="demo",
                              inputs=[detections.fingerprint], may_vary=True)  # fmt: skip
        with output.writer() as write:
            write(caption(0, text))
        return output.ref

    def ok() -> list[tuple[str]]:
        with catalog.connect(str(tmp_path)) as connection:
            return connection.sql("select text from captions_ok").fetchall()

    good, bad = (f'<gdo class="person" person-{n}>A man</gdo>.' for n in (0, 7))
    frames = rows.write(store, [rows.frame(0, "m")], shard="m/0000")
    detections = rows.write(store, [detection("person-0")], shard="m/0000", inputs=[frames.fingerprint])
    check_captions(caption_again(good), detections, store)
    assert ok() == [(good,)]
    captions = caption_again(bad)
    assert ok() == []  # also before it is checked
    check_captions(captions, detections, store)
    assert ok() == []
    check_captions(caption_again(good), detections, store)
    assert ok() == [(good,)]


def test_plain_text_of_another_grammar_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    refs = stored(store, [caption(0, "A <b>man", plain="A <b>man")], [])
    with pytest.raises(StoreError, match="another tag grammar"):
        check_captions(*refs, store)
