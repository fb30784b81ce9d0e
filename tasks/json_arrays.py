"""JSON objects made of long arrays, as COCO's files are: written as their items come, in whatever order they come."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


class Arrays:
    """Takes the items of several arrays, each into a part of its own."""

    def __init__(self, parts: Mapping[str, TextIO]) -> None:
        """`parts` are open files by array."""
        self._parts = parts
        self._counts = dict.fromkeys(parts, 0)

    def add(self, array: str, item: Any) -> None:
        """One more item of an array."""
        self._parts[array].write((",\n" if self._counts[array] else "\n") + json.dumps(item, ensure_ascii=False))
        self._counts[array] += 1


@contextmanager
def writing(path: Path, arrays: Sequence[str], **rest: Any) -> Iterator[Arrays]:
    """Write `{**rest, array: [items], ...}` to a file. Memory: one item; disk: the file twice."""
    parts = {name: path.with_name(f".{path.name}.{name}") for name in arrays}
    opened = {name: part.open("w", encoding="utf-8", newline="\n") for name, part in parts.items()}
    try:
        yield Arrays(opened)
    finally:
        for one in opened.values():
            one.close()
    with path.open("wb") as whole:
        before = "{\n"
        for name, value in sorted(rest.items()):
            whole.write(f"{before}{json.dumps(name)}: {json.dumps(value, sort_keys=True)}".encode())
            before = ",\n"
        for name, part in parts.items():
            whole.write(f"{before}{json.dumps(name)}: [".encode())
            with part.open("rb") as items:
                shutil.copyfileobj(items, whole, 1 << 20)
            whole.write(b"]")
            before = ",\n"
            part.unlink()
        whole.write(b"\n}\n")
