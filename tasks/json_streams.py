"""Items of the arrays in a JSON file of any size, one at a time: COCO's annotations of a training set are half a GB."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

CHUNK = 1 << 16
LONGEST = 64 << 20
"""Characters of one item; what is longer is taken for no JSON."""


def items(path: Path) -> Iterator[tuple[str, Any]]:
    """(key, item) of every item of every array of a JSON object, in the order of the file; keys of other values are
    passed over. A file that is one array gives ('', item).

    Memory: one item. Raises ValueError with the place, in characters, of what is no JSON; OSError.
    """
    with path.open(encoding="utf-8-sig") as file:
        reader = _Reader(file)
        if reader.next_sign() == "[":
            yield from (("", item) for item in reader.array())
        else:
            yield from _object(reader)
        if reader.peek():
            reader.fail("something stands after the end")


def _object(reader: "_Reader") -> Iterator[tuple[str, Any]]:
    reader.expect("{")
    if reader.next_sign() == "}":
        reader.expect("}")
        return
    while True:
        key = reader.value()
        if not isinstance(key, str):
            reader.fail("a key is no text")
        reader.expect(":")
        if reader.next_sign() == "[":
            yield from ((key, item) for item in reader.array())
        else:
            reader.value()
        if reader.next_sign() != ",":
            break
        reader.expect(",")
    reader.expect("}")


class _Reader:
    """A window on a text file."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._text, self._at, self._before = file, "", 0, 0
        self._ended = False
        self._decoder = json.JSONDecoder()

    def _more(self, least: int = CHUNK) -> bool:
        """Read on; False at the end."""
        found = self._file.read(least)
        if not found:
            self._ended = True
            return False
        self._before += self._at
        self._text, self._at = self._text[self._at :] + found, 0
        return True

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def next_sign(self) -> str:
        """The same, but there has to be one."""
        return self.peek() or self.fail("it ends here")

    def fail(self, what: str) -> Any:
        """Raise ValueError with the place."""
        raise ValueError(f"no JSON at character {self._before + self._at}: {what}")

    def expect(self, sign: str) -> None:
        """Step over a sign."""
        if self.next_sign() != sign:
            self.fail(f"{sign!r} is expected")
        self._at += 1

    def value(self) -> Any:
        """The next value as a whole."""
        self.next_sign()
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                self.fail("it is nested too deep")
            except ValueError as error:
                if len(self._text) - self._at > LONGEST or not self._more(max(CHUNK, len(self._text))):
                    self.fail(str(error))
                continue
            # A number may go on behind what was read; a value that ends within it does not.
            if end == len(self._text) and not self._ended and self._more():
                continue
            self._at = end
            return found

    def array(self) -> Iterator[Any]:
        """The items of the array that begins here."""
        self.expect("[")
        if self.next_sign() == "]":
            self.expect("]")
            return
        while True:
            yield self.value()
            if self.next_sign() != ",":
                break
            self.expect(",")
        self.expect("]")
