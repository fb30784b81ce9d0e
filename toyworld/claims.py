"""Tagged captions -> claims: what a caption says of the objects it cites, whoever wrote it and however badly.

The words of toyworld/wordings.py are looked for, inside tags for attributes, between and at the start of tags for
relations. What is said in other words is not found; what is found is exactly what toyworld/captions.py put in.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tasks import tags
from tasks.object_naming import clean_label
from toyworld.facts import GROUND, SCENE, Claim, Facts, judge
from toyworld.vocabulary import STUFF
from toyworld.wordings import (
    ACTION_WORDS,
    BETWEEN,
    COLOUR_WORDS,
    DOING,
    DOING_CLASSES,
    FACING_WORDS,
    KIND_WORDS,
    SCENE_WORDS,
)


def _any_of(words: Iterable[str]) -> str:
    """An alternative of whole words, the longest first."""
    return rf"\b(?:{'|'.join(re.escape(one) for one in sorted(words, key=len, reverse=True))})\b"


_KIND = re.compile(_any_of(KIND_WORDS), re.IGNORECASE)
_COLOUR = re.compile(_any_of(COLOUR_WORDS), re.IGNORECASE)
_ACTION = re.compile(_any_of(ACTION_WORDS), re.IGNORECASE)
_FACING = re.compile(_any_of(FACING_WORDS), re.IGNORECASE)
_RELATING = {words: relation for relation, (_, all_) in DOING.items() for words in all_}
_DOING = re.compile(_any_of(_RELATING), re.IGNORECASE)
_BEFORE = re.compile(_any_of(BETWEEN) + r"\s*\Z", re.IGNORECASE)
_FIRST = re.compile(r"\s*(" + _any_of(BETWEEN) + ")", re.IGNORECASE)
_ON_GROUND = re.compile(r"\s*(?:on|in|through|across)\s+the\b", re.IGNORECASE)
_SCENE = [
    (about, value, re.compile(rf"\b(?:{words})\b", re.IGNORECASE))
    for about, values in SCENE_WORDS.items()
    for value, words in values.items()
]
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
_STUFF = frozenset(map(clean_label, STUFF))
_LEMMAS = frozenset(ACTION_WORDS.values())


@dataclass(frozen=True, slots=True)
class Said:
    """A claim and the words that make it. `start`, `end`: characters of the tagged caption."""

    claim: Claim
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Span:
    """Words that tell something. `start`, `end`: characters of the tagged caption."""

    start: int
    end: int
    about: str
    """As Claim.about."""
    object_ids: tuple[str, ...]
    """Whose kind, colour, action, facing, ground or relation it is; empty for place, weather and light."""


def claims_of(caption: str) -> frozenset[Claim]:
    """Everything that a caption says. Never raises."""
    return frozenset(said.claim for said in read(caption))


def judged(caption: str, facts: Facts) -> Counter[tuple[str, str]]:
    """How many different claims about what ('kind', 'colour', ...) are 'right', 'wrong', 'not visible'."""
    return Counter((claim.about, judge(claim, facts)) for claim in claims_of(caption))


def attribute_spans(caption: str) -> list[Span]:
    """Where a caption says what, in order of place. An action is said by its words and by its tag's class."""
    spans: dict[tuple[int, int, str], tuple[str, ...]] = {}
    for said in read(caption):
        key = (said.start, said.end, said.claim.about)
        ids = () if said.claim.subject == SCENE else (said.claim.subject,)
        spans[key] = tuple(dict.fromkeys((*spans.get(key, ()), *ids)))
    return [Span(start, end, about, ids) for (start, end, about), ids in sorted(spans.items())]


def read(caption: str) -> list[Said]:
    """Everything that a caption says, and where. Never raises."""
    parsed = tags.parse(caption)
    reader = _Reader()
    for mention, text, start in _pieces(parsed):
        if mention is None:
            reader.words(text, start)
        elif mention.kind == "object":
            reader.object(mention, text, start)
        elif mention.kind == "action":
            reader.action(mention, text, start, caption)
        else:
            reader.location(mention, text, start)
        reader.scene(text, start)
    reader.end_sentence()
    return reader.said


def _pieces(parsed: tags.Parsed) -> Iterator[tuple[tags.Mention | None, str, int]]:
    """(innermost mention around it, words, their place) in order."""
    around: list[tags.Mention] = []
    waiting = list(reversed(parsed.mentions))
    for segment in parsed.segments:
        while waiting and waiting[-1].source_start <= segment.start:
            around.append(waiting.pop())
        around = [one for one in around if one.source_end > segment.start]
        if segment.role == "text":
            yield (around[-1] if around else None), segment.source, segment.start


