"""The gallery's files: captions cut into runs, data that is nothing but data, what is written where, and when not."""

import math
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from gallery_making import FAULTS, GOOD, HOSTILE, PLAIN, said_by, write_movie
from hypothesis import given
from hypothesis import strategies as st
from rows import caption, detection, frame, write

from flows.command_line import main
from gallery import static_site
from gallery.caption_runs import MARKUP, WORDS, runs_of
from gallery.data_files import data_script
from gallery.shard_rows import ShardRows, read_shard
from gallery.shards import Selection, Shard, select_frames
from gallery.static_site import write_site
from storage.store import Store
from tasks import tags
from tasks.caption_check import check_against
from tasks.consistency import check_captions
from tasks.export_selection import Wanted
from tasks.exports import export


def payload_of(site: Path, name: str) -> dict:
    told, payload = said_by((site / "data" / f"{name}.js").read_bytes())
    assert told == name
    return payload


def tree(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in sorted(folder.rglob("*")) if one.is_file()}


@pytest.mark.parametrize("example", FAULTS, ids=lambda example: example["code"])
def test_every_fault_lies_on_the_run_it_is_about(example: dict) -> None:
    text = example["failing"]
    things = dict.fromkeys(example["things"], True) | dict.fromkeys(example["stuff"], False)
    checked = check_against(text, things)
    runs = runs_of(text, [(found.start, found.end) for found in checked.violations])
    assert "".join(run.text for run in runs) == text
    for index, found in enumerate(checked.violations):
        assert "".join(run.text for run in runs if index in run.faults) == text[found.start : found.end]
        assert any(index in run.faults for run in runs)
    for index, mention in enumerate(checked.mentions):
        inside = "".join(run.text for run in runs if index in run.mentions and run.role == WORDS)
        assert " ".join(inside.split()) == mention.text


@given(st.text(st.sampled_from('<>/gdoal class="person" person-0 dog-1\n\x00é😀‮'), max_size=80), st.data())
def test_runs_are_the_text_whatever_it_says(text: str, data: st.DataObject) -> None:
    edges = st.integers(0, len(text))
    faults = data.draw(st.lists(st.tuples(edges, edges).map(lambda pair: (min(pair), max(pair))), max_size=4))
    runs = runs_of(text, faults)
    assert "".join(run.text for run in runs) == text
    assert all(any(index in run.faults for run in runs) for index in range(len(faults)))
    markup = "".join(run.text for run in runs if run.role == MARKUP)
    assert markup == "".join(one.source for one in tags.parse(text).segments if one.role != "text")


def test_a_fault_of_no_width_keeps_its_place() -> None:
    assert [(run.text, run.faults) for run in runs_of("ab", [(1, 1)])] == [("a", ()), ("", (0,)), ("b", ())]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner)))
def test_data_is_a_string_that_nothing_gets_out_of(value: object) -> None:
    script = data_script("name", {"value": value})
    call = script.decode("ascii").removeprefix("gallery.receive(")
    assert not set(call) & set("<>&'`/")
    assert all(32 <= byte < 127 for byte in script[:-1])
    assert said_by(script)[1] == {"value": finite(value)}


def finite(value: object) -> object:
    if isinstance(value, list):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_captions_come_through_as_they_are(text: str) -> None:
    assert said_by(data_script("x", {text: text}))[1] == {text: text}


def test_numbers_without_a_word_in_json_are_null() -> None:
    payload = {"values": [math.nan, -math.inf, 1.5], "inner": {"x": math.inf}}
    assert said_by(data_script("x", payload))[1] == {"values": [None, None, 1.5], "inner": {"x": None}}


