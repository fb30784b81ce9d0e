"""What leaves a store: the selection, the formats, whole outputs, and the command."""

import csv
import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rows as rows_made
from exchange_making import AT_FAULT, GOOD, fill

from flows.command_line import command_parser, main
from storage.errors import StoreError
from storage.store import Store
from storage.whole_output import MARK
from tasks import imports
from tasks.export_selection import Wanted
from tasks.exports import available, export
from tasks.references import import_references


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("filled") / "store"))
    fill(store)
    return store


def rows(store: Store, tmp_path: Path, **wanted: object) -> list[tuple[str, str]]:
    place = tmp_path / "rows.jsonl"
    export(store, "jsonl", str(place), Wanted(**wanted), force=True)  # type: ignore[arg-type]
    told = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines()]
    return [(row["frame_id"], row["caption"]) for row in told]


def test_only_captions_that_may_be_used_leave_and_the_others_are_counted(filled: Store, tmp_path: Path) -> None:
    done = export(filled, "jsonl", str(tmp_path / "a.jsonl"), Wanted())
    assert (done.frames, done.captions, done.detections) == (2, 2, 6)
    assert done.left_out == {"failed": 2, "violations": 2}
    assert rows(filled, tmp_path) == [("ma_000000", GOOD), ("mb_000000", GOOD)], "in order of movie and frame"
    assert rows(filled, tmp_path, quarantined=True) == [
        ("ma_000000", GOOD), ("ma_000001", AT_FAULT), ("mb_000000", GOOD), ("mb_000001", AT_FAULT)
    ]  # fmt: skip


