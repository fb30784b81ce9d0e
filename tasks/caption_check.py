"""Does a caption cite what is there, and nothing else? Pure text against object ids; no model.

The grammar is tasks/tags.py's, the codes are tasks/violation_codes.py's.
"""

import bisect
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache

from storage.tables import Detection
from tasks import lexicon, tags
from tasks.violation_codes import CODES

LONGEST_LABEL = 64
"""Characters of a class that is looked for among the words; a longer one, of a hostile tag, is not."""
SHOWN = 80
"""Characters of the caption that a message repeats."""

_CONTROL = re.compile(  # control, invisible (soft hyphen, zero width, byte order, direction) and replacement characters
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ufffd\ud800-\udfff\U000e0000-\U000e007f]+"
)
_SPECIAL = re.compile(
    r"\[/?(?:IMG|IMG_BREAK|IMG_END|INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|PREFIX|MIDDLE|SUFFIX)\]"
)
# These two read what `_folded` made of the words.
_ECHO = re.compile(r"\[/?detections\]|\[[\w-]+-\d+\s*:[^\[\]\n]*\]?")
_NUMBER = re.compile(r"(?<!-)-++(\d++)")
_DASHES = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58_")


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation of a caption. `start`, `end`: characters of the tagged text; `mention`: an index, if it has one."""

    code: str
    object_id: str | None
    start: int
    end: int
    message: str
    mention: int | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """A caption taken apart and checked. `verdicts` has one per mention: 'ok', or the code of its first violation."""

    plain_text: str
    mentions: tuple[tags.Mention, ...]
    verdicts: tuple[str, ...]
    violations: tuple[Finding, ...]

    @property
    def codes(self) -> list[str]:
        """The different codes, sorted."""
        return sorted({violation.code for violation in self.violations})


def check(text: str, detections: Iterable[Detection]) -> Checked:
    """Check one caption against the detections of its frame. Never raises, whatever the text."""
    return check_against(text, {detection.object_id: detection.is_thing for detection in detections})


def check_against(text: str, things: Mapping[str, bool]) -> Checked:
    """The same against the frame's object ids, each with whether it is a thing."""
    parsed = tags.parse(text)
    findings = [_grammar_finding(fault, text) for fault in parsed.faults]
    for index, mention in enumerate(parsed.mentions):
        findings += _mention_findings(index, mention, things)
    findings += _text_findings(text, parsed, things)
    if not any(character.isalnum() for character in parsed.plain_text):
        findings.append(Finding("empty-caption", None, 0, len(text), _said("empty-caption")))
    findings.sort(key=lambda found: (found.start, found.end, found.code, found.object_id or ""))
    verdicts = ["ok"] * len(parsed.mentions)
    for found in reversed(findings):
        if found.mention is not None:
            verdicts[found.mention] = found.code
    return Checked(parsed.plain_text, parsed.mentions, tuple(verdicts), tuple(findings))


def _said(code: str, detail: str = "") -> str:
    return f"{CODES[code].meaning}: {detail}" if detail else CODES[code].meaning


def _grammar_finding(fault: tags.Fault, text: str) -> Finding:
    shown = _short(text[fault.start : min(fault.end, fault.start + SHOWN + 1)])
    return Finding(fault.code, fault.object_id, fault.start, fault.end, _said(fault.code, shown), fault.mention)


def _short(source: str) -> str:
    return source if len(source) <= SHOWN else source[: SHOWN - 3] + "..."


def _mention_findings(index: int, mention: tags.Mention, things: Mapping[str, bool]) -> Iterator[Finding]:
    """What is wrong with the well-formed ids of one tag; the malformed ones are the grammar's."""
    seen = set()
    for object_id in mention.object_ids:
        split = tags.split_id(object_id)
        if split is None:
            continue
        for code, detail in _id_faults(mention, object_id, split[0], things, repeated=object_id in seen):
            yield Finding(code, object_id, mention.source_start, mention.open_end, _said(code, detail), index)
        seen.add(object_id)