def test_the_same_store_gives_the_same_bytes(gallery_store: Store, gallery_site: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(gallery_store.location, tmp_path / "elsewhere")
    write_site(select_frames(Store(str(copy)), None), tmp_path / "again")
    assert tree(tmp_path / "again") == tree(gallery_site)


def test_what_is_shown_is_what_stands_in_the_store(gallery_store: Store, gallery_site: Path) -> None:
    said = payload_of(gallery_site, "site")
    assert [movie["frames"] for movie in said["movies"]] == [60, 12]
    assert [shard[2] for shard in said["shards"]] == [40, 20, 12]
    key = Shard("mabc/00000", 40).key
    first = payload_of(gallery_site, f"shards/{key}/frames-0")["frames"][0]
    assert (first["id"], first["captions"][0][0]["verdict"]) == ("mabc_000000", "ok")
    assert first["references"] == [["human", "A man and a dog."]]
    connection = select_frames(gallery_store, None).connection
    wrong = connection.sql("select count(*) from verdicts where verdict = 'violations'").fetchall()
    assert sum(one["violations"] for one in said["captioners"]) == wrong[0][0]
    codes = dict(connection.sql("select code, count(*) from violations group by 1").fetchall())
    assert {code: number for code, number, *_ in said["codes"]} == codes


def test_pictures_and_small_pictures_lie_beside_each_other(gallery_site: Path) -> None:
    pictures, small = (tree(gallery_site / folder).keys() for folder in ("pictures", "thumbnails"))
    assert pictures == small
    assert len(pictures) == 72


@pytest.mark.parametrize(
    ("query", "frames"),
    [
        ("select frame_id from frames where frame_index in (3, 41, 50) and movie_id = 'mabc'", 3),
        ("select caption_id from violations where code = 'no-id'", 2),
        ("select movie_id from movies where movie_id = 'mdef'", 12),
        ("two_persons_and_a_handbag", 0),
    ],
)
def test_a_query_says_what_is_shown(
    query: str, frames: int, gallery_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = main(["gallery", "--store", gallery_store.location, "--query", query, "--out", str(tmp_path / "site")])
    said = capsys.readouterr()
    if not frames:
        assert (done, "no frames to show that the query gives" in said.err) == (1, True)
        return
    assert (done, said.out.split()[1]) == (0, str(frames))
    shown = payload_of(tmp_path / "site", "site")
    assert sum(shard[2] for shard in shown["shards"]) == frames
    assert len(list((tmp_path / "site" / "pictures").rglob("*.jpg"))) == frames
    for key, _, number, first in shown["shards"]:
        assert len(payload_of(tmp_path / "site", f"shards/{key}/facets")["ids"]) == number
        assert (tmp_path / "site" / "pictures" / key / f"{first}.jpg").exists()


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("select label from detections", 2, "does not say what to show. Ask for one"),
        ("select nothing from frames", 1, "DuckDB says"),
        ("movie_statu", 2, "Did you mean 'movie_status'"),
    ],
)
def test_a_query_of_no_use_is_answered_with_what_would_be(
    query: str, code: int, says: str, gallery_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["gallery", "--store", gallery_store.location, "--query", query, "--out", str(tmp_path / "site")]) == code
    )
    assert says in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_gallery_is_replaced_and_nothing_else_is(
    gallery_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(gallery_store, "webdataset", str(tmp_path / "export"), Wanted())
    (tmp_path / "link").symlink_to(tmp_path / "export")
    for strange in ("letters", "file", "export", "link"):
        place = tmp_path / strange
        if strange == "letters":
            place.mkdir()
            (place / "dear.txt").write_text("x")
        elif strange == "file":
            place.write_text("x")
        assert main(["gallery", "--store", gallery_store.location, "--out", str(place)]) == 1
        assert "Give a" in capsys.readouterr().err
        around = str(tmp_path / "missing" / ".." / strange)  # not there before the folder is made
        assert main(["gallery", "--store", gallery_store.location, "--out", around]) == 1
    assert (tmp_path / "letters" / "dear.txt").read_text() == "x"
    ask = ["gallery", "--store", gallery_store.location, "--out", str(tmp_path / "site"), "--query"]
    assert main([*ask, "select 'mabc_000001' as frame_id"]) == 0
    assert main([*ask, "select 'mdef_000001' as frame_id"]) == 0
    assert [movie["id"] for movie in payload_of(tmp_path / "site", "site")["movies"]] == ["mdef"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["export", "file", "letters", "link", "site"]


KILLED = """
import os, signal, sys
from pathlib import Path
from gallery.shards import select_frames
from gallery.static_site import write_site
from storage.store import Store

write_site(select_frames(Store(sys.argv[1]), None), Path(sys.argv[2]), lambda *_: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_what_a_killed_one_left_is_swept_away(gallery_store: Store, gallery_site: Path, tmp_path: Path) -> None:
    place, root = tmp_path / "site", Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", KILLED, gallery_store.location, str(place)], cwd=root)
    assert (done.returncode, place.exists(), len(list(tmp_path.iterdir()))) == (-signal.SIGKILL, False, 1)
    write_site(select_frames(gallery_store, None), place)
    assert [one.name for one in tmp_path.iterdir()] == ["site"]
    assert tree(place) == tree(gallery_site)


def test_what_breaks_off_leaves_the_former_gallery(gallery_store: Store, tmp_path: Path) -> None:
    class BrokenOffError(Exception):
        pass

    def break_off(done: int, of: int) -> None:
        raise BrokenOffError

    write_site(select_frames(gallery_store, None), tmp_path / "site")
    before = tree(tmp_path)
    with pytest.raises(BrokenOffError):
        write_site(select_frames(gallery_store, None), tmp_path / "site", break_off)
    assert tree(tmp_path) == before


def test_pictures_that_nobody_can_show_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "store"))
    write(store, [frame(0), frame(1)])  # two bytes are no picture
    assert main(["gallery", "--store", store.location, "--out", str(tmp_path / "site")]) == 0
    assert "2 have no picture that can be shown" in capsys.readouterr().out
    assert not (tmp_path / "site" / "pictures").exists()


def test_a_verdict_about_other_rows_is_not_passed_on(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    frames = write(store, [frame(0)]).fingerprint
    ref = write(store, [caption(text='<gdo class="dog" dog-0>a dog</gdo>', captioner="one")], captioner="one")
    write(store, [caption(text="not looked at", captioner="two")], captioner="two")
    check_captions(ref, write(store, [detection("dog-0")], inputs=[frames]), store)
    assert verdicts_of(store, tmp_path) == (["ok", "not checked"], [1, 0])
    write(store, [detection("cat-0")], inputs=[frames, "anew"])  # detected anew, and not checked again
    assert verdicts_of(store, tmp_path) == (["outdated", "not checked"], [0, 0])
    check_captions(ref, write(store, [detection("dog-0")], inputs=["frames of before"]), store)
    assert verdicts_of(store, tmp_path) == (["outdated", "not checked"], [0, 0])


def verdicts_of(store: Store, tmp_path: Path) -> tuple[list[str], list[int]]:
    """What is said of the only frame's caption by each captioner, and how many of each are ok."""
    write_site(select_frames(store, None), tmp_path / "site")
    said = payload_of(tmp_path / "site", f"shards/{Shard('mabc/00000', 1).key}/frames-0")["frames"][0]["captions"]
    told = payload_of(tmp_path / "site", "site")["captioners"]
    return [one[0]["verdict"] for one in said], [one["ok"] for one in told]


def test_memory_does_not_grow_with_the_number_of_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is alive after each shard are the rows of that one."""
    store = Store(str(tmp_path / "store"))
    write_movie(store, {"alpha": [GOOD], "beta": [PLAIN]}, frames=30, shard_frames=5)
    read: list[weakref.ref[ShardRows]] = []

    def reading(shard: Shard, selection: Selection) -> ShardRows:
        found = read_shard(shard, selection)
        read.append(weakref.ref(found))
        return found

    alive: list[int] = []
    monkeypatch.setattr(static_site, "read_shard", reading)
    write_site(select_frames(store, None), tmp_path / "site",
               lambda done, of: alive.append(sum(one() is not None for one in read)))  # fmt: skip
    assert (alive, len(read)) == ([1] * 6, 6)
