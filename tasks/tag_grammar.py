"""Detections -> the grammar of the captions that may be written about them. Pure text; no model, no tokenizer.

What the grammar permits has no violation in tasks/caption_check.py, whatever a model writes: running text anywhere; a
tag is one of the three kinds, with a class and ids of the frame (an id stands once in a tag; an object's and a
location's class is the label of its ids, an action's a lemma and its ids are things), words with a letter or digit, and
its own closing tag; a caption says something. Spelling is tasks/tags.py's; which ids can be cited at all, the checker
is asked.

Narrower than what the checker calls clean, on purpose:
- tags stand in canonical form, with one blank between their parts, and a lemma is ASCII;
- running text has no `<` and no `[`, no word that begins with gdo, gda or gdl, no digits right after a dash but in
  "50-50", "mid-40s" and after a blank, and only the characters named below;
- an id longer than LONGEST_ID, and what goes beyond MOST_IDS of a label or of all things, cannot be cited.

Two dialects of one grammar: `lark` for llguidance, which this project decodes with, and `ebnf` (GBNF, its first rule is
`root`) for xgrammar, which servers use by default. EBNF cannot count, so it is narrower again: ids stand in order, and
no digit follows a dash.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from storage.tables import Detection
from tasks import tags
from tasks.caption_check import check_against
from tasks.errors import UnknownNameError
from tasks.lexicon import LABELS

__all__ = ["Citable", "citable", "ebnf", "lark", "text_for"]

LONGEST_ID = 64
"""Bytes. A longer id is a hostile one; a tag has to fit into what is left of a caption."""
MOST_IDS = 64
"""Ids a tag chooses from: llguidance counts them in a word of 64 bits."""
PLAIN = re.compile(rb"(?! ?[gG][dD]) ?[A-Za-z]+|[ ,.;:!?'\"()\n]+")
"""What may follow any whole character of running text, and changes nothing but the text: it has no digit, no dash, and
makes no word that begins with gdo, gda or gdl, unless it goes on with a `g` or `gd` before it."""
LEMMA = "[a-z]{1,20}([ -][a-z]{1,20}){0,3}"
_LEMMA_EBNF = "[a-z]+ ([ \\x2d] [a-z]+){0,3}"

# Characters of running text, as ranges of first and last. The tests ask the checker about every one of them: none is
# invisible, and beside ASCII none looks like a letter or digit of ASCII's, a bracket or a dash (but DASHES all do).
WORD = ("09", "AZ", "az")
LETTERS = (  # Latin, Greek, Cyrillic, Hebrew, Arabic, Devanagari, Thai, Japanese, Chinese, Korean
    "ÀÖ", "Øö", "øž", "ƀɏ", "ΑΡ", "Σω", "Ѐҁ", "Ҋԯ", "את", "ءغ", "في", "ऄह", "กะ", "ぁゖ", "ァヺ", "一龥", "가힣",
)  # fmt: skip
MARKS = (  # blanks, punctuation, accents and vowel signs of their own, symbols
    "\t\n", " ,", "./", ":;", "=@", "\\^", "``", "{~", "\u00a0©", "«¬", "®±", "´¶", "¸¸", "»¿", "××", "÷÷",
    "\u0300\u034e", "\u0350\u036f", "\u05b0\u05bd", "\u064b\u065f", "\u0900\u0903", "\u093a\u094f", "\u0e31\u0e4e",
    "‖‧", "‰⁞", "₠₿", "™™", "←⇿", "∀∑", "∓⋿", "☀➿", "、〄", "〈】", "〔〟", "\ufe0f\ufe0f", "\U0001f300\U0001f64f",
    "\U0001f680\U0001f6ff", "\U0001f900\U0001f9ff",
)  # fmt: skip
DASHES = ("__", "--", "‐―", "−−")
BLANKS = ("\t\n", "  ")


@dataclass(frozen=True)
class Citable:
    """What of a frame's detections a caption may cite, and what its words must not look like. Equal: one grammar."""

    labels: tuple[tuple[str, tuple[str, ...]], ...]
    """Labels with their ids, both in order: where the frame has them decides nothing."""
    things: tuple[str, ...]
    """Ids that may act."""
    numbers: tuple[bool, bool, bool]
    """Whether digits may follow a dash after a digit, after a blank, after "mid": no label makes an id of that."""

    @property
    def object_ids(self) -> list[str]:
        """All ids."""
        return [object_id for _, ids in self.labels for object_id in ids]


