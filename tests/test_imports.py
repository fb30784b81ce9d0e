"""What comes into a store: folders of pictures, WebDataset, and the command."""

import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from exchange_making import AT_FAULT, GOOD, HEIGHT, WIDTH, fill, picture
from pipeline_help import files_of, scripted_profile
from rows import asked, caption, frame, write

from flows.command_line import main
from storage import catalog
from storage.checks import check_store
from storage.store import Store
from storage.tables import Frame
from tasks import imported_movies
from tasks.errors import ConfigError, ExchangeError
from tasks.export_selection import Wanted
from tasks.exports import export
from tasks.frame_work import decode
from tasks.imports import Options, import_data
from tasks.imports.webdataset import PICKLED
from tasks.movie_rows import delete_shards


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def folders(tmp_path: Path) -> Path:
    top = tmp_path / "holiday"
    for place, shade in (("b.jpg", 1), ("a.JPG", 2), ("day two/c.png", 3), (".hidden/d.jpg", 4), ("._e.jpg", 5)):
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        (top / place).write_bytes(picture(shade, "PNG" if place.endswith("png") else "JPEG"))
    (top / "b.txt").write_text("\ufeffA man on a beach.\n", encoding="utf-8")
    (top / "notes.pdf").write_bytes(b"%PDF")
    return top


def test_folders_become_movies_and_text_files_their_captions(store: Store, tmp_path: Path) -> None:
    brought = import_data([str(folders(tmp_path))], store)
    assert (brought.movies, brought.frames, brought.undetected, brought.lost) == (2, 3, 3, 0)
    assert brought.references == {"human": 1}
    assert asked(store, "select movie_id, title from movies order by 1") == [
        ("images_holiday", "holiday"), ("images_holiday-day-two-6c62a5", "holiday/day two")
    ]  # fmt: skip
    assert asked(store, "select frame_id, image.path, width from frames order by 1") == [
        ("images_holiday-day-two-6c62a5_000000", "c.png", WIDTH),
        ("images_holiday_000000", "a.jpg", WIDTH), ("images_holiday_000001", "b.jpg", WIDTH),
    ]  # fmt: skip
    assert asked(store, 'select frame_id, source, text from "references"') == [
        ("images_holiday_000001", "human", "A man on a beach.")
    ]  # fmt: skip
    stages = asked(store, catalog.queries()["shards_by_stage"].sql)
    assert stages == [("extract", "", 2, 0, 0, 3), ("detect", "", 0, 0, 2, 0)], "pictures without detections miss them"
    assert check_store(store.location) == []


def test_the_same_again_writes_nothing_and_other_pictures_replace(store: Store, tmp_path: Path) -> None:
    top = folders(tmp_path)
    import_data([str(top)], store)
    import_data([str(top)], store)
    files = {path: path.stat().st_mtime_ns for path in Path(store.location).rglob("*.parquet")}
    import_data([str(top)], store)
    assert files == {path: path.stat().st_mtime_ns for path in files}
    (top / "a.JPG").unlink()
    (top / "b.txt").unlink()
    import_data([str(top)], store)
    assert asked(store, "select image.path from frames where movie_id = 'images_holiday'") == [("b.jpg",)]
    assert asked(store, 'select * from "references"') == [], "it was about another frame of that id"
    assert check_store(store.location) == []


def test_pictures_are_turned_as_the_camera_was_held_and_what_no_browser_shows_becomes_png(
    store: Store, tmp_path: Path
) -> None:
    top = tmp_path / "photos"
    top.mkdir()
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    with PIL.Image.open(io.BytesIO(picture(0, "PNG"))) as lying:
        lying.save(top / "a.jpg", exif=exif)
        lying.save(top / "b.tiff")
    import_data([str(top)], store)
    ref = store.ref("frames", "images_photos/00000")
    assert ref is not None
    turned, flat = store.read(ref, Frame)
    assert (turned.width, turned.height, flat.image.path) == (HEIGHT, WIDTH, "b.png")
    upright = decode(turned)
    assert upright.shape == (WIDTH, HEIGHT, 3)
    assert upright[-4:, :, 0].mean() > 200 > 60 > upright[:4, :, 0].mean(), "its right half is below now"


