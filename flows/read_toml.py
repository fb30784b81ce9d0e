"""A TOML file of settings -> a dataclass: what profiles and recipes share. Wrong keys and values are named."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tasks.errors import ConfigError, UnknownNameError

T = TypeVar("T")


class Settings(NamedTuple, Generic[T]):
    """What a file says."""

    value: T
    said: dict[str, Any]
    """As it stands in the file."""
    path: Path


def ready_files(folder: str) -> dict[str, Path]:
    """The ready files of a folder of flows/, by name."""
    found = Path(str(resources.files("flows").joinpath(folder)))
    return {path.stem: path for path in sorted(found.glob("*.toml"))}


def read_toml(
    source: str, kind: type[T], what: str, ready: Mapping[str, Path], check_keys: Callable[[dict[str, Any], Path], None]
) -> Settings[T]:
    """A ready file by name, or a file by its path, as a `kind`. `check_keys` raises for what the file must not say.

    Raises UnknownNameError where there is neither, and ConfigError for what is no TOML, or an impossible value.
    """
    path = ready.get(source) or Path(source)
    if not path.is_file():
        raise UnknownNameError(f"{what}, or missing TOML file,", source, list(ready))
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    check_keys(said, path)
    try:
        return Settings(TypeAdapter(kind).validate_python(said), said, path)
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {words}") from error


def check_section(kind: Any, section: str, values: Any, path: Path) -> None:
    """The keys of one section, a dataclass's, and of the sections in it. Raises UnknownNameError, ConfigError."""
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {section} is a section; write [{section}] and its keys below.")
    known = get_type_hints(kind)
    for key, value in values.items():
        if key not in known:
            raise UnknownNameError(f"key in [{section}] of {path.name}", key, [item.name for item in fields(kind)])
        for inner in (known[key], *get_args(known[key])):
            if is_dataclass(inner):
                check_section(inner, f"{section}.{key}", value, path)


def beside(value: str, folder: Path) -> str:
    """A path that begins with a dot, from the file's folder; one with ~, in the home folder; anything else as it is."""
    if value.startswith("~"):
        return str(Path(value).expanduser())
    return str((folder / value).resolve()) if value.startswith(".") else value
