"""Every fault the consistency check knows: its code, its meaning, what to do. docs/violations.md is made from it."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Code:
    """What a code says, and what helps."""

    meaning: str
    remedy: str


_MODEL = "A slip of the captioner: another candidate, or grammar-bound decoding."
_GRAMMAR = "Decode with the tag grammar; see tasks/tags.py for the one form of a tag."
_IDS = "Cite only ids of the frame's detections, as the prompt lists them."

CODES: dict[str, Code] = {
    "action-cites-stuff": Code("an action is done by stuff (sky, floor), not by a thing", "Cite who acts."),
    "bare-id": Code(
        "an id stands among the words instead of in a tag", "Put the words for it into a tag that cites it."
    ),
    "bracket-missing": Code("a tag lost an angle bracket, or has another sign in its place", _GRAMMAR),
    "control-character": Code(
        "a control, invisible or replacement character stands in the text", "Look at the tokenizer: " + _MODEL
    ),
    "crossing-tags": Code("a tag opens inside another and closes outside it", _GRAMMAR),
    "duplicate-id": Code("a tag cites the same id twice", "Cite every object once in a tag."),
    "empty-caption": Code("nothing is left of the caption without its tags", _MODEL),
    "empty-class": Code("the class of a tag is empty", "Write the object's label, or the action's lemma."),
    "empty-span": Code("a tag stands around no words", "Put the words that name the object between its tags."),
    "label-mismatch": Code(
        "the class of a tag is not the label of an id it cites", "Write the label the id begins with."
    ),
    "malformed-action": Code(
        "an action's class is not a lemma: words of lower-case letters", "Write the verb's base form, and no id."
    ),
    "malformed-class": Code('the class is not written class="...", first in the tag', _GRAMMAR),
    "malformed-id": Code("an id is not of the form <label>-<n>", _IDS),
    "malformed-tag": Code("a tag has something where nothing may stand: a blank, a slash, a word", _GRAMMAR),
    "mismatched-closing-tag": Code(
        "a tag is closed by the closing tag of another kind", "Close a tag with its own name."
    ),
    "missing-class": Code("a tag has no class", _GRAMMAR),
    "nested-tag": Code("a tag stands inside another", "Tags are flat: close one before the next opens."),
    "no-id": Code("a tag cites no object", _IDS),
    "prompt-echo": Code("the caption repeats the prompt's list of detections", _MODEL),
    "special-token": Code("a token that steers the model stands in the text", "Block special tokens when decoding."),
    "stray-closing-tag": Code("a closing tag closes nothing", _GRAMMAR),
    "truncated-tag": Code(
        "a tag breaks off before its '>'", "Raise the token limit, or let the decoder close its tags."
    ),
    "unclosed-tag": Code("a tag is never closed", "Raise the token limit, or let the decoder close its tags."),
    "unknown-attribute": Code("a tag has an attribute besides class", _GRAMMAR),
    "unknown-object": Code("a tag cites an object that was not detected in this frame", _IDS),
    "unknown-tag": Code("markup that is not gdo, gda or gdl", _GRAMMAR),
    "uppercase-tag": Code("a tag's name is not in lower case", _GRAMMAR),
}
"""The codes are stable: SQL and dashboards ask for them. A code is never given a new meaning."""

EXAMPLES = Path(__file__).parent.parent / "tests" / "golden" / "violations.json"
_PREFACE = """\
# Violations

Made by `python -m docs.generate`; do not edit. Codes: tasks/violation_codes.py. Examples:
tests/golden/violations.json, which the tests hold to be true: the failing caption has exactly this violation, the
passing one has none.

A caption without violations is in the view `captions_ok`. A caption that cites nothing is no violation: nothing in it
is untrue of the detections, and its grounding recall says that it is bare. So is one that was cut off by the token
limit between two tags (`finish_reason` = 'length' says so); cut off inside a tag, it is `unclosed-tag` or
`truncated-tag`.
"""


def violations_markdown(examples: Path = EXAMPLES) -> str:
    """The page docs/violations.md. Raises FileNotFoundError outside a checkout, where the examples are."""
    parts = [_PREFACE, "| code | meaning | remedy |\n|---|---|---|"]
    parts += [f"| [{code}](#{code}) | {said.meaning} | {said.remedy} |" for code, said in CODES.items()]
    for example in json.loads(examples.read_text(encoding="utf-8")):
        code = example["code"]
        found = ", ".join(example["things"] + [f"{one} (stuff)" for one in example["stuff"]]) or "none"
        parts.append(f"\n## {code}\n\nDetected: {found}\n")
        parts.append(f"```\nfails   {_shown(example['failing'])}\npasses  {_shown(example['passing'])}\n```")
    return "\n".join(parts) + "\n"


def _shown(text: str) -> str:
    """A caption on one line, control characters made visible."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)