def _id_faults(
    mention: tags.Mention, object_id: str, label: str, things: Mapping[str, bool], *, repeated: bool
) -> Iterator[tuple[str, str]]:
    """(code, detail) for one cited id. `label` is the id's own; `repeated`: the tag has cited it before."""
    if repeated:
        yield "duplicate-id", object_id
        return
    if object_id not in things:
        near = [one for one in things if one.rpartition("-")[0] == label]
        yield "unknown-object", f"{object_id}; of {label!r} there is {', '.join(near) or 'none'}"
    elif mention.kind == "action" and not things[object_id]:
        yield "action-cites-stuff", f"{_short(mention.label)!r} by {object_id}"
    if mention.kind != "action" and mention.label.strip() and mention.label != label:
        yield "label-mismatch", f"class {_short(mention.label)!r}, id {object_id}"


def _text_findings(text: str, parsed: tags.Parsed, things: Mapping[str, bool]) -> Iterator[Finding]:
    """What may not stand among the words."""
    for found in _CONTROL.finditer(text):
        detail = " ".join(f"U+{ord(character):04X}" for character in found.group()[:8])
        yield Finding("control-character", None, *found.span(), _said("control-character", detail))
    labels = {object_id.rpartition("-")[0] for object_id in things} | lexicon.LABELS
    cited = (one.label for one in parsed.mentions if one.kind != "action" and len(one.label) <= LONGEST_LABEL)
    labels |= {label for label in map(_folded, cited) if tags.split_id(f"{label}-0")}
    broken = [fault.start for fault in parsed.faults if fault.code == "bracket-missing"]
    for segment in parsed.segments:
        if segment.role != "text":
            continue
        place = bisect.bisect_left(broken, segment.start)
        is_broken = place < len(broken) and broken[place] < segment.start + len(segment.source)
        yield from _word_findings(segment, set() if is_broken else labels)  # a broken tag's ids are not bare


def _word_findings(segment: tags.Segment, labels: Set[str]) -> Iterator[Finding]:
    for found in _SPECIAL.finditer(segment.source):
        yield _at(segment, "special-token", *found.span())
    folded = _folded(segment.source)
    echoed_to, place = 0, 0
    echoes = [found.span() for found in _ECHO.finditer(folded)]
    for span in echoes:
        yield _at(segment, "prompt-echo", *span)
    for start, end, object_id in _bare_ids(folded, labels):
        while place < len(echoes) and echoes[place][0] <= start:
            echoed_to, place = echoes[place][1], place + 1
        if start >= echoed_to:
            yield _at(segment, "bare-id", start, end, object_id)


def _folded(text: str) -> str:
    """The text in one spelling of capitals, dashes and wide letters, character by character: places stay as they are.

    So "Person_7", "person\u20117" and "PERSON\u20137" are read as "person-7".
    """
    return "".join(map(_folded_character, text))


@lru_cache(maxsize=4096)
def _folded_character(character: str) -> str:
    if character in _DASHES:
        return "-"
    folded = unicodedata.normalize("NFKC", character).casefold()
    return folded if len(folded) == 1 else character


def _bare_ids(folded: str, labels: Set[str]) -> Iterator[tuple[int, int, str | None]]:
    """(start, end, id) where a label that is known, dashes and a number follow each other. "MI-6" has no such label.

    The id is None where its number is none of an id, such as one of ten digits.
    """
    lengths = sorted({len(label) for label in labels}, reverse=True)  # the longest label is the one that is meant
    for number in _NUMBER.finditer(folded):
        for length in lengths:
            start = number.start() - length
            label = folded[max(start, 0) : number.start()]
            if start >= 0 and label in labels and not (start and folded[start - 1].isalnum()):
                object_id = f"{label}-{number[1].lstrip('0') or '0'}"
                yield start, number.end(), object_id if tags.split_id(object_id) else None
                break


def _at(segment: tags.Segment, code: str, start: int, end: int, object_id: str | None = None) -> Finding:
    shown = _short(segment.source[start : min(end, start + SHOWN + 1)])
    return Finding(code, object_id, segment.start + start, segment.start + end, _said(code, shown))
