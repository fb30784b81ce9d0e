"""The seam to other tools' formats: frames, detections and captions of a store as their files. A format is one file
here; its name is what `--format` takes.

A format says of itself what it writes, and writes it:

    FOLDER       whether it is a folder, or one file
    ALL_FRAMES   whether frames without a caption belong to it
    DETECTED     whether frames on which no detector worked cannot be said in it
    write(samples, draft, options)

`draft` is a path that nobody else sees until everything is there. The same store gives the same bytes: no times, no
paths of this machine, sorted keys.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from storage.store import Store
from storage.whole_output import appearing, mark
from tasks import backends
from tasks.errors import ConfigError, ExchangeError
from tasks.export_samples import Sample, samples
from tasks.export_selection import Wanted, select

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a format may be told."""

    split: str = "train"
    """Name of the split, where the format has splits."""
    template: str = "groundcap-card"
    """Name in tasks/prompts.py of the prompt that chat samples have."""

    def __post_init__(self) -> None:
        if not self.split.isidentifier():  # it becomes a part of file names
            raise ConfigError(f"the split is called {self.split!r}; give letters, digits and underscores, as in train.")


class Format(Protocol):
    """A module of this package."""

    FOLDER: bool
    ALL_FRAMES: bool
    DETECTED: bool

    def write(self, samples: Iterator[Sample], draft: Path, options: Options) -> None:
        """Write everything. Raises ExchangeError where a sample cannot be said in the format, with its id."""


@dataclass
class Exported:
    """What an export wrote, and what it left out."""

    place: Path
    frames: int = 0
    captions: int = 0
    detections: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """Captions of the selection that were not taken, by verdict."""
    undetected: int = 0
    """Frames left out because no detector worked on them."""


def available() -> list[str]:
    """Names of the formats."""
    return backends.available(sys.modules[__name__])


def export(
    store: Store, name: str, place: str, wanted: Wanted, options: Options | None = None, *, force: bool = False,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Exported:  # fmt: skip
    """Write what is wanted of a store in a format. A reader of `place` sees all of it, or nothing.

    `tell` hears how many frames are written, and of how many at most. Raises UnknownNameError for a format that is
    not there, StoreError when the place is taken or the store cannot be read, ExchangeError when nothing is left to
    write, and what the format raises.
    """
    form: Format = backends.load(sys.modules[__name__], "format", name.replace("-", "_"))
    if "://" in place:
        raise ConfigError(f"{place} is no path of this machine. Export to a folder, and copy it from there.")
    path = Path(place).absolute()
    done = Exported(path)
    with select(store.location, wanted) as selection:
        done.left_out = selection.left_out
        with appearing(path, folder=form.FOLDER, force=force) as draft:
            most = selection.frames(all_frames=form.ALL_FRAMES)
            found = _counted(samples(store, selection, all_frames=form.ALL_FRAMES), done, form.DETECTED)
            found = _told(found, lambda: tell(done.frames, most))
            form.write(found, draft, options or Options())
            if not done.frames:
                raise _nothing(store, done)
            if form.FOLDER:
                mark(draft, {"format": name.replace("-", "_"), "version": VERSION, "frames": done.frames,
                             "captions": done.captions, "left_out": dict(done.left_out)})  # fmt: skip
    return done


def _nothing(store: Store, done: Exported) -> ExchangeError:
    left = ", ".join(f"{number} {verdict}" for verdict, number in sorted(done.left_out.items()))
    remedy = "Ask for others, or take more with --quarantined or --every-candidate."
    if done.undetected:
        left += f"{'; ' if left else ''}frames on which no detector worked: {done.undetected}"
        remedy = "Detect in them first: caption-movies caption."
    return ExchangeError(
        f"nothing of {store.location} is to be exported; captions left out: {left or 'none'}. {remedy}"
    )


def _told(found: Iterator[Sample], tell: Callable[[], None]) -> Iterator[Sample]:
    for sample in found:
        tell()
        yield sample


def _counted(found: Iterator[Sample], done: Exported, detected: bool) -> Iterator[Sample]:
    for sample in found:
        if detected and not sample.detected:
            done.undetected += 1
            continue
        done.frames += 1
        done.captions += len(sample.captions)
        done.detections += len(sample.detections)
        yield sample
