"""What a tagged caption is made of, and how marks and words are put together. How a tag is spelled: tasks/tags.py."""

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

DEEPEST = 8
"""A tag inside more tags than this is no mention. So no word stands in more than nine mentions, however tags nest."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something the grammar does not allow. `start`, `end`: characters of the tagged text."""

    code: str
    start: int
    end: int
    mention: int | None = None
    """Index of the mention it belongs to; None where it belongs to none."""
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Mention:
    """One tag and its words. `start`, `end` lie in the plain text, `source_*` in the tagged text."""

    kind: str
    label: str
    object_ids: tuple[str, ...]
    text: str
    start: int
    end: int
    source_start: int
    source_end: int
    open_end: int
    """One past the opening tag, in the tagged text."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the tagged text: words ('text'), a grounding tag ('open', 'close'), or other markup ('junk')."""

    role: str
    source: str
    start: int


@dataclass(frozen=True, slots=True)
class Parsed:
    """A caption taken apart."""

    plain_text: str
    mentions: tuple[Mention, ...]
    faults: tuple[Fault, ...]
    segments: tuple[Segment, ...]

    @property
    def well_formed(self) -> bool:
        """Whether the grammar has nothing to object to."""
        return not self.faults


@dataclass(slots=True)
class Piece:
    """One mark of the tagged text. `holds` is False where a tag's opening has neither words nor an end."""

    role: str
    start: int
    end: int
    name: str = ""
    kind: str = ""
    label: str = ""
    object_ids: tuple[str, ...] = ()
    holds: bool = True
    faults: list[Fault] = field(default_factory=list)

    def blame(self, code: str, start: int | None = None, end: int | None = None, object_id: str | None = None) -> None:
        """Note a fault, of the whole piece unless a place is given."""
        at = self.start if start is None else start
        self.faults.append(Fault(code, at, self.end if end is None else end, None, object_id))


@dataclass(slots=True)
class _Element:
    """A tag as it is read. `plain_*` are positions in the plain text before blanks at the ends are cut off."""

    index: int
    piece: Piece
    plain_start: int
    plain_end: int
    end: int
    closed_at: int | None = None


class Reader:
    """Puts the pieces together: plain text, open and closed tags, faults. Every mark is amortised constant time."""

    def __init__(self) -> None:
        self.plain: list[str] = []
        self.length = 0
        self.blank = False
        self.segments: list[Segment] = []
        self.elements: list[_Element] = []
        self.open: list[_Element] = []
        self.open_by_name: dict[str, list[_Element]] = {}
        self.newest: _Element | None = None
        self.faults: list[Fault] = []

    def words(self, source: str, start: int) -> None:
        """Text between marks."""
        if not source:
            return
        self.segments.append(Segment("text", source, start))
        for run in re.finditer(r"\S+|\s+", source):
            if run.group()[0].isspace():
                self.blank = self.length > 0
                continue
            word = " " + run.group() if self.blank else run.group()
            self.blank = False
            self.plain.append(word)
            self.length += len(word)

    def mark(self, piece: Piece, source: str) -> None:
        """A tag, or other markup."""
        self.segments.append(Segment("open" if piece.role == "empty" else piece.role, source, piece.start))
        if piece.role == "junk" or (piece.role == "open" and not piece.holds):
            self.faults += piece.faults
            return
        if self.newest:  # should it never be closed, its words end here
            self.newest.plain_end, self.newest.end, self.newest = self.length, piece.start, None
        if piece.role == "close":
            self._close(piece)
            return
        element = _Element(len(self.elements), piece, self.length, self.length, piece.end)
        self.elements.append(element)
        self.faults += [replace(fault, mention=element.index) for fault in piece.faults]
        if piece.role == "open":
            self.newest = element
            self.open.append(element)
            self.open_by_name.setdefault(piece.name, []).append(element)

    def _close(self, piece: Piece) -> None:
        """Close the newest open tag of that name; without one, the newest of any name, which is a fault."""
        for stack in (self.open, *self.open_by_name.values()):
            while stack and stack[-1].closed_at is not None:
                stack.pop()
        same = self.open_by_name.get(piece.name)
        if not self.open:
            self.faults += [*piece.faults, Fault("stray-closing-tag", piece.start, piece.end)]
            return
        if not same:
            piece.blame("mismatched-closing-tag")
        element = (same or self.open).pop()
        element.closed_at, element.plain_end, element.end = piece.start, self.length, piece.end
        self.faults += [replace(fault, mention=element.index) for fault in piece.faults]

    def finish(self, end: int) -> Parsed:
        """All of it, once the text of `end` characters is read."""
        if self.newest:
            self.newest.plain_end, self.newest.end = self.length, end
        plain = "".join(self.plain)
        depths = _depths(self.elements)
        kept = [element for element in self.elements if depths[element.index] <= DEEPEST]
        mentions = {element.index: _mention(element, plain) for element in kept}
        faults = self.faults + _structure_faults(self.elements, mentions)
        if len(kept) < len(self.elements):
            number = {element.index: place for place, element in enumerate(kept)}
            faults = [replace(one, mention=None if one.mention is None else number.get(one.mention)) for one in faults]
        faults.sort(key=lambda fault: (fault.start, fault.end, fault.code))
        return Parsed(plain, tuple(mentions.values()), tuple(faults), tuple(self.segments))


def _mention(element: _Element, plain: str) -> Mention:
    start, end, piece = element.plain_start, element.plain_end, element.piece
    start += plain.startswith(" ", start)
    start = min(start, end)
    return Mention(
        piece.kind, piece.label, piece.object_ids, plain[start:end], start, end, piece.start, element.end, piece.end
    )


def _depths(elements: Sequence[_Element]) -> list[int]:
    """In how many closed tags each tag opens. `elements` in order of opening."""
    depths = []
    around: list[int] = []  # closing places of the tags around, a heap: tags that cross close out of order
    for element in elements:
        while around and around[0] <= element.piece.start:
            heapq.heappop(around)
        depths.append(len(around))
        if element.closed_at is not None:
            heapq.heappush(around, element.closed_at)
    return depths


def _structure_faults(elements: Sequence[_Element], mentions: Mapping[int, Mention]) -> list[Fault]:
    """Tags that stay open, hold no words, or stand inside or across another one.

    `elements` in order of opening; `mentions` by the index of their element, without those that stand too deep.
    """
    faults = []
    around: list[int] = []  # closing places of the tags around, innermost last
    for element in elements:
        piece, closed_at = element.piece, element.closed_at
        if piece.role == "empty":
            continue
        if closed_at is None:
            faults.append(Fault("unclosed-tag", piece.start, piece.end, element.index))
            continue
        mention = mentions.get(element.index)
        if mention and not any(character.isalnum() for character in mention.text):
            faults.append(Fault("empty-span", piece.start, element.end, element.index))
        while around and around[-1] <= piece.start:
            around.pop()
        if around:
            code = "nested-tag" if closed_at < around[-1] else "crossing-tags"
            faults.append(Fault(code, piece.start, element.end, element.index))
        around.append(closed_at)
    return faults
