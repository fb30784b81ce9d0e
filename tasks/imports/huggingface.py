"""Hugging Face datasets with pictures: a folder or Parquet files, what save_to_disk wrote, or a name on the hub.

Read as a stream by `datasets`, which runs no code of a dataset. Captions are a column of texts, or of lists of texts.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.errors import ExchangeError, MissingExtraError
from tasks.imported_movies import Importer, Picture, readable
from tasks.imports import Options
from tasks.reference_files import caption_text

CAPTIONS = ("caption", "captions", "text", "texts", "sentence", "sentences", "reference", "references")
"""Columns that captions may stand in, and those that begin like the first, as caption_0. All of them are taken."""


def fits(path: Path) -> bool:
    """Parquet, or a folder with Parquet or with what save_to_disk writes."""
    if path.is_dir():
        return (path / "dataset_info.json").is_file() or next(path.rglob("*.parquet"), None) is not None
    return path.suffix == ".parquet"


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Bring one split of each.

    Raises MissingExtraError without `datasets`, ExchangeError for what it cannot read or has no column of pictures.
    """
    for path in paths:
        rows, picture, captions = _opened(path, options.split)
        place = Path(path)
        group = f"{place.stem if place.exists() else path}/{options.split}"
        importer.add(group, _pictures(path, rows, picture, captions, importer, options))


def _opened(path: str, split: str) -> tuple[Any, str, list[str]]:
    """(rows as a stream, the column of pictures, the columns of captions)"""
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("a Hugging Face dataset", "datasets", 'pip install "caption-movies[train]"') from error
    try:
        rows = _rows(datasets, path, split)
        features = rows.features or next(iter(rows.take(1)), None) or {}
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ExchangeError(f"{path} cannot be read as a dataset, split {split!r}: {error}") from error
    pictures = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not pictures:
        raise ExchangeError(f"{path} has no column of pictures; it has {', '.join(features) or 'none'}.")
    captions = [name for name in features if name in CAPTIONS or name.startswith("caption_")]
    return rows.cast_column(pictures[0], datasets.Image(decode=False)), pictures[0], captions


def _rows(datasets: Any, path: str, split: str) -> Any:
    place = Path(path)
    if (place / "state.json").is_file():
        return datasets.load_from_disk(path)
    if (place / "dataset_dict.json").is_file():
        return datasets.load_from_disk(str(place / split))
    if place.is_file():
        return datasets.load_dataset("parquet", data_files=path, split="train", streaming=True)
    if not place.exists() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        raise ExchangeError(f"there is no {path}, and it is no name of a dataset on the hub.")
    return datasets.load_dataset(path, split=split, streaming=True)


def _pictures(
    path: str, rows: Any, column: str, captions: Sequence[str], importer: Importer, options: Options
) -> Iterator[Picture]:
    for number, row in enumerate(_read_on(path, rows)):
        try:
            name, found = _bytes(row[column], Path(path))
            content, width, height = readable(found)
            told = tuple((options.source, text) for one in captions for text in _texts(row[one], one))
        except (OSError, ValueError) as error:
            importer.brought.leave_out(f"{path} row {number + 1}", str(error))
            continue
        yield Picture(str(number), name or f"{number:08d}.", content, width, height, captions=told)


def _read_on(path: str, rows: Any) -> Iterator[Any]:
    """The rows. Raises ExchangeError where they break off: a damaged file, a hub that is gone."""
    try:
        yield from rows
    except (OSError, ValueError) as error:
        raise ExchangeError(f"{path} cannot be read to its end: {error}. Get it anew, or try again.") from error


def _bytes(found: Any, folder: Path) -> tuple[str, bytes]:
    """(file name, content). A dataset may name files of its own folder, and no others."""
    if not found:
        raise ValueError("its picture is null")
    path = found.get("path") or ""
    name = path.replace("\\", "/").rpartition("/")[2]
    if found.get("bytes"):
        return name, found["bytes"]
    if not path or not folder.is_dir() or not Path(path).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"its picture has no bytes, and {path!r} is no file of the dataset's folder")
    return name, Path(path).read_bytes()


def _texts(found: Any, column: str) -> list[str]:
    """Raises ValueError for what is no caption; null is none."""
    texts = found if isinstance(found, list) else [] if found is None else [found]
    return [caption_text(text, f"column {column}") for text in texts]