def test_large_folders_are_several_movies(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imported_movies, "PART_FRAMES", 2)
    top = tmp_path / "many"
    top.mkdir()
    for number in range(5):
        (top / f"{number}.jpg").write_bytes(picture(number))
    assert import_data([str(top)], store, name="big").movies == 3
    assert asked(store, "select movie_id, decoded_frames from movies order by 1") == [
        ("big_many", 2), ("big_many--2", 2), ("big_many--3", 1)
    ]  # fmt: skip
    assert check_store(store.location) == []


def test_parts_of_a_folder_that_shrank_do_not_stay(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(imported_movies, "PART_FRAMES", 1)
    top = tmp_path / "many"
    top.mkdir()
    for number in range(4):
        (top / f"{number}.jpg").write_bytes(picture(number))
        (top / f"{number}.txt").write_text("A man.")
    ask = ["import", str(top), "--store", store.location]
    assert main(ask) == 0
    for movie in ("images_many--3", "images_many--30", "images_other"):
        write(store, [caption(f"{movie}_000000", captioner="demo")], f"{movie}/00000", captioner="demo")
    assert "removed" not in capsys.readouterr().out
    (top / "2.jpg").unlink()
    (top / "3.jpg").unlink()
    assert main(ask) == 0
    said = capsys.readouterr().out
    assert re.findall("^removed +(.*),", said, re.MULTILINE) == ["images_many--3", "images_many--4"]
    assert asked(store, "select movie_id from movies order by 1") == [("images_many",), ("images_many--2",)]
    assert not [path for path in store.files.under("") if "movie_id=images_many--3/" in path]
    assert len(store.files.under("captions")) == 2, "of other movies"
    assert len(store.files.under("references")) == 2


def test_of_a_movie_that_shrank_what_replaced_captions_and_what_models_said_of_them_goes_too(store: Store) -> None:
    kept = []
    for number in (0, 1):
        write(store, [frame(number)], f"mabc/0000{number}")
        for path in (f"captions/captioner=a/movie_id=mabc/0000{number}-mended.parquet",
                     f"judgements/captioner=a/movie_id=mabc/judge@0000{number}.parquet"):  # fmt: skip
            with store.files.replacing(path) as (draft,):
                draft.write_bytes(b"")
            kept += [path] if number == 0 else []
    person = "judgements/captioner=a/movie_id=mabc/ann.parquet"
    with store.files.replacing(person) as (draft,):
        draft.write_bytes(b"")
    delete_shards("mabc", 1, store)
    left = [path for path in store.files.under("") if not path.startswith("stage_runs")]
    assert left == sorted([*kept, person, "frames/movie_id=mabc/00000.parquet"])


def test_what_cannot_be_read_is_left_out_and_named(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = folders(tmp_path)
    (top / "x.jpg").write_bytes(b"no picture")
    (top / "a.txt").write_bytes(b"\xff\xfe\xff")
    assert main(["import", str(top), "--store", store.location]) == 3
    said = capsys.readouterr()
    assert f"{top}/x.jpg: it is no picture (of no format that can be read)\n" in said.err
    assert f"{top}/a.JPG: its caption a.txt is no UTF-8" in said.err
    assert "frames      2, 0 detections" in said.out
    assert "detects in 2 frames, too" in said.out


def test_places_and_names_that_cannot_be(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.doc").write_text("")
    (tmp_path / "x.tar").write_bytes(b"no tar")
    for path, form, says in (
        ("none", None, "there is no "), ("empty", None, "looks like none of groundcap, webdataset"),
        ("x.doc", None, "looks like none of"), ("empty", "images", "can be used as images; there are no pictures"),
        ("x.tar", None, "can be used as webdataset; the first: x.tar: it cannot be read on"),
        ("empty", "webdataset", "no tar file in"),
    ):  # fmt: skip
        with pytest.raises(ExchangeError, match=says):
            import_data([str(tmp_path / path)], store, form=form)
    with pytest.raises(ConfigError, match="name is 'a/b'"):
        import_data([str(folders(tmp_path))], store, name="a/b")
    assert main(["import", str(tmp_path), "--as", "webdatset", "--store", store.location]) == 2


@pytest.mark.usefixtures("on_server")
def test_pictures_without_detections_are_detected_when_they_are_captioned(store: Store, tmp_path: Path) -> None:
    import_data([str(folders(tmp_path))], store)
    profile = scripted_profile(tmp_path)
    profile.write_text(profile.read_text() + '\n[score]\nmetrics = ["grounding"]\n')
    ask = ["caption", "--store", store.location, "--profile", str(profile)]
    assert main(ask) == 0
    assert asked(store, "select count(*), count(distinct frame_id) from captions_ok") == [(3, 3)]
    assert asked(store, "select distinct stage from files where \"table\" = 'detections'") == [("detect",)]
    assert check_store(store.location) == []
    before = files_of(Path(store.location))
    assert main(ask) == 0
    import_data([str(tmp_path / "holiday")], store)
    assert files_of(Path(store.location)) == before, "what stands finished is not done again, and imports leave it"


# WebDataset ----------------------------------------------------------------------------------------------------------


def tar_of(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> str:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return str(path)


def test_webdataset_comes_back_with_the_same_rows(store: Store, tmp_path: Path) -> None:
    fill(store)
    export(store, "webdataset", str(tmp_path / "web"), Wanted(quarantined=True))
    again = Store(str(tmp_path / "again"))
    brought = import_data([str(tmp_path / "web")], again, name="x")
    assert (brought.movies, brought.frames, brought.detections, brought.lost) == (2, 4, 12, 0)
    assert check_store(again.location) == []
    for rows in (
        "select {id} as frame_id, image.bytes, width, height, pts_seconds from frames where frame_index < 2",
        "select {id} as frame_id, * exclude frame_id from detections where frame_id not like '%2'",
    ):
        mine, theirs = asked(store, rows.format(id="'x_' || frame_id")), asked(again, rows.format(id="frame_id"))
        assert sorted(mine, key=repr) == sorted(theirs, key=repr)
    told = asked(again, 'select frame_id, source, text from "references" order by 1')
    assert told == [
        (f"x_{movie}_00000{n}", "old", text) for movie in ("ma", "mb") for n, text in enumerate((GOOD, AT_FAULT))
    ]


def test_webdataset_of_the_public_naming(store: Store, tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    one = [("./a/001.jpg", picture(1)), ("./a/001.txt", b"A man.\n"), ("./a/001.json", b'{"width": 48, "url": "x"}'),
           ("./a/002.JPEG", picture(2)), ("./a/002.json", b'{"caption": "A dog."}'), ("./a/003.png", picture(3, "PNG")),
           ("./a/003.cls", b"7"), ("__index__.cls", b"1")]  # fmt: skip
    two = [("v.json", b'{"captions": ["One.", "Two."]}'), ("v.webp", picture(4, "WEBP"))]
    tar_of(tmp_path / "web" / "shard-00.tar", one)
    tar_of(tmp_path / "web" / "shard-01.tar.gz", two, "w:gz")
    brought = import_data([str(tmp_path / "web")], store, options=Options(source="alt"))
    assert (brought.movies, brought.frames, brought.left_out) == (2, 4, [])
    assert asked(store, "select movie_id, image.path from frames order by frame_id") == [
        ("webdataset_shard-00", "001.jpg"), ("webdataset_shard-00", "002.jpg"), ("webdataset_shard-00", "003.png"),
        ("webdataset_shard-01", "v.webp"),
    ]  # fmt: skip
    assert asked(store, 'select text from "references" order by reference_id') == [
        ("A man.",), ("A dog.",), ("One.",), ("Two.",)
    ]  # fmt: skip


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_nothing_is_unpickled_and_no_path_leads_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickle

    monkeypatch.chdir(tmp_path)
    bomb = pickle.dumps(Bomb())
    members = [("k.jpg", picture(1)), ("k.txt", b"A man."), *((f"k.{ending}", bomb) for ending in PICKLED),
               ("k.meta.pickle", bomb), ("../up.jpg", picture(2)), ("/abs.jpg", picture(3)),
               ("a\\..\\b.jpg", picture(4)), ("C:/x.jpg", picture(5))]  # fmt: skip
    path = tar_of(tmp_path / "x.tar", members)
    with tarfile.open(path, "a") as tar:
        for kind, name in ((tarfile.SYMTYPE, "s.jpg"), (tarfile.LNKTYPE, "l.jpg"), (tarfile.FIFOTYPE, "f.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    brought = import_data([path], store)
    assert (brought.frames, brought.references) == (1, {"human": 1})
    why = {one.place: one.why for one in brought.left_out}
    for ending in (*PICKLED, "meta.pickle"):
        assert "it is pickled: to read it would run whatever it says" in why[f"x.tar: 'k.{ending}'"]
    for name in ("../up.jpg", "/abs.jpg", "a\\..\\b.jpg", "C:/x.jpg"):
        assert why[f"x.tar: {name!r}"] == "its path leads out of the archive"
    for name in ("s.jpg", "l.jpg", "f.jpg"):
        assert why[f"x.tar: {name!r}"] == "it is a link or a device, no file"
    assert brought.lost == len(why) == len(PICKLED) + 1 + 4 + 3
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store", "x.tar"]


def test_samples_at_fault_are_left_out_and_an_archive_that_breaks_off_gives_what_it_has(
    store: Store, tmp_path: Path
) -> None:
    box = {"x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2}
    dog: dict[str, Any] = {"object_id": "dog-0", "label": "dog", "score": 0.5, "box": box}
    bad: list[tuple[Any, str]] = [
        ({"detections": [dog, dog]}, "dog-0 twice"), ({"detections": {}}, "detections is no list"),
        ({"detections": [{**dog, "box": {**box, "w": 40.0}}]}, "detections[0].box is x 0.1"),
        ({"detections": [{**dog, "box": {**box, "w": float("nan")}}]}, "not within the picture"),
        ({"detections": [{**dog, "score": None}]}, "detections[0] lacks a value"),
        ({"detections": [{**dog, "object_id": "cat-0"}]}, "'cat-0' with label 'dog'"),
        ({"detections": [{**dog, "mask": "zz", "mask_width": 4, "mask_height": 2}]}, "no run lengths of COCO"),
        ({"detections": [{**dog, "mask": "1", "mask_width": 4, "mask_height": 2}]}, "do not make 4x2 pixels"),
        ({"detections": [{**dog, "mask": "oooooooooooo0", "mask_width": 4, "mask_height": 2}]}, "no run lengths"),
        ({"detections": ["dog"]}, "detections[0] is no object"),
        ({"caption": "..."}, "its caption is empty"), ({"caption": "\ud800a"}, "half a character"),
        ({"captions": [{"captioner": "old"}]}, "its caption is empty"), ({"pts_seconds": "soon"}, "no time"),
    ]  # fmt: skip
    members = [("good.jpg", picture(1)), ("alone.txt", b"A man."), ("broken.jpg", picture(2)), ("broken.json", b"{"),
               ("deep.jpg", picture(3)), ("deep.json", b"[" * 100_000), ("no.jpg", b"no picture")]  # fmt: skip
    for number, (told, _) in enumerate(bad):
        members += [(f"b{number:02}.jpg", picture(4)), (f"b{number:02}.json", json.dumps(told).encode())]
    path = Path(tar_of(tmp_path / "x.tar", [*members, ("last.jpg", picture(6))]))
    with tarfile.open(path) as tar:
        end = tar.getmember("last.jpg").offset_data + 10
    path.write_bytes(path.read_bytes()[:end])
    brought = import_data([str(path)], store)
    assert brought.frames == 1
    why = {one.place: one.why for one in brought.left_out}
    for number, (_, says) in enumerate(bad):
        assert says in why[f"x.tar: b{number:02}"]
    assert why["x.tar: alone"] == "it has no picture"
    assert "its json cannot be read" in why["x.tar: broken"]
    assert "its json cannot be read" in why["x.tar: deep"]
    assert "it is no picture" in why["x.tar: no"]
    assert "it cannot be read on, what stands before is taken" in why["x.tar"]
