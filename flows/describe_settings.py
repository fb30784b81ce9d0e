"""docs/settings.md, from the dataclasses of a run and of a training, and from the ready profiles and recipes."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from flows.describe_commands import as_text
from flows.read_configuration import PipelineConfig, profiles
from flows.read_recipe import recipes
from storage.store import EXECUTION
from tasks.training.recipes import Recipe

PREFACE = """\
# Settings

Made from the code by `make docs`; do not edit. A profile (`run`, `caption`, `score --profile`) and a recipe (`train`)
are TOML files; a key that is left out has the value in the column "default". When a key changes, its stage and those
after it are made anew, unless the last column says "no": such a key only says how to work or where something is.
"""
ENVIRONMENT = {
    "CAPTION_MOVIES_STORE": "the store that a command asks without `--store`",
    "CAPTION_MOVIES_API_KEY": "the key of a server of models; `api_key_variable` gives it another name",
    "CAPTION_MOVIES_CACHE": "where `setup` puts what it fetches",
}
"""Variables and what they say. PREFECT_API_URL and its like are Prefect's own."""


def settings_markdown() -> str:
    """The page docs/settings.md."""
    parts = [PREFACE, "## Environment\n", "| variable | meaning |", "|---|---|"]
    parts += [f"| `{name}` | {meaning} |" for name, meaning in ENVIRONMENT.items()]
    parts += ["\n## Profiles\n", *_ready(profiles())]
    for name, kind in get_type_hints(PipelineConfig).items():
        parts += _section(f"[{name}]", kind)
    parts += ["\n## Recipes\n", *_ready(recipes())]
    parts += _section("Top of the file", Recipe)
    return "\n".join(parts).rstrip() + "\n"


def _ready(files: Mapping[str, Path]) -> Iterator[str]:
    """The ready files by name, with what their first comment says, and each as a whole."""
    for name, path in files.items():
        text = path.read_text(encoding="utf-8").strip()
        yield f'??? note "`{name}`: {_first_sentence(text)}"\n'
        yield textwrap.indent(f"```toml\n{text}\n```\n", "    ")


def _first_sentence(text: str) -> str:
    said = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        said.append(line.removeprefix("#").strip())
    return " ".join(said).replace('"', "'").partition(". ")[0].rstrip(".")


def _section(title: str, kind: Any, *, hashed: bool = True) -> Iterator[str]:
    """A table of a dataclass's keys, then a section for each dataclass among them."""
    hints, meanings, inner = get_type_hints(kind), _meanings(kind), []
    yield f"\n### {title}\n"
    yield " ".join((kind.__doc__ or "").split()) + "\n"
    rows = []
    for item in fields(kind):
        if (found := _dataclass_in(hints[item.name])) is not None:
            inner.append((item, found, meanings.get(item.name, "")))
        else:
            rows.append(_row(item, hints[item.name], meanings.get(item.name, ""), hashed=hashed))
    if rows:
        yield "| key | type | default | meaning | hashed |\n|---|---|---|---|---|"
        yield from rows
    for item, found, meaning in inner:
        if found in get_type_hints(PipelineConfig).values():
            yield f"\n`[{item.name}]`: as in a profile. {as_text(meaning)}"
        elif kind is Recipe:
            many = "tuple" in str(hints[item.name])
            yield from _section(f"[[{item.name}]]" if many else f"[{item.name}]", found)
        else:
            inside = hashed and item.metadata != EXECUTION
            yield from _section(f"[{title.strip('[]')}.{item.name}]", found, hashed=inside)


def _row(item: "Field[Any]", hint: Any, meaning: str, *, hashed: bool) -> str:
    kind = hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
    kind = kind.replace("typing.", "").replace("collections.abc.", "")
    default = "" if item.default is MISSING else f"`{_toml(item.default)}`"
    said = "" if hashed and item.metadata != EXECUTION else "no"
    return f"| `{item.name}` | {as_text(kind)} | {default} | {as_text(meaning)} | {said} |"


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _dataclass_in(hint: Any) -> Any:
    """The dataclass that a hint is, or that stands in it (`X | None`, `tuple[X, ...]`), or None."""
    return next((one for one in (hint, *get_args(hint)) if isinstance(one, type) and is_dataclass(one)), None)


def _meanings(kind: Any) -> dict[str, str]:
    """Key to the text that stands below it in the dataclass's source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for above, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(above.target, ast.Name) and isinstance(below, ast.Expr):
            found[above.target.id] = ast.literal_eval(below.value)
    return found
