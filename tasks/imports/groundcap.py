"""GroundCap's dataset, and what `export --format groundcap` writes: Parquet files, or a folder of them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.groundcap import COLUMNS, import_groundcap
from tasks.imported_movies import Importer
from tasks.imports import Options


def fits(path: Path) -> bool:
    """Parquet with the dataset's columns."""
    first = next(iter(_files(path)), None)
    if first is None or not first.is_file():
        return False
    try:
        return set(COLUMNS) <= set(pq.read_schema(first).names)
    except (OSError, pa.ArrowInvalid):
        return False


def bring(paths: Sequence[str], importer: Importer, options: Options) -> None:
    """Bring the files, given together."""
    files = [str(file) for path in paths for file in _files(Path(path))]
    importer.brought = import_groundcap(files or paths, importer.store, importer.name)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.rglob("*.parquet") if not one.name.startswith("."))
    return [path] if path.suffix == ".parquet" else []
