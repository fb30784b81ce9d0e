"""Where a caption stands in the tags of its frame's grammar, by its text alone: what is open, what would close it."""

import re
from collections.abc import Iterator

from tasks.tag_grammar import Citable, closing, opening

WORDS = "it"
"""What is said in a tag that has to close and has no words yet."""
LEMMA = "be"
"""What is done in an action that has to close and names none yet."""
KINDS = ("object", "location", "action")
OPENING = {kind: opening(kind).encode() for kind in KINDS}
CLOSING = {kind: closing(kind).encode() for kind in KINDS}
_SIMPLE_LEMMA = re.compile(rb"[a-z]{1,20}")


def whole_tags(objects: Citable) -> Iterator[bytes]:
    """Every way in which an open tag is closed is an end of one of these."""
    for label, ids in objects.labels:
        for one in ids:
            for kind in ("object", "location"):
                yield OPENING[kind] + f'{label}" {one}>{WORDS}'.encode() + CLOSING[kind]
    for one in objects.things:
        yield OPENING["action"] + f'{LEMMA}" {one}>{WORDS}'.encode() + CLOSING["action"]


def open_tag(text: bytes) -> bytes:
    """The tag that is open at the end of a text that begins with one, or with running text; from its `<` on."""
    while (start := text.find(b"<")) >= 0:
        second = text.find(b"<", start + 1)
        stop = text.find(b">", second) if second >= 0 else -1
        if stop < 0:
            return text[start:]
        text = text[stop + 1 :]
    return b""


def endings(tag: bytes, objects: Citable) -> Iterator[bytes]:
    """What would close the open tag, what is best first."""
    for kind in KINDS:
        if not (tag.startswith(OPENING[kind]) or OPENING[kind].startswith(tag)):
            continue
        second = tag.find(b"<", 1)
        if second >= 0:
            yield CLOSING[kind][len(tag) - second :]
        elif b">" in tag:
            yield CLOSING[kind]
            yield WORDS.encode() + CLOSING[kind]
        else:
            for whole in _openings(tag, kind, objects):
                yield whole + WORDS.encode() + CLOSING[kind]


def _openings(tag: bytes, kind: str, objects: Citable) -> Iterator[bytes]:
    """What would complete an opening tag of the kind."""
    missing, rest = OPENING[kind][len(tag) :], tag[len(OPENING[kind]) :]
    label, quote, cited = rest.partition(b'"')
    if kind == "action":
        lemma = LEMMA.encode() if not label or label[-1:] in b" -" else b""
        named = [(label + lemma, objects.things)]
    else:
        named = [(one.encode(), ids) for one, ids in objects.labels]
    if cited and not cited.startswith(b" "):
        return
    *done, begun = cited[1:].split(b" ")
    for name, ids in named:
        known = [one.encode() for one in ids]
        if (name == label if quote else name.startswith(label)) and len(done) == len(set(done).intersection(known)):
            for one in known:
                if one not in done and one.startswith(begun):
                    blank = b"" if cited else b" "
                    quoted = b"" if quote else name[len(label) :] + b'"'
                    yield missing + quoted + blank + one[len(begun) :] + b">"


def begins_well(tag: bytes, objects: Citable) -> bool:
    """Whether an opening tag, up to its `>`, surely begins a tag of the frame. False: it may, or not."""
    kind = next((kind for kind in KINDS if tag.startswith(OPENING[kind])), None)
    if kind is None:
        return False
    ends = tag.endswith(b">")
    head = tag[:-1] if ends else tag
    if b">" in head or b"<" in head[1:]:
        return False
    label, quote, _ = head[len(OPENING[kind]) :].partition(b'"')
    if kind == "action" and label + quote and not _SIMPLE_LEMMA.fullmatch(label):
        return False
    found = _openings(head, kind, objects)
    return any(one == b">" for one in found) if ends else next(found, None) is not None