@dataclass(slots=True)
class _Reader:
    """Reads a caption from left to right, and keeps who is being spoken of."""

    said: list[Said] = field(default_factory=list)
    subject: tuple[str, ...] = ()
    """Who the sentence is about so far: whom the last action cites, or the last object that was not another's."""
    gap: str = ""
    """Words since the last tag of this sentence."""
    gap_start: int = 0
    doing: tuple[tuple[str, ...], str, int, int] | None = None
    """An action that waits for its object: who, relation, place of its words."""
    ground: list[tuple[str, int, int]] = field(default_factory=list)
    """Stuff at the beginning of a sentence, waiting for who is on it: id, place of the words."""

    def words(self, text: str, start: int) -> None:
        """Words outside all tags."""
        ends = list(_SENTENCE_END.finditer(text))
        if ends:
            self.end_sentence()
            text, start = text[ends[-1].end() :], start + ends[-1].end()
        if not self.gap:
            self.gap_start = start
        self.gap += text

    def end_sentence(self) -> None:
        """Forget who was spoken of."""
        self._place_on_ground()
        self.subject, self.gap, self.doing = (), "", None

    def scene(self, text: str, start: int) -> None:
        """Place, weather and light, anywhere."""
        for about, value, pattern in _SCENE:
            for found in pattern.finditer(text):
                self.said.append(Said(Claim(SCENE, about, value), start + found.start(), start + found.end()))

    def object(self, mention: tags.Mention, text: str, start: int) -> None:
        """An object tag: what it says of its objects, and whose object they are."""
        self._attributes(mention, text, start)
        before = _BEFORE.search(self.gap)
        if self.doing and not any(map(str.isalnum, self.gap)):
            who, relation, first, last = self.doing
            self._add(who, relation, mention.object_ids, first, last)
        elif before and self.subject:
            at = self.gap_start + before.start()
            words = before.group().rstrip()
            self._add(self.subject, BETWEEN[words.lower()], mention.object_ids, at, at + len(words))
        else:
            self.subject = mention.object_ids
        self.doing, self.gap = None, ""

    def location(self, mention: tags.Mention, text: str, start: int) -> None:
        """A location tag: stuff that somebody is on, or a thing that somebody is at."""
        self._attributes(mention, text, start)
        if _is_stuff(mention):
            if found := _ON_GROUND.match(text):
                places = [(one, start + found.start(), start + found.end()) for one in mention.object_ids]
                self.ground += places
                if self.subject:
                    self._place_on_ground()
        elif (found := _FIRST.match(text)) and self.subject:
            relation = BETWEEN[found[1].lower()]
            self._add(self.subject, relation, mention.object_ids, start + found.start(1), start + found.end(1))
        self.doing, self.gap = None, ""

    def action(self, mention: tags.Mention, text: str, start: int, caption: str) -> None:
        """An action tag: what somebody does, where they look, or what they do with the next object."""
        self.subject, self.doing, self.gap = mention.object_ids, None, ""
        self._place_on_ground()
        if found := _FACING.search(text):
            value = FACING_WORDS[found.group().lower()]
            self._add(self.subject, "facing", [value], start + found.start(), start + found.end())
            return
        found = _DOING.search(text)
        relation = _RELATING[found.group().lower()] if found else DOING_CLASSES.get(mention.label)
        if relation:
            first, last = found.span() if found else (0, len(text))
            self.doing = (self.subject, relation, start + first, start + last)
            return
        for found in _ACTION.finditer(text):
            lemma = ACTION_WORDS[found.group().lower()]
            self._add(self.subject, "action", [lemma], start + found.start(), start + found.end())
        if mention.label in _LEMMAS:
            at = caption.find(mention.label, mention.source_start, mention.open_end)
            self._add(self.subject, "action", [mention.label], at, at + len(mention.label))

    def _attributes(self, mention: tags.Mention, text: str, start: int) -> None:
        if _is_stuff(mention):
            return
        for about, pattern, values in (("kind", _KIND, KIND_WORDS), ("colour", _COLOUR, COLOUR_WORDS)):
            for found in pattern.finditer(text):
                value = values[found.group().lower()]
                self._add(mention.object_ids, about, [value], start + found.start(), start + found.end())

    def _place_on_ground(self) -> None:
        for object_id, start, end in self.ground if self.subject else ():
            self._add(self.subject, GROUND, [object_id], start, end)
        self.ground = []

    def _add(self, subjects: Iterable[str], about: str, values: Iterable[str], start: int, end: int) -> None:
        values = list(values)
        self.said += [Said(Claim(one, about, value), start, end) for one in subjects for value in values]


def _is_stuff(mention: tags.Mention) -> bool:
    ids = [split[0] for split in map(tags.split_id, mention.object_ids) if split]
    return (ids[0] if ids else mention.label) in _STUFF
