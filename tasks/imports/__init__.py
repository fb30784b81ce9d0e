"""The seam to datasets of other tools: their pictures, captions and detections as movies of a store. A format is one
file here; its name is what `--as` takes.

A format says whether a path looks like it, and brings what lies there:

    fits(path)
    bring(paths, importer, options)

Nothing is unpickled, no code of a dataset is run, nothing is written outside the store. What cannot be used is left out
and named.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from storage.store import Store
from tasks import backends
from tasks.errors import ConfigError, ExchangeError
from tasks.imported_movies import Brought, Importer, check_name
from tasks.references import check_source

ORDER = ("groundcap", "webdataset", "coco", "huggingface", "images")
"""In which order formats are asked whether a path is theirs: pictures lie in folders of other formats too."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a format may be told."""

    source: str = "human"
    """Who wrote the captions, where the dataset does not say."""
    pictures: str | None = None
    """Folder of the pictures, where the file that is given only names them."""
    split: str = "train"
    """Name of the split, where the dataset has splits."""
    max_detections: int = 40
    """Objects kept of a picture, as of a detector."""

    def __post_init__(self) -> None:
        """Check values. Raises ConfigError."""
        check_source(self.source)
        if self.max_detections < 1:
            raise ConfigError(f"max_detections is {self.max_detections}; it has to be at least 1.")


class Format(Protocol):
    """A module of this package."""

    def fits(self, path: Path) -> bool:
        """Whether a file or folder looks like it."""

    def bring(self, paths: Sequence[str], importer: Importer, options: Options) -> None:
        """Bring everything. Raises ExchangeError, or ReferencesError, where nothing can be read."""


def available() -> list[str]:
    """Names of the formats."""
    return backends.available(sys.modules[__name__])


def import_data(
    paths: Sequence[str], store: Store, name: str | None = None, form: str | None = None,
    options: Options | None = None, tell: Callable[[int, int], None] = lambda done, of: None,
) -> Brought:  # fmt: skip
    """Bring datasets of one format into a store. Movies are called `<name>_<what the dataset holds together>`.

    `tell` hears how many pictures are read, and 0: how many there are shows at the end.

    `name` is the format's unless given; `form` is found out unless given. Raises UnknownNameError for a format that is
    not there, ConfigError for a name that is none, ExchangeError when nothing can be used.
    """
    chosen = form.replace("-", "_") if form else _recognised(paths)
    module = load(chosen)
    importer = Importer(store, name or chosen, tell)
    check_name(importer.name)
    module.bring(paths, importer, options or Options())
    importer.finish()
    brought = importer.brought
    if not brought.frames:
        first = brought.left_out[0] if brought.left_out else None
        why = f"the first: {first.place}: {first.why}" if first else "there are no pictures"
        raise ExchangeError(f"nothing of {', '.join(paths)} can be used as {chosen}; {why}.")
    return brought


def load(name: str) -> Format:
    """A format by its name. Raises UnknownNameError."""
    module: Format = backends.load(sys.modules[__name__], "format", name)
    return module


def _recognised(paths: Sequence[str]) -> str:
    first = Path(paths[0])
    if (found := next((name for name in ORDER if load(name).fits(first)), None)) is not None:
        return found
    if not first.exists():
        raise ExchangeError(f"there is no {first}. A dataset on the hub goes with --as huggingface.")
    raise ExchangeError(f"{first} looks like none of {', '.join(ORDER)}. Say which with --as.")
