"""Data as files that a page loads from disk: scripts that can be nothing but data.

A page opened from disk may not fetch, only load scripts. Each file is one call with one argument that matters, a string
of JSON that the page parses. Of that string every character outside printable ASCII, and every one that means something
in HTML, is an escape: whatever a caption says, there is no way out of the string.
"""

import json
import math
from typing import Any

_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&'`/"}


def data_script(name: str, payload: Any) -> bytes:
    """The file that gives the page `payload` under a name. `payload` is of dicts, lists, texts and numbers.

    The same payload gives the same bytes. Numbers that JSON has no word for (NaN, infinities) become null.
    """
    try:
        text = _json(payload)
    except ValueError:  # it has NaN or an infinity somewhere
        text = _json(_finite(payload))
    return f"gallery.receive({_literal(name)},{_literal(text)});\n".encode("ascii")


def _json(payload: Any) -> str:
    return json.dumps(payload, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=True).translate(_ESCAPES)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value
