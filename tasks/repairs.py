"""A caption at fault -> the same words with fewer tags at fault. Only what is certain is done, the rest stays.

    drop-markup    no object that a tag cites is there (or, of an object or place with several ids, one is not: its
                   words name all of them together): the tag goes, its words stay
    drop-id        an action is done by several, and some are not there: those ids go, the others still do it
    close-tag      a tag is never closed, and its end is certain: the caption was cut off inside it by the token limit,
                   within its sentence; or the words up to the next tag, or the caption's end, are the noun phrase of
                   the tag's class and nothing more
    drop-fragment  the caption was cut off inside the markup of a tag: the broken piece goes, it holds no words

Every step is checked: it is taken only when the plain text stays as it is, some violation goes and none comes. So a
repair never loses a word, never makes a fault, and done again changes nothing.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks import lexicon, tags
from tasks.caption_check import Checked, check_against

MOST_STEPS = 64
"""A caption with more tags at fault than this is not repaired: little of it is certain, and every step is checked."""
WORD_CODES = frozenset({"bare-id", "control-character", "prompt-echo", "special-token"})
"""Faults of the words, which no repair mends. Some are only seen while a tag names their class: it has to stay then."""
SENTENCE_ENDS = (".", "!", "?", "\n")


@dataclass(frozen=True, slots=True)
class Repaired:
    """A text after its repairs, and what was done. Without any, the text is as it was."""

    text: str
    repairs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """Put `new` in place of the characters from `start` to `end`, on one or more places from right to left."""

    said: tuple[str, ...]
    edits: tuple[tuple[int, int, str], ...]

    @property
    def start(self) -> int:
        return self.edits[-1][0]

    def on(self, text: str) -> str:
        for start, end, new in self.edits:
            text = text[:start] + new + text[end:]
        return text


def repair(text: str, things: Mapping[str, bool], *, cut_off: bool = False) -> Repaired:
    """Repair what is certain.

    things: the frame's object ids, each with whether it is a thing. cut_off: the caption ended at the token limit.
    """
    done: list[str] = []
    checked = check_against(text, things)
    while True:
        steps = list(_steps(text, things, cut_off=cut_off))
        if len(steps) > MOST_STEPS:
            break
        taken: list[str] = []
        for step in sorted(steps, key=lambda one: one.start, reverse=True):  # the places before it stay where they are
            new = step.on(text)
            if _is_better(after := check_against(new, things), checked):
                text, checked = new, after
                taken = [*step.said, *taken]
        done += taken
        if not taken:
            break
    return Repaired(text, tuple(done))


def _is_better(after: Checked, before: Checked) -> bool:
    """Whether no word and no fault of the words is lost, some fault is gone and none is new."""
    if after.plain_text != before.plain_text:
        return False
    now, then = _faults(after), _faults(before)
    return now < then and all(now[one] == count for one, count in then.items() if one[0] in WORD_CODES)


def _faults(checked: Checked) -> "Counter[tuple[str, str | None]]":
    return Counter((found.code, found.object_id) for found in checked.violations)


def _steps(text: str, things: Mapping[str, bool], *, cut_off: bool) -> Iterator[_Step]:
    """At most one step per tag."""
    parsed = tags.parse(text)
    closings = {one.start + len(one.source): one for one in parsed.segments if one.role == "close"}
    faults: dict[int | None, set[str]] = {}
    for fault in parsed.faults:
        faults.setdefault(fault.mention, set()).add(fault.code)
        if cut_off and fault.code == "truncated-tag" and fault.mention is None and fault.end == len(text):
            yield _Step(("drop-fragment",), ((fault.start, fault.end, ""),))
    opened = [segment.start for segment in parsed.segments if segment.role == "open"]
    for index, mention in enumerate(parsed.mentions):
        codes = faults.get(index, set())
        closing = None if "unclosed-tag" in codes else closings.get(mention.source_end)
        known = [one for one in mention.object_ids if one in things]
        is_open = "unclosed-tag" in codes
        if not known or (len(known) < len(mention.object_ids) and not (is_open and mention.kind == "action")):
            yield from _of_unknown(text, mention, known, closing)
        elif is_open:
            yield from _of_unclosed(text, mention, flat=mention.source_end in opened, cut_off=cut_off)
        elif cut_off and closing and mention.source_end == len(text) and not closing.source.endswith(">"):
            yield from _closed(text, mention, closing.start, mention.source_end)


def _of_unknown(
    text: str, mention: tags.Mention, known: Sequence[str], closing: tags.Segment | None
) -> Iterator[_Step]:
    """A tag that cites what is not there."""
    lost = [one for one in mention.object_ids if one not in known]
    if known and mention.kind == "action":
        words = text[mention.open_end : closing.start] if closing else ""
        if new := _rendered(mention, list(dict.fromkeys(known)), words):
            yield _Step(tuple(f"drop-id {one}" for one in lost), ((mention.source_start, mention.source_end, new),))
        return
    ends = [(closing.start, mention.source_end, "")] if closing else []
    yield _Step(
        (" ".join(["drop-markup", *mention.object_ids]),), (*ends, (mention.source_start, mention.open_end, ""))
    )


def _of_unclosed(text: str, mention: tags.Mention, *, flat: bool, cut_off: bool) -> Iterator[_Step]:
    """A tag that stays open. `flat`: the next mark opens a tag."""
    words = text[mention.open_end : mention.source_end]
    at_end = mention.source_end == len(text)
    if at_end and cut_off:
        if not any(map(str.isalnum, words)):
            yield _Step(("drop-fragment",), ((mention.source_start, mention.open_end, ""),))
        elif not any(end in words for end in SENTENCE_ENDS):
            yield from _closed(text, mention, mention.open_end + len(words.rstrip()), mention.source_end)
            return
    if (at_end or flat) and mention.kind != "action":
        named = list(lexicon.named_objects(words, {mention.label}))
        if len(named) == 1 and not any(map(str.isalnum, words[named[0][2] :])):
            end = mention.open_end + named[0][2]
            yield from _closed(text, mention, end, end)


def _closed(text: str, mention: tags.Mention, words_end: int, end: int) -> Iterator[_Step]:
    """Write the tag anew around its words up to `words_end`, in place of all up to `end`."""
    if new := _rendered(mention, mention.object_ids, text[mention.open_end : words_end]):
        blanks = text[words_end:end] if text[words_end:end].isspace() else ""
        said = " ".join(["close-tag", *mention.object_ids])
        yield _Step((said,), ((mention.source_start, end, new + blanks),))


def _rendered(mention: tags.Mention, object_ids: Sequence[str], words: str) -> str:
    """The tag in its one form; empty where it cannot be written so."""
    try:
        return tags.render(mention.kind, mention.label, object_ids, words)
    except ValueError:
        return ""
