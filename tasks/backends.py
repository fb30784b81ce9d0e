"""The whole plug-in mechanism: a backend is a module beside others, its file name is its configuration value."""

import importlib
import pkgutil
from types import ModuleType

from tasks.errors import UnknownNameError


def available(package: ModuleType) -> list[str]:
    """Names of the modules in a package of backends, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def load(package: ModuleType, kind: str, name: str) -> ModuleType:
    """Import one backend. Raises UnknownNameError with the list; a missing library is the backend's own error."""
    if name not in (names := available(package)):
        raise UnknownNameError(kind, name, names)
    return importlib.import_module(f"{package.__name__}.{name}")
