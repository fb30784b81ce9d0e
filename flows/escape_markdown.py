"""Foreign text in Markdown: what a model, a file or a path may have brought never becomes markup.

Prefect's pages take the text of an artifact, and its description, for Markdown with HTML in it; the older pages (V1)
the cells of a table too. The new ones make links of bare addresses, also where their signs are escaped; in code they
do not.
"""

import re

from tasks.visible_text import visible_line

_PLAIN = re.compile(r"[\w .,;:'()%/+=-]*")
_EMPHASIS_OR_ADDRESS = re.compile(r"(?<!\w)_|_(?!\w)|__|://|\bwww\.", re.IGNORECASE)


def as_code(text: str) -> str:
    """The text as code in Markdown, in one line: shown as it is, whatever it holds."""
    line = visible_line(text) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    edge = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def as_cell(text: str) -> str:
    """The text for a cell of a table artifact: as it is where Markdown finds nothing in it, else as code."""
    line = visible_line(text)
    return line if _PLAIN.fullmatch(line) and not _EMPHASIS_OR_ADDRESS.search(line) else as_code(line)
