"""Text that came from a model or a file, safe to show: what would steer a terminal or turn the reading is spelt out."""

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of controls (escape sequences begin with one), of letters that are not seen or change the
direction, of halves of letters, and of line separators. The gallery shows the same (gallery/site/elements.js)."""
KEPT = frozenset("\n\t\u200d")
"""Of those, what belongs to ordinary text: line feed, tab, and what joins emoji."""


def visible(text: str) -> str:
    """The text with every such letter as what it is: `[U+202E]`. Line feeds and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        f"[U+{ord(letter):04X}]" if letter not in KEPT and unicodedata.category(letter) in HIDDEN else letter
        for letter in text
    )


def visible_line(text: str) -> str:
    """The same on one line: a line feed becomes `⏎`, a tab a blank."""
    return visible(text).replace("\n", "⏎").replace("\t", " ")
