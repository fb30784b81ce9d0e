"""A file that was given and is not there, is a folder, or may not be read: said with the remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rows import frame, movie, write

from storage.errors import CaptionMoviesError
from storage.store import Store
from tasks.given_files import cannot_open
from tasks.groundcap import import_groundcap
from tasks.panoptic_files import read_panoptic
from tasks.references import import_references

READERS: dict[str, tuple[str, Callable[[str, Store], object]]] = {
    "panoptic": ("truth.json", lambda path, _store: read_panoptic(path)),
    "groundcap": ("rows.parquet", lambda path, store: import_groundcap([path], store)),
    "references": ("said.jsonl", lambda path, store: import_references(path, store, "human")),
    "references in Parquet": ("said.parquet", lambda path, store: import_references(path, store, "human")),
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    filled = Store(str(tmp_path / "store"))
    write(filled, [movie()], "mabc")
    write(filled, [frame()])
    return filled


def said(reader: str, path: Path, store: Store) -> str:
    with pytest.raises(CaptionMoviesError) as raised:
        READERS[reader][1](str(path), store)
    assert "Errno" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("reader", READERS)
def test_a_missing_file_is_said_with_the_remedy(reader: str, tmp_path: Path, store: Store) -> None:
    path = tmp_path / "nowhere" / READERS[reader][0]
    assert said(reader, path, store) == f"there is no file {path}. Correct the path."
    path = tmp_path / "file" / READERS[reader][0]
    path.parent.touch()
    assert said(reader, path, store) == f"there is no file {path}. Correct the path."


@pytest.mark.parametrize("reader", sorted(set(READERS) - {"references"}))
def test_a_folder_is_no_file(reader: str, tmp_path: Path, store: Store) -> None:
    path = tmp_path / READERS[reader][0]
    path.mkdir()
    assert "is a folder" in said(reader, path, store) or "holds no" in said(reader, path, store)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_of_another_format_is_not_said_to_be_missing(reader: str, tmp_path: Path, store: Store) -> None:
    path = tmp_path / READERS[reader][0]
    path.write_bytes(b"PAR1 is no \xff such file")
    words = said(reader, path, store)
    assert words.startswith(str(path))
    assert "there is no file" not in words


def test_a_file_that_may_not_be_read_says_why(tmp_path: Path) -> None:
    error = PermissionError(13, "Permission denied")
    assert (
        cannot_open(tmp_path / "x", error)
        == f"{tmp_path / 'x'} cannot be read: Permission denied. Check its permissions."
    )
