"""The demo's one run: by the time it begins, the frames and what is true of them stand in the store."""

from pathlib import Path
from typing import Any

import pytest

from flows import run_demo
from flows.read_configuration import read_configuration
from flows.report_run import Report
from flows.run_state import Failed
from storage.errors import StoreError
from storage.store import Store, TableRef
from storage.tables import Frame, Reference
from tasks.frames import extract_shard
from tasks.movie_files import identify_movies


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_demo, "SECONDS", 6.0)
    monkeypatch.setattr(run_demo, "SHOTS", 2)


def a_report(store: str, failures: list[Failed]) -> Report:
    nothing: dict[str, Any] = dict.fromkeys(
        ("files", "shots", "frames", "detections", "captions", "captions_ok", "captions_mended", "failed_frames",
         "captions_citing_nothing", "shards_computed"), 0,
    )  # fmt: skip
    return Report(store=store, run_id="r", captioner="demo", movies={}, quarantined={}, failures=failures, **nothing)


@pytest.mark.usefixtures("short")
def test_it_runs_once_with_references_for_its_frames_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[int, dict[str, set[str]]]] = []
    failed = [Failed("caption", "no weights")]

    def run_here(movies: list[str], location: str, profile: str, *, verbose: bool) -> Report:
        store = Store(location)
        (movie,) = identify_movies(movies)
        first = extract_shard(movie, 0, store, read_configuration(profile).frames)
        assert first.last
        assert first.frames.found, "the run takes the frames as they stand"
        paths = store.files.under("references")
        told: dict[str, set[str]] = {}
        for path in paths:
            for one in store.read(TableRef("references", "", path, 0, ""), Reference):
                told.setdefault(one.source, set()).add(one.frame_id)
        frames = {one.frame_id for one in store.read(first.frames, Frame)}
        assert all(ids <= frames for ids in told.values())
        begun.append((len(frames), told))
        return a_report(location, failed)

    monkeypatch.setattr(run_demo, "run_here", run_here)
    for _ in range(2):  # again on the same store: as it was
        report, lines = run_demo.run_demo(tmp_path / "movies", str(tmp_path / "store"))
        assert (report.failures, lines) == (failed, [])
    assert len(begun) == 2
    assert begun[0] == begun[1]
    frames, told = begun[0]
    assert len(told) == 2
    assert all(0 < len(ids) <= frames for ids in told.values())


@pytest.mark.usefixtures("short")
def test_a_store_that_cannot_be_written_is_said_before_anything_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Give another place"):
        run_demo.run_demo(tmp_path / "movies", str(tmp_path / "file" / "store"))
