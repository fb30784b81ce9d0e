"""Files and folders for other tools: what is never replaced, and what is said when it does not fit."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.errors import StoreError
from storage.whole_output import appearing


def put(place: Path, write: Callable[[Path], object], *, folder: bool = False, force: bool = True) -> None:
    with appearing(place, folder=folder, force=force) as draft:
        write(draft)


def contents(folder: Path) -> dict[str, str]:
    return {one.name: one.read_text() for one in folder.iterdir()}


@pytest.mark.parametrize("target", ["empty", "nowhere"])
def test_a_link_is_not_replaced(target: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises(StoreError, match="is a link, and is not replaced"):
        put(tmp_path / "link", lambda draft: pytest.fail("nothing is to be written"), folder=True)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "link"]


def test_what_another_process_wrote_meanwhile_stays(tmp_path: Path) -> None:
    def write(draft: Path) -> None:
        draft.write_text("late")
        (tmp_path / "rows.csv").write_text("first")

    with pytest.raises(StoreError, match="stands there already"):
        put(tmp_path / "rows.csv", write, force=False)
    assert contents(tmp_path) == {"rows.csv": "first"}


def test_what_does_not_fit_is_said_with_the_remedy_and_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "rows.csv"
    place.write_text("before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a full disk: the write itself fails
        with pytest.raises(StoreError, match=r"there is no room for .* Make room, or give another place"):
            put(place, lambda draft: draft.write_bytes(bytes(2000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert contents(tmp_path) == {"rows.csv": "before"}
