"""WebDataset: tar files, plain or compressed, whose members `key.jpg`, `key.txt` and `key.json` are one picture.

Read as a stream in memory; nothing is unpacked to disk. https://github.com/webdataset/webdataset: members of one key
follow each other, a key goes to the first dot of the file's name.
"""

import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Any

from storage.tables import Detection
from tasks.errors import ExchangeError
from tasks.imported_detections import own_detections
from tasks.imported_movies import Importer, Picture, grouped, readable
from tasks.imports import Options
from tasks.reference_files import caption_text
from tasks.references import is_source

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
PICKLED = ("pyd", "pickle", "pkl", "pth", "pt", "ckpt", "joblib", "dill")
"""Endings that WebDataset's own decoders unpickle, or that tools of its users do."""
MEMBER_BYTES = 256 << 20
"""No picture or caption is larger; a member that says it is would fill the memory."""
TEXTS = ("caption", "text", "plain_text")
"""Names in JSON that a caption may stand under; the first one there is taken."""
CAPTION = "its caption"
Lose = Callable[[str, str], None]


def fits(path: Path) -> bool:
    """A tar file, or a folder of them."""
    return bool(_files(path))


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Bring archives. What was exported here keeps its movies; else each archive is one."""
    files = [file for path in paths for file in _files(Path(path))]
    if not files:
        raise ExchangeError(f"no tar file in {', '.join(paths)}. WebDataset's end in {', '.join(ENDINGS)}.")
    grouped(_pictures(files, importer.brought.leave_out, options), importer)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.iterdir() if one.name.endswith(ENDINGS) and one.name[0] != ".")
    return [path] if path.name.endswith(ENDINGS) and path.exists() else []


def _pictures(files: Sequence[Path], lose: Lose, options: Options) -> Iterator[tuple[str, Picture]]:
    for file in files:
        for key, parts in _samples(file, lose):
            try:
                yield _picture(file, key, parts, options)
            except ValueError as error:
                lose(f"{file.name}: {key}", str(error))


def _samples(file: Path, lose: Lose) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, content by ending) of every sample; of an archive that breaks off, of those before."""
    waiting, parts = "", dict[str, bytes]()
    try:
        with tarfile.open(file, "r|*") as tar:
            for member in tar:
                key, ending = _named(member, f"{file.name}: {member.name!r}", lose)
                if not key:
                    continue
                if key != waiting and parts:
                    yield waiting, parts
                    parts = {}
                waiting = key
                if (content := tar.extractfile(member)) is not None:
                    parts[ending] = content.read()
    except (OSError, tarfile.TarError, EOFError, zlib.error, LZMAError) as error:
        lose(file.name, f"it cannot be read on, what stands before is taken: {error}")
        parts.clear()
    if parts:
        yield waiting, parts


def _named(member: tarfile.TarInfo, where: str, lose: Lose) -> tuple[str, str]:
    """(key, ending) of a member that is wanted, else two empty texts."""
    path = PurePosixPath(member.name.replace("\\", "/"))
    key, _, ending = path.name.partition(".")
    ending = ending.lower()
    if member.isdir() or path.name.startswith("."):
        return "", ""
    if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", member.name):
        lose(where, "its path leads out of the archive")
    elif not member.isreg():
        lose(where, "it is a link or a device, no file")
    elif ending.rpartition(".")[2] in PICKLED:
        lose(where, "it is pickled: to read it would run whatever it says. Write it as .json or .txt")
    elif member.size > MEMBER_BYTES:
        lose(where, f"it is of {member.size} bytes, more than {MEMBER_BYTES}")
    elif ending in (*PICTURES, "txt", "json"):
        return str(path.parent / key), ending
    return "", ""


def _picture(file: Path, key: str, parts: Mapping[str, bytes], options: Options) -> tuple[str, Picture]:
    """(group, picture). Raises ValueError with what is wrong."""
    ending = next((one for one in PICTURES if one in parts), None)
    if ending is None:
        raise ValueError("it has no picture")
    told = _json(parts.get("json"))
    objects: tuple[Detection, ...] | None = own_detections(told["detections"]) if "detections" in told else None
    content, width, height = readable(parts[ending], upright=objects is None)
    group, seconds = told.get("movie_id"), told.get("pts_seconds", 0.0)
    if not isinstance(group, str) or not group:
        group = file.name.partition(".")[0]
    if type(seconds) not in (int, float) or not 0 <= seconds < 1e9:
        raise ValueError(f"pts_seconds is {seconds!r}, no time")
    captions = tuple(_captions(told, parts.get("txt"), options.source))
    name = f"{PurePosixPath(key).name}.{ending}"
    return group, Picture(key, name, content, width, height, objects, captions, float(seconds))


def _json(content: bytes | None) -> Mapping[str, Any]:
    if content is None:
        return {}
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its json cannot be read: {error}") from error
    return told if isinstance(told, Mapping) else {"caption": told}


def _captions(told: Mapping[str, Any], text: bytes | None, source: str) -> Iterator[tuple[str, str]]:
    """(source, text) of each caption: of our own list; else of the txt, else of the json."""
    listed = told.get("captions")
    if isinstance(listed, list) and listed and all(isinstance(one, Mapping) for one in listed):
        for one in listed:
            by = one.get("captioner")
            yield (by if is_source(by) else source), caption_text(one.get("caption"), CAPTION)
        return
    found: Any = text
    if text is None:
        found = listed if isinstance(listed, list) else next((told[one] for one in TEXTS if told.get(one)), None)
    for one in found if isinstance(found, list) else [found] if found else []:
        yield source, caption_text(_decoded(one), CAPTION)


def _decoded(found: Any) -> Any:
    try:
        return found.decode("utf-8-sig").strip() if isinstance(found, bytes) else found
    except UnicodeDecodeError as error:
        raise ValueError(f"{CAPTION} is no UTF-8 ({error.reason})") from error