def citable(detections: Iterable[Detection]) -> Citable:
    """What can be cited of these, asked of the checker: hostile ids, with blanks or capitals say, are left out."""
    things = {one.object_id: one.is_thing for one in detections}
    labels: dict[str, list[str]] = {}
    acting: list[str] = []
    for object_id, is_thing in sorted(things.items(), key=lambda one: _in_order_of_numbers(one[0])):
        label = object_id.rpartition("-")[0]
        if len(object_id.encode("utf-8", "replace")) > LONGEST_ID or not _is_clean("object", label, object_id):
            continue
        if len(labels.setdefault(label, [])) < MOST_IDS:
            labels[label].append(object_id)
            acting += [object_id] if is_thing and len(acting) < MOST_IDS else []
    endings = {one.rpartition("-")[0] for one in things} | LABELS
    numbers = (
        not any(one[-1:].isdigit() for one in endings),
        not any(one == "" or one[-1].isspace() for one in endings),
        not any(one.endswith("mid") for one in endings),
    )
    return Citable(tuple((label, tuple(ids)) for label, ids in labels.items()), tuple(acting), numbers)


def _in_order_of_numbers(object_id: str) -> tuple[str, int, str]:
    label, _, number = object_id.rpartition("-")
    return label, int(number) if number.isascii() and number.isdigit() else 0, number


@lru_cache(maxsize=4096)
def _is_clean(kind: str, label: str, object_id: str) -> bool:
    """Whether a tag that cites only this id is without fault."""
    try:
        return not check_against(tags.render(kind, label, [object_id], "x"), {object_id: True}).violations
    except ValueError:
        return False


def text_for(detections: Iterable[Detection], dialect: str = "ebnf") -> str:
    """The grammar of one frame's captions, for a server's field such as vLLM's `structured_outputs: {"grammar": ...}`.

    `ebnf` is for a server on xgrammar (the default of vLLM and SGLang), `lark` for one on llguidance.

    llguidance reads `ebnf` too, but gives up on a large vocabulary. A server knows nothing of what is left of the token
    limit: a caption that is cut off may still end inside a tag. Raises UnknownNameError for another dialect.
    """
    dialects = {"ebnf": ebnf, "lark": lark}
    if dialect not in dialects:
        raise UnknownNameError("grammar dialect", dialect, list(dialects))
    return dialects[dialect](citable(detections))


def opening(kind: str) -> str:
    """An opening tag of a kind up to its class."""
    return tags.render(kind, "x", ["x-0"], "y").partition("x")[0]


def closing(kind: str) -> str:
    """The closing tag of a kind."""
    return tags.render(kind, "x", ["x-0"], "y").rpartition("y")[2]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _class(*ranges: Sequence[str], but: str = "") -> str:
    """The inside of a character class. ASCII's signs in hexadecimal, which every dialect reads alike."""
    parts = []
    for pair in (pair for some in ranges for pair in some):
        first, last = pair[0], pair[1]
        cuts = [ord(first) - 1, *sorted(ord(one) for one in but if first <= one <= last), ord(last) + 1]
        parts += [(low + 1, high - 1) for low, high in pairwise(cuts) if low + 1 < high]
    return "".join(_escaped(low) if low == high else f"{_escaped(low)}-{_escaped(high)}" for low, high in parts)


def _escaped(code: int) -> str:
    character = chr(code)
    return f"\\x{code:02x}" if character.isascii() and not character.isalnum() else character


# Lark -----------------------------------------------------------------------------------------------------------------


def lark(objects: Citable) -> str:
    """For llguidance: running text as regular expressions that exclude, each id once by rules with a bit per id."""
    rules = ["start: WORDS tagged* | QUIET? tagged+", "tagged: tag TEXT?"] if objects.labels else ["start: WORDS"]
    kinds = [f"{_quoted(opening(kind))} object {_quoted(closing(kind))}" for kind in ("object", "location")]
    if objects.things:
        action = f'{_quoted(opening("action"))} LEMMA "\\"" actors::0x0 ">" WORDS {_quoted(closing("action"))}'
        rules += [f"LEMMA: /{LEMMA}/", _each_once("actors", objects.things)]
        kinds.append(action)
    if objects.labels:
        rules.append(f"tag: {' | '.join(kinds)}")
        named = [f'{_quoted(label + chr(34))} ids_{n}::0x0 ">" WORDS' for n, (label, _) in enumerate(objects.labels)]
        rules.append(f"object: {' | '.join(named)}")
        rules += [_each_once(f"ids_{n}", ids) for n, (_, ids) in enumerate(objects.labels)]
    return "\n".join([*rules, *_running_text(objects.numbers)]) + "\n"