def test_a_selection_by_movie_captioner_and_query(filled: Store, tmp_path: Path) -> None:
    assert rows(filled, tmp_path, movies=("The mb",)) == [("mb_000000", GOOD)]
    assert rows(filled, tmp_path, movies=("ma",), captioner="old") == [("ma_000000", GOOD)]
    by_frame = "select frame_id from detections where label = 'dog' and frame_id like 'ma%'"
    assert rows(filled, tmp_path, query=by_frame, quarantined=True) == [("ma_000000", GOOD), ("ma_000001", AT_FAULT)]
    by_caption = "select caption_id from mentions where label = 'dog'"
    assert rows(filled, tmp_path, query=by_caption, quarantined=True) == [
        ("ma_000001", AT_FAULT), ("mb_000001", AT_FAULT)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--format", "josnl"], "Did you mean 'jsonl'"),
        (["--query", "select movie_id from movies"], "answers with movie_id; what leaves the store goes by a column"),
        (["--query", "select frame_id from nothing"], "DuckDB says"),
        (["--query", "movie_statu"], "Did you mean 'movie_status'"),
        (["--captioner", "new"], "has no captioner 'new'; it has old"),
        (["--movies", "mz"], "has no movie 'mz'; it has The ma, The mb, ma, mb"),
        (["--references", "human"], "has no source 'human'; it has none"),
        (["--query", "select frame_id from frames where frame_index = 2"], "captions left out: 2 failed"),
        (["--out", "s3://bucket/x"], "is no path of this machine"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    filled: Store, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--format", "jsonl", "--out", str(tmp_path / "x.jsonl"), "--store", filled.location, *arguments]
    assert main(["export", *given]) in (1, 2)
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_rows_come_back_as_references(tmp_path: Path) -> None:
    filled = Store(str(tmp_path / "store"))
    fill(filled)
    for form in ("jsonl", "csv"):
        export(filled, form, str(tmp_path / f"rows.{form}"), Wanted())
        back = import_references(str(tmp_path / f"rows.{form}"), filled, "back")
        assert rows(filled, tmp_path, references=("back",)) == [("ma_000000", GOOD), ("mb_000000", GOOD)]
        assert back.unmatched == 0
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert [one["object_id"] for one in json.loads(first["detections"])] == ["person-0", "dog-0", "grass-0"]


@pytest.mark.parametrize("name", available())
def test_the_same_store_gives_the_same_bytes_and_nothing_is_overwritten_unasked(
    name: str, filled: Store, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    export(filled, name, str(place), Wanted())
    first = contents(place)
    with pytest.raises(StoreError, match="stands there already"):
        export(filled, name, str(place), Wanted())
    assert contents(place) == first
    export(filled, name, str(place), Wanted(quarantined=True), force=True)
    assert contents(place) != first
    export(filled, name, str(place), Wanted(), force=True)
    assert contents(place) == first
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "no draft is left"
    for path, content in first.items():
        assert str(tmp_path).encode() not in content, f"{path} tells of this machine"


def contents(place: Path) -> dict[str, bytes]:
    if place.is_file():
        return {place.name: place.read_bytes()}
    return {str(path.relative_to(place)): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}


def test_a_folder_that_no_export_wrote_is_never_replaced(filled: Store, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="was not written by an export"):
        export(filled, "groundcap", str(home), Wanted(), force=True)
    with pytest.raises(StoreError, match="is not a file written here"):
        export(filled, "jsonl", str(home), Wanted(), force=True)
    with pytest.raises(StoreError, match="was not written by an export"):  # not there before `missing` is made
        export(filled, "groundcap", str(tmp_path / "missing" / ".." / "home"), Wanted(), force=True)
    assert contents(home) == {"thesis.txt": b"years of work"}
    (tmp_path / "empty").mkdir()
    export(filled, "groundcap", str(tmp_path / "empty"), Wanted())
    assert json.loads((tmp_path / "empty" / MARK).read_text())["captions"] == 2


def test_the_command_says_what_it_wrote_and_what_it_left(
    filled: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "deep" / "rows.csv"
    assert main(["export", "--format", "csv", "--out", str(place), "--store", filled.location]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "captions  2 (left out: 2 failed, 2 violations)", "frames    2, 6 detections", f"written   {place}"
    ]  # fmt: skip


KILLED = """
import os, signal, sys
from storage.store import Store
from tasks import exports
from tasks.export_selection import Wanted

real = exports.samples

def dying(*given, **named):
    for number, sample in enumerate(real(*given, **named)):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        yield sample

exports.samples = dying
exports.export(Store(sys.argv[1]), sys.argv[2], sys.argv[3], Wanted(quarantined=True))
"""


@pytest.mark.parametrize("name", ["jsonl", "webdataset"])
def test_a_killed_export_leaves_nothing_that_looks_whole(name: str, filled: Store, tmp_path: Path) -> None:
    place = tmp_path / "out"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", KILLED, filled.location, name, str(place)], cwd=root)
    assert done.returncode == -signal.SIGKILL
    (draft,) = tmp_path.iterdir()
    assert draft.name.startswith(".out.")
    export(filled, name, str(place), Wanted(quarantined=True))
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "the draft of the dead is swept away"
    export(filled, name, str(tmp_path / "again"), Wanted(quarantined=True))
    assert list(contents(place).values()) == list(contents(tmp_path / "again").values())


@pytest.mark.parametrize("name", ["jsonl", "groundcap", "webdataset", "fiftyone"])
def test_memory_does_not_hold_all_pictures(name: str, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    random = np.random.default_rng(0)
    for shard in range(4):
        image = dataclasses.replace(rows_made.frame().image, bytes=random.bytes(100_000))
        frames = [dataclasses.replace(rows_made.frame(150 * shard + n, "ma"), image=image) for n in range(150)]
        rows_made.write(store, list(frames), f"ma/{shard:05d}")
    told = [rows_made.caption(f"ma_{number:06d}", "a dog") for number in range(600)]
    rows_made.write(store, list(told), "ma/00000", captioner="scripted")
    tracemalloc.start()
    done = export(store, name, str(tmp_path / "out"), Wanted(quarantined=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.captions == 600
    assert peak < 24_000_000, "64 pictures of 60 MB are the most that waits anywhere"


def test_the_page_of_the_doors_names_every_format_and_commands_that_are_there() -> None:
    page = (Path(__file__).parents[1] / "docs" / "exports.md").read_text(encoding="utf-8")
    out, into = page.split("## In:")
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", out, re.MULTILINE)))) == set(available())
    assert (
        set(re.findall(r"^\| `(\w+)` \|", into, re.MULTILINE))
        == set(imports.available())
        == {*imports.ORDER, "detections"}
    )
    for line in re.findall(r"^caption-movies (.+)$", page, re.MULTILINE):
        parsed = command_parser().parse_args(shlex.split(line))
        assert parsed.format in available()
