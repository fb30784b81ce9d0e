"""THE tag grammar: parse, render, strip. The only file that spells a tag.

    <gdo class="person" person-0>the man</gdo>                    an object
    <gda class="run" person-0 person-1>running</gda>              an action; its class is a lemma (words of lower-case
                                                                  letters), the ids say who acts
    <gdl class="couch" couch-0>on the couch</gdl>                 a location

An id is `<label>-<n>`, split at the LAST dash. Tags are flat. Between the parts of an opening tag, and before its `>`,
any blanks will do; the canonical form (`render`) has one. Everything else that looks like a tag is parsed as well as
can be, and is a `Fault` with a code of `FAULTS`.

Parsing never raises. Its time, and what it returns, grow in step with the text (but for the logarithm of how deep tags
stand inside each other): a tag that stands inside more than tag_structure.DEEPEST others has faults and no mention, for
else the words inside would be kept once for every tag around them.

The plain text is the text without the tags: the words between stay where they are, a run of blanks (anything
`str.isspace` calls so, line breaks included) becomes one space, and blanks at both ends go. A `<` that opens nothing
("a < b", "<3") is plain text. Spans never begin or end in a blank: plain_text[start:end] is the mention's text.
"""

import re
from collections.abc import Sequence

from tasks.tag_structure import Fault, Mention, Parsed, Piece, Reader, Segment

__all__ = [
    "FAULTS", "KINDS", "NAMES", "Fault", "Mention", "Parsed", "Segment", "parse", "render", "render_all", "split_id",
    "strip",
]  # fmt: skip

KINDS = {"gdo": "object", "gda": "action", "gdl": "location"}
NAMES = {kind: name for name, kind in KINDS.items()}
FAULTS = frozenset({
    "bracket-missing", "crossing-tags", "empty-class", "empty-span", "malformed-action", "malformed-class",
    "malformed-id", "malformed-tag", "mismatched-closing-tag", "missing-class", "nested-tag", "no-id", "special-token",
    "stray-closing-tag", "truncated-tag", "unclosed-tag", "unknown-attribute", "unknown-tag", "uppercase-tag",
})  # fmt: skip
"""The codes the grammar itself gives; what they mean stands in tasks/violation_codes.py."""

# Possessive quantifiers (`*+`) everywhere: no hostile text makes the search go back over what it has read.
_MARK = re.compile(r"<[^<>]*+>?+")
_GROUNDING = re.compile(r"(\s*+)(/?+)(\s*+)(gd[oal])(?![\w-])", re.IGNORECASE)
_CLASS = re.compile(r'\s++class="([^"]*+)"(?=\s|\Z)')
_LOOSE_CLASS = re.compile(
    r"""(?<![\w-])class(?![\w-])\s*+=?+\s*+(?:"([^"]*+)"|'([^']*+)'|“([^“”]*+)”|["'“”]?+([^\s"'“”]*+)["'“”]?+)""",
    re.IGNORECASE,
)
_LEMMA = re.compile(r"[^\W\d_]++(?:[ -][^\W\d_]++)*+")  # "run", "look at", "ice-skate": no digit, so never an id
_SPECIAL = re.compile(r"\|.*\||/?(?:s|pad|unk|mask|bos|eos|image|endoftext)", re.DOTALL)
_UNKNOWN = re.compile(r"[A-Za-z!?/]")
_CUT_OFF = re.compile(r"/?(?:gd?)?")
_UNENDED = re.compile(r'gd[oal](?:\s++class="[^"]*+"(?=\s|\Z))?+(?:\s++[^\s"]*-\d++(?!\S))*+', re.IGNORECASE)
_UNENDED_LAST = re.compile(r'\s++(?:c(?:l(?:a(?:s(?:s(?:=(?:"[^"]*+)?)?)?)?)?)?|\S++)?\s*+\Z')
_NO_BRACKET = re.compile(
    r"(?:&(?:lt|\#60|\#x3c);|[＜‹〈⟨\[({])\s*+/?+gd[oal](?![\w-])|(?<![\w-])gd[oal]\s++class(?![\w-])|/gd[oal](?![\w-])",
    re.IGNORECASE,
)


def render(kind: str, label: str, object_ids: Sequence[str], text: str) -> str:
    """The canonical tag around `text`. Raises ValueError for what no well-formed tag can say."""
    tag = f'<{NAMES.get(kind, kind)} class="{label}" {" ".join(object_ids)}>{text}</{NAMES.get(kind, kind)}>'
    parsed = parse(tag)
    if parsed.faults or [(m.kind, m.label, m.object_ids) for m in parsed.mentions] != [(kind, label, (*object_ids,))]:
        codes = ", ".join(sorted({fault.code for fault in parsed.faults})) or "not a tag of that kind"
        raise ValueError(f"cannot be written as a tag ({codes}): {tag!r}")
    return tag


def render_all(parsed: Parsed) -> str:
    """The tagged text again, faults included."""
    return "".join(segment.source for segment in parsed.segments)


