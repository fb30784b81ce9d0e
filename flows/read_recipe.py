"""A recipe of a training out of its TOML file. Ready ones stand in flows/recipes/ and go by their file's name.

As in a profile, a checkpoint that begins with a dot is a path beside the file, one with ~ in the home folder.
"""

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from flows.read_toml import beside, check_section, read_toml, ready_files
from tasks import trainables
from tasks.checkpoints import looks_local
from tasks.errors import ConfigError, UnknownNameError
from tasks.training.recipes import Recipe, StageRecipe


def recipes() -> dict[str, Path]:
    """The ready recipes by name."""
    return ready_files("recipes")


def read_recipe(source: "str | Recipe") -> Recipe:
    """A ready recipe by name, a TOML file by its path, or a recipe as it is.

    Raises UnknownNameError for a recipe, section, key or captioner that is not there, and ConfigError for an impossible
    value, or a path where nothing is.
    """
    if isinstance(source, Recipe):
        return source
    recipe, _, path = read_toml(source, Recipe, "recipe", recipes(), _check_keys)
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
    checkpoint = beside(recipe.caption.checkpoint, path.parent)
    if looks_local(checkpoint) and not Path(checkpoint).exists():
        raise ConfigError(
            f"{path}: [caption] checkpoint = {recipe.caption.checkpoint!r} is a path, and nothing is at {checkpoint}. "
            "A path that begins with a dot counts from the recipe's own folder. Correct it, or give a hub id."
        )
    return replace(recipe, caption=replace(recipe.caption, checkpoint=checkpoint))
