"""A recipe of a training out of its TOML file. Ready ones stand in flows/recipes/ and go by their file's name.

As in a profile, a checkpoint that begins with a dot is a path beside the file, one with ~ in the home folder.
"""

import tomllib
from dataclasses import fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from flows.read_configuration import check_section
from tasks import trainables
from tasks.checkpoints import looks_local
from tasks.errors import ConfigError, UnknownNameError
from tasks.training.recipes import Recipe, StageRecipe


def recipes() -> dict[str, Path]:
    """The ready recipes by name."""
    folder = Path(str(resources.files("flows").joinpath("recipes")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(source: "str | Recipe") -> Recipe:
    """A ready recipe by name, a TOML file by its path, or a recipe as it is.

    Raises UnknownNameError for a recipe, section, key or captioner that is not there, and ConfigError for an impossible
    value, or a path where nothing is.
    """
    if isinstance(source, Recipe):
        return source
    path = recipes().get(source) or Path(source)
    if not path.is_file():
        raise UnknownNameError("recipe, or missing TOML file,", source, list(recipes()))
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    _check_keys(said, path)
    try:
        recipe = TypeAdapter(Recipe).validate_python(said)
    except ValidationError as error:
        first = error.errors()[0]
        words = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc']))}: {words}") from error
    trainables.load(recipe.caption.backend)
    return _beside(recipe, path)


def _check_keys(said: dict[str, Any], path: Path) -> None:
    known = {item.name for item in fields(Recipe)}
    for key in said:
        if key not in known:
            raise UnknownNameError(f"key in {path.name}", key, sorted(known))
    stages = said.get("stage", [])
    if not isinstance(stages, list):
        raise ConfigError(f"{path}: stages stand one after the other; write [[stage]] with two brackets.")
    for stage in stages:
        check_section(StageRecipe, "stage", stage, path)
    hints = get_type_hints(Recipe)
    for key in said.keys() - {"stage"}:
        for kind in (hints[key], *get_args(hints[key])):
            if is_dataclass(kind):
                check_section(kind, key, said[key], path)


def _beside(recipe: Recipe, path: Path) -> Recipe:
    checkpoint = recipe.caption.checkpoint
    if checkpoint.startswith("~"):
        checkpoint = str(Path(checkpoint).expanduser())
    elif checkpoint.startswith("."):
        checkpoint = str((path.parent / checkpoint).resolve())
    if looks_local(checkpoint) and not Path(checkpoint).exists():
        raise ConfigError(
            f"{path}: [caption] checkpoint = {recipe.caption.checkpoint!r} is a path, and nothing is at {checkpoint}. "
            "A path that begins with a dot counts from the recipe's own folder. Correct it, or give a hub id."
        )
    return replace(recipe, caption=replace(recipe.caption, checkpoint=checkpoint))