def strip(text: str) -> str:
    """The plain caption: tags removed, the words between kept, blanks collapsed."""
    return parse(text).plain_text


def split_id(object_id: str) -> tuple[str, int] | None:
    """('traffic-light', 1) of 'traffic-light-1'; None when it is not an id."""
    label, _, number = object_id.rpartition("-")
    if not label or not label[0].isalnum() or label[-1] == "-" or label != label.lower():
        return None
    if any(character in "\"'<>=,;:[](){}" or character.isspace() for character in label):
        return None
    if not (number.isascii() and number.isdigit()) or (number[0] == "0" and number != "0") or len(number) > 9:
        return None
    return label, int(number)


def parse(text: str) -> Parsed:
    """Take a caption apart. Never raises."""
    reader = Reader()
    position = 0
    for mark in _MARK.finditer(text):
        piece = _piece(mark.group(), mark.start(), last=mark.end() == len(text))
        if piece:
            _words(reader, text[position : mark.start()], position)
            reader.mark(piece, text[piece.start : piece.end])
            position = piece.end
    _words(reader, text[position:], position)
    return reader.finish(len(text))


def _words(reader: Reader, source: str, start: int) -> None:
    """Words between marks, and in them what is left of a tag that lost its bracket."""
    reader.words(source, start)
    for found in _NO_BRACKET.finditer(source):
        reader.faults.append(Fault("bracket-missing", start + found.start(), start + found.end()))


def _piece(source: str, start: int, *, last: bool) -> Piece | None:
    """What the mark `source` is; None when it is plain text."""
    ended = source.endswith(">")
    body = source[1:-1] if ended else source[1:]
    if grounding := _GROUNDING.match(body):
        return _grounding(grounding, body, start, ended=ended, last=last)
    if ended and _SPECIAL.fullmatch(body):
        code = "special-token"
    elif ended and _UNKNOWN.match(body):
        code = "unknown-tag"
    elif not ended and (body.startswith("/") or (last and _CUT_OFF.fullmatch(body))):
        code, source = "truncated-tag", "<" + body.split(maxsplit=1)[0] if body else source
    else:
        return None
    piece = Piece("junk", start, start + len(source))
    piece.blame(code)
    return piece


def _grounding(found: re.Match[str], body: str, start: int, *, ended: bool, last: bool) -> Piece:
    """A mark that begins as a grounding tag does. `start` is the place of its '<'."""
    blank, slash, inner_blank, name = found.groups()
    end, stop = start + len(body) + 2, len(body)
    if not ended:
        stop = found.end() if slash else _unended(body, len(blank) + len(inner_blank), last=last)
        end = start + 1 + stop
    piece = Piece("close" if slash else "open", start, end, name.lower(), KINDS[name.lower()], holds=ended or not last)
    if not ended:
        piece.blame("truncated-tag")
    if name != piece.name:
        piece.blame("uppercase-tag")
    if blank or inner_blank or (slash and body[found.end() : stop].strip()):
        piece.blame("malformed-tag")
    if not slash and piece.holds:
        _read_attributes(piece, body[found.end() : stop], start + 1 + found.end())
    return piece


def _unended(body: str, start: int, *, last: bool) -> int:
    """Where an opening tag without '>' stops: after what can still be read as its parts; the rest are words."""
    found = _UNENDED.match(body, start)
    stop = found.end() if found else start
    rest = _UNENDED_LAST.match(body, stop) if last else None
    return rest.end() if rest else stop


def _read_attributes(piece: Piece, rest: str, at: int) -> None:
    """Class and ids of an opening tag. `rest` is what follows its name, and stands at `at` in the tagged text."""
    if rest.endswith("/"):
        rest = rest[:-1]
        piece.role = "empty"
        piece.blame("malformed-tag")
    found = _CLASS.match(rest)
    if found is None and (found := _LOOSE_CLASS.search(rest)):
        piece.blame("malformed-class", at + found.start(), at + found.end())
    if found is None:
        piece.blame("missing-class")
    else:
        piece.label = next((group for group in found.groups() if group is not None), "")
        if not piece.label.strip():
            piece.blame("empty-class", at + found.start(), at + found.end())
        elif piece.label != " ".join(piece.label.split()):
            piece.blame("malformed-class", at + found.start(), at + found.end())
        elif piece.kind == "action" and not (_LEMMA.fullmatch(piece.label) and piece.label == piece.label.lower()):
            piece.blame("malformed-action", at + found.start(), at + found.end())
    gap = found.span() if found else (0, 0)
    words = [word for word in re.finditer(r"\S+", rest) if not gap[0] <= word.start() < gap[1]]
    piece.object_ids = tuple(word.group() for word in words if "=" not in word.group())
    for word in words:
        if split_id(word.group()) is None:
            code = "unknown-attribute" if "=" in word.group() else "malformed-id"
            piece.blame(code, at + word.start(), at + word.end(), word.group())
    if not words:
        piece.blame("no-id")
