"""The parts of `make train-demo`: what it draws and learns from, and what it holds a training to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from process_watch import needs_proc, running, wait_for

from flows import train_demo
from flows.read_recipe import read_recipe
from flows.train_demo import LIFTED, NOT_RAISED, SIZE_PX, draw_store, proof
from storage.store import Store
from storage.tables import Frame, Reference
from storage.training_tables import AdapterScore
from tasks import trainables
from tasks.errors import ConfigError, TransientError
from tasks.training.samples import gather_samples
from toyworld.wordings import AUTOMATIC, HUMAN


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three movies of three shots, a frame each."""
    place = tmp_path_factory.mktemp("demo")
    draw_store(place, 3, 3)
    return place


DRAWING = """
import multiprocessing, time
from flows import train_demo

train_demo.whole_cores = lambda: 2
with train_demo._processes(16) as each:
    drawn = each(time.sleep, [600, 600])
    print(*(one.pid for one in multiprocessing.active_children()), flush=True)
    list(drawn)
"""


def rows(store: Store, table: str, row: type) -> list[object]:
    found: list[object] = []
    for path in store.files.under(table):
        ref = store.ref(table, path.removeprefix(f"{table}/movie_id=").removesuffix(".parquet"))
        assert ref
        found += store.read(ref, row)
    return found


def test_what_it_draws_can_be_learnt_from_by_its_recipe(folder: Path, tmp_path: Path) -> None:
    store, recipe = Store(str(folder / "store")), read_recipe("toyworld")
    reader = trainables.load(recipe.caption.backend).reader(Path(recipe.caption.checkpoint))
    found = gather_samples(store, recipe, reader.length, tmp_path / "samples.arrow")
    assert found.movies == {"train": 1, "validation": 1, "test": 1}
    assert sum(found.samples.values()) == 3 * 3 * 2
    assert not found.left_out
    assert [stage.sources for stage in recipe.stage] == [(AUTOMATIC,), (HUMAN,)]
    assert {(one.width, one.height) for one in rows(store, "frames", Frame)} == {SIZE_PX}  # type: ignore[attr-defined]


def test_its_captions_have_the_other_wording(folder: Path) -> None:
    told = [one.text for one in rows(Store(str(folder / "store")), "references", Reference)]  # type: ignore[attr-defined]
    assert len(told) == 18
    assert not [text for text in told if "The scene takes place" in text or ">A man" in text or "There is also" in text]


def test_what_is_drawn_is_not_drawn_again_and_what_was_cut_off_is(folder: Path) -> None:
    store = Store(str(folder / "store"))
    before = rows(store, "references", Reference)
    first, *others = sorted((folder / "movies").glob("*.mp4"))
    first.with_suffix(".done").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in (first, *others)}
    draw_store(folder, 3, 3)
    assert [path for path in stamps if path.stat().st_mtime_ns != stamps[path]] == [first]
    assert rows(store, "references", Reference) == before


def test_drawn_by_several_processes_it_is_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_demo, "MOVIES_OF_A_PROCESS", 1)
    monkeypatch.setattr(train_demo, "whole_cores", lambda: 2)
    told: list[tuple[int, int | None]] = []
    draw_store(tmp_path, 3, 3, lambda _, done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]
    for table, row in (("frames", Frame), ("references", Reference)):
        assert rows(Store(str(tmp_path / "store")), table, row) == rows(Store(str(folder / "store")), table, row)


def test_a_drawing_process_that_is_killed_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_demo, "whole_cores", lambda: 2)
    with pytest.raises(TransientError, match=r"killed.*Run the same again"), train_demo._processes(16) as each:
        list(each(os._exit, [9]))


@needs_proc
def test_drawing_processes_end_with_their_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", DRAWING], stdout=subprocess.PIPE, text=True) as begun:
        try:
            assert begun.stdout
            drawing = begun.stdout.readline().split()
        finally:
            begun.kill()
    assert len(drawing) == 2
    wait_for(lambda: not any(map(running, drawing)))


def test_movies_of_another_run_are_not_learnt_from(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds 1 movies that are not of this run, such as drawn-\d+: .*--folder"):
        draw_store(folder, 2, 3)
    with pytest.raises(ConfigError, match="holds 3 movies that are not of this run"):
        draw_store(folder, 3, 4)


def score(metric: str, before: float, after: float, low: float) -> AdapterScore:
    return AdapterScore(
        adapter="x", metric=metric, higher_is_better=None, before=before, before_low=None, before_high=None,
        after=after, after_low=None, after_high=None, difference=after - before, low=low, high=after - before,
        p_value=None, frames=9, reason=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("low", "faults", "shown"), [(0.1, 0.02, True), (0.0, 0.02, False), (-0.1, 0.02, False), (0.1, 0.021, False)]
)
def test_it_shows_what_it_is_to_show_only_if_all_of_it_holds(low: float, faults: float, shown: bool) -> None:
    first, second = LIFTED
    said = proof([score(first, 1, 2, 0.5), score(second, 1, 2, low), score(NOT_RAISED, 0.02, faults, 0)])
    assert said[0] is shown
    assert ("NOT lifted" in said[1]) == (low <= 0)
    assert ("RAISED" in said[1]) == (faults > 0.02)
