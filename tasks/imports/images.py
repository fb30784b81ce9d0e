"""Folders of pictures: each folder is a movie, its pictures frames by name; `x.txt` is the caption of `x.jpg`."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.errors import ExchangeError
from tasks.imported_movies import Brought, Importer, Picture, readable
from tasks.imports import Options
from tasks.reference_files import caption_text

ENDINGS = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"])


def fits(path: Path) -> bool:
    """A picture, or a folder with one at any depth."""
    return path.suffix.lower() in ENDINGS or (path.is_dir() and next(_folders(path), None) is not None)


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Bring folders at any depth, and pictures that are named themselves. Hidden files are passed over."""
    for given in map(Path, paths):
        if not given.exists():
            raise ExchangeError(f"there is no {given}. Give folders of pictures, or pictures.")
        if given.is_file():
            importer.add(given.stem, _pictures(given.parent, [given.name], importer.brought, options))
            continue
        for folder, names in _folders(given):
            below = folder.relative_to(given)
            group = "/".join([given.resolve().name, *below.parts])
            importer.add(group, _pictures(folder, names, importer.brought, options))


def _folders(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders that hold pictures, with the pictures' names, both sorted."""
    for here, folders, names in os.walk(top):
        folders[:] = sorted(one for one in folders if one[0] != ".")
        found = sorted(one for one in names if one[0] != "." and os.path.splitext(one)[1].lower() in ENDINGS)
        if found:
            yield Path(here), found


def _pictures(folder: Path, names: Sequence[str], brought: Brought, options: Options) -> Iterator[Picture]:
    for name in names:
        path = folder / name
        try:
            content, width, height = readable(path.read_bytes())
            told = _caption(path.with_suffix(".txt"))
        except (OSError, ValueError) as error:
            brought.leave_out(str(path), str(error))
            continue
        yield Picture(name, name, content, width, height, captions=((options.source, told),) if told else ())


def _caption(path: Path) -> str:
    """Empty where there is none. Raises ValueError for what is no caption."""
    try:
        told = path.read_text(encoding="utf-8-sig").strip()
        return caption_text(told, f"its caption {path.name}") if told else ""
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ValueError(f"its caption {path.name} is no UTF-8 ({error.reason})") from error