def _each_once(rule: str, ids: Sequence[str]) -> str:
    choices = [f" | {_quoted(' ' + one)} {rule}::set_bit({n}) %if bit_clear({n})" for n, one in enumerate(ids)]
    return f'{rule}::_: "" %if bit_count_ge(_, 1)\n' + "\n".join(choices)


def _running_text(numbers: tuple[bool, bool, bool]) -> list[str]:
    """TEXT is running text, WORDS such with a letter or digit, QUIET such without one.

    Said by what may follow what, for regular expressions that exclude take llguidance twice as long to compile.
    """
    alnum, dash, quiet = f"[{_class(WORD)}]", f"[{_class(DASHES)}]", _class(MARKS, DASHES)
    after_digit, after_blank, after_mid = numbers
    words = [
        f"[{_class(WORD, but='gG')}]{alnum}*",
        f"[gG]([{_class(WORD, but='dD')}]{alnum}*)?",
        f"[gG][dD]([{_class(WORD, but='oOaAlL')}]{alnum}*)?",
        *([f"[0-9]+({dash}+[0-9]+)+{alnum}*"] if after_digit else []),
        *([f"[mM][iI][dD]{dash}+[0-9]{alnum}*"] if after_mid else []),
    ]
    piece = f"({'|'.join(words)})?({dash}+([A-Za-z]{alnum}*)?)*"
    between = f"[{_class(LETTERS, MARKS)}]+{piece}"
    between += f"|[{_class(BLANKS)}]{dash}+[0-9]{alnum}*" if after_blank else ""
    return [
        f"TEXT: /{piece}({between})*/",
        f"WORDS: TEXT & ~/[{quiet}]*/",
        f"QUIET: /[{quiet}]+/",
    ]


# EBNF -----------------------------------------------------------------------------------------------------------------


def ebnf(objects: Citable) -> str:
    """For servers: a regular grammar of running text, its states being rules, around the tags."""
    tagged = bool(objects.labels)
    after = " tagged*" if tagged else ""
    rules = {"root": f"words{after}" + (" | quiet? tagged+" if tagged else "")}
    if tagged:
        rules["tagged"] = "tag text"
        kinds = dict.fromkeys(("object", "location"), "object")
        kinds |= {"action": "action"} if objects.things else {}
        rules["tag"] = " | ".join(f"{_quoted(opening(k))} {rule} {_quoted(closing(k))}" for k, rule in kinds.items())
        rules["object"] = " | ".join(
            f'{_quoted(label + chr(34))} ids{n}x0 ">" words' for n, (label, _) in enumerate(objects.labels)
        )
        for n, (_, ids) in enumerate(objects.labels):
            rules |= _in_order(f"ids{n}x", ids)
        if objects.things:
            rules["action"] = f'{_LEMMA_EBNF} "\\"" actors0 ">" words'
            rules |= _in_order("actors", objects.things)
        rules["quiet"] = f"[{_class(MARKS, DASHES)}]+"
    rules |= _states()
    return "\n".join(f"{name} ::= {rule}" for name, rule in rules.items()) + "\n"


def _in_order(rule: str, ids: Sequence[str]) -> Mapping[str, str]:
    """One or more of the ids in their order: rule0 begins, rule0n goes on from the n-th."""
    rules = {}
    for n, one in enumerate(ids):
        last = n + 1 == len(ids)
        rules[f"{rule}{n}"] = f"{_quoted(' ' + one)}" + ("" if last else f" ({rule}{n + 1})?  | {rule}{n + 1}")
    return rules


def _states() -> Mapping[str, str]:
    """Running text: where a word may begin, inside one, after its "g" or "gd", after a dash; and before any word."""
    other, letter, dash = f"[{_class(MARKS)}]", f"[{_class(LETTERS)}]", f"[{_class(DASHES)}]"
    between, go_on = f"{other} text | {letter} text", f"{dash} dash"

    def inside(but: str) -> str:
        return f"[{_class(WORD, but=but)}] inside"

    return {
        "words": f"{other} words | {letter} text | [gG] g | {inside('gG')} | {dash} later",
        "later": f"{other} words | {letter} text | [A-Za-z] inside | {dash} later",
        "text": f'"" | {between} | [gG] g | {inside("gG")} | {go_on}',
        "inside": f'"" | {between} | {inside("")} | {go_on}',
        "g": f'"" | {between} | [dD] gd | {inside("dD")} | {go_on}',
        "gd": f'"" | {between} | {inside("oOaAlL")} | {go_on}',
        "dash": f'"" | {between} | [A-Za-z] inside | {go_on}',
    }
