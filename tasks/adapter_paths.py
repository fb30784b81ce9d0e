"""Which modules an adapter's configuration names, under their paths of today or of an older transformers.

Llava's modules were moved in transformers 4.52; adapters that were saved before name them by their old paths.
"""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from tasks.errors import CheckpointError

OLD_PATHS = (
    (re.compile(r"^language_model\.model\."), "model.language_model."),
    (re.compile(r"^language_model\.lm_head\b"), "lm_head"),
    (re.compile(r"^(vision_tower|multi_modal_projector)\b"), r"model.\1"),
)
"""Module paths of Llava before transformers 4.52 to today's."""
NEW_PATHS = (
    (re.compile(r"^model\.language_model\."), "language_model.model."),
    (re.compile(r"^lm_head\b"), "language_model.lm_head"),
    (re.compile(r"^model\.(vision_tower|multi_modal_projector)\b"), r"\1"),
)
"""The other way round."""
OF_TODAY = "model.language_model"
"""A module that models have whose paths were changed so. BLIP-2's paths look like Llava's old ones, and are right."""
TEXT_MODEL = re.compile(r"(^|\.)(language_model|text_decoder|lm_head)(\.|$)")
NARROWING = ("exclude_modules", "layers_to_transform", "layers_pattern")
"""Keys of a configuration by which fewer modules are adapted than `target_modules` names."""
SHOWN = 5

Rename = Callable[[str], str]
"""A module's path to the one it has today."""


def renaming(there: Collection[str]) -> Rename:
    """How a path is brought up to date for a model with these modules."""
    return current_path if OF_TODAY in there else str


def current_path(path: str) -> str:
    """Today's path of a module of Llava."""
    return _replaced(path, OLD_PATHS)


def _replaced(path: str, changes: Collection[tuple[re.Pattern[str], str]]) -> str:
    for old, new in changes:
        path = old.sub(new, path)
    return path


def compare_with_targets(
    said: dict[str, Any], modules: set[str], linear: set[str], current: Rename, source: Path
) -> set[str]:
    """Modules of `linear` that the adapter's configuration names, and its file has no tensors for.

    `modules` are those it has tensors for. Raises CheckpointError when the configuration does not name one of them:
    what was aimed at the text model may not touch the vision tower; and when a module without tensors is in the text
    model: the file is not whole. Outside of it, bare names such as q_proj reach further than was meant.
    """
    target = said.get("target_modules")
    if not isinstance(target, list | str) or target == "all-linear":
        return set()
    is_named = _pattern(target) if isinstance(target, str) else _endings(target, current)
    if stray := [module for module in modules if not is_named(module)]:
        raise CheckpointError(
            f"{source} does not name {len(stray)} of the modules that the adapter's file has tensors for: "
            f"{some(stray)}. Weights and configuration are not of the same adapter; fetch or save it again."
        )
    untouched = {name for name in linear - modules if is_named(name)}
    missing = [name for name in untouched if TEXT_MODEL.search(name)]
    if missing and not any(said.get(key) for key in NARROWING):
        raise CheckpointError(
            f"{source} names {len(missing)} modules of the text model that the adapter's file has no tensors for: "
            f"{some(missing)}. It is not whole; fetch or save it again."
        )
    return untouched


def _pattern(target: str) -> Callable[[str], bool]:
    """Written for paths of either time."""
    return lambda path: any(re.fullmatch(target, one) for one in (path, _replaced(path, NEW_PATHS)))


def _endings(target: list[str], current: Rename) -> Callable[[str], bool]:
    """Last parts of paths, or whole ones."""
    ends = tuple(f".{current(name)}" for name in target)
    return lambda path: f".{path}".endswith(ends)


def some(names: Collection[str]) -> str:
    """The first of many names, sorted."""
    return ", ".join(sorted(names)[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
