"""A file or folder for other tools appears whole or not at all, and never takes the place of what is not its own.

Written under a hidden name beside its place, then renamed. A process that is killed leaves the hidden draft only; the
next one that writes to the same place sweeps it away.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.errors import StoreError
from storage.files import TEMPORARY, draft_name, owner_is_dead, sync_folder

MARK = ".caption-movies-export.json"
"""Stands in every folder that an export wrote, and says what it is."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _is_marked(folder: Path) -> bool:
    return (folder / MARK).is_file()


@contextmanager
def appearing(place: Path, *, folder: bool, force: bool, is_own: Callable[[Path], bool] = _is_marked) -> Iterator[Path]:
    """A draft to write, a folder (made already) or a file; leaving without an error puts it in its place.

    What stands there is replaced with `force` only, and a folder only when it is empty or `is_own` says that it is of
    the same kind. Raises StoreError when it may not be replaced, or the place cannot be written.
    """
    place = place.parent.resolve() / place.name  # else `missing/../place` is looked at only once `missing` is made
    try:
        _may_take(place, folder=folder, force=force, is_own=is_own)
        place.parent.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        draft = place.parent / draft_name(place.name)
        if folder:
            draft.mkdir()
    except OSError as error:
        raise StoreError(f"nothing can be written at {place}: {error}. Give another place.") from error
    try:
        yield draft
        _may_take(place, folder=folder, force=force, is_own=is_own)  # another process may have written there meanwhile
        _publish(draft, place)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise StoreError(f"there is no room for {place}: {error}. Make room, or give another place.") from error
    finally:
        _remove(draft)


def mark(folder: Path, said: Mapping[str, Any]) -> None:
    """Say in a folder's draft what it is."""
    (folder / MARK).write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _may_take(place: Path, *, folder: bool, force: bool, is_own: Callable[[Path], bool]) -> None:
    if not os.path.lexists(place):
        return
    if place.is_symlink():
        raise StoreError(f"{place} is a link, and is not replaced. Give the place it leads to, or another one.")
    if folder and place.is_dir() and not any(place.iterdir()):
        return
    if not force:
        raise StoreError(f"{place} stands there already. Give --force to replace it, or another place.")
    if place.is_dir() != folder:
        kind = "a folder" if folder else "a file"
        raise StoreError(f"{place} is not {kind} written here, so it is not replaced. Give another place.")
    if folder and not is_own(place):
        raise StoreError(
            f"the folder {place} was not written by an export like this one, so it is not replaced. Give another place."
        )


def _publish(draft: Path, place: Path) -> None:
    if draft.is_dir():
        os.sync()  # thousands of pictures: one by one would take longer than writing them
    else:
        with draft.open("rb") as written:
            os.fsync(written.fileno())
    old = place.parent / draft_name(place.name)
    if place.is_dir():
        place.rename(old)
    draft.rename(place)
    sync_folder(place.parent)
    _remove(old)


def _sweep(place: Path) -> None:
    for path in place.parent.glob(f".{_plain(place.name)}.*{TEMPORARY}"):
        if owner_is_dead(path.name):
            _remove(path)


def _plain(name: str) -> str:
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
