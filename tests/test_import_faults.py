"""Imports of what is not as it should be: nothing leaves the store's folder, nothing is lost without a word."""

import json
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_making import fill, picture
from rows import asked
from test_imports import tar_of

from flows.command_line import main
from storage.checks import check_store
from storage.store import Store
from tasks.captioners import CaptionConfig
from tasks.captions import caption_frames
from tasks.consistency import check_captions
from tasks.errors import ConfigError, ExchangeError
from tasks.imports import Options, import_data

DOG = {"object_id": "dog-0", "label": "dog", "score": 0.5, "box": {"x": 0.1, "y": 0.1, "w": 0.2, "h": 0.2}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.mark.parametrize("source", ["../../../evil", "a/b", "", ".hidden"])
def test_who_wrote_the_captions_is_no_path(
    source: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tar_of(tmp_path / "x.tar", [("a.jpg", picture(1)), ("a.txt", b"A man.")])
    assert main(["import", path, "--store", store.location, "--source", source]) == 1
    assert "it has to be letters, digits, dots, dashes and underscores" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["x.tar"]


def test_of_a_picture_s_objects_one_is_kept_at_least() -> None:
    with pytest.raises(ConfigError, match="max_detections is -1; it has to be at least 1"):
        Options(max_detections=-1)


def test_who_wrote_a_caption_is_kept_where_it_may_be_a_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(picture(1))
    told = [{"image_id": 1, "caption": "A man.", "captioner": one} for one in ("blip-2.7b", "../../up", 7)]
    said = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": told}
    (tmp_path / "captions.json").write_text(json.dumps(said))
    brought = import_data([str(tmp_path / "captions.json")], store, options=Options(source="someone"))
    assert brought.references == {"blip-2.7b": 1, "someone": 2}


def test_a_caption_without_words_is_none_in_a_folder_either(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    for name, text in (("a", "..."), ("b", " \n"), ("c", "A man.")):
        (tmp_path / "photos" / f"{name}.jpg").write_bytes(picture(ord(name)))
        (tmp_path / "photos" / f"{name}.txt").write_text(text)
    assert main(["import", str(tmp_path / "photos"), "--store", store.location]) == 3
    assert "a.jpg: its caption a.txt is empty, without words or no text" in capsys.readouterr().err
    assert asked(store, 'select frame_id, text from "references"') == [("images_photos_000001", "A man.")]


def test_detections_of_some_pictures_only_are_not_dropped_in_silence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.dumps({"detections": [DOG]}).encode()
    path = tar_of(tmp_path / "x.tar", [("a.jpg", picture(1)), ("a.json", told), ("b.jpg", picture(2))])
    assert main(["import", path, "--store", store.location]) == 0
    said = capsys.readouterr().out
    assert "not taken   1 pictures' detections, for others of their shard have none" in said
    assert "frames      2, 0 detections" in said
    assert "detects in 2 frames" in said


def test_detections_in_several_files_are_taken_together(store: Store, tmp_path: Path) -> None:
    fill(store, movies=("ma",))
    paths = [tmp_path / f"part{number}.json" for number in (0, 1)]
    for number, path in enumerate(paths):
        found = {"image_id": f"ma_00000{number}", "category_id": 18, "bbox": [0, 0, 9, 9], "score": 0.5}
        path.write_text(json.dumps([found]))
    brought = import_data(list(map(str, paths)), store, form="detections")
    assert (brought.frames, brought.detections, brought.notes.total()) == (3, 2, 1)
    where = "select frame_id, object_id from detections order by 1"
    assert asked(store, where) == [("ma_000000", "dog-0"), ("ma_000001", "dog-0")]
    with pytest.raises(ExchangeError, match=r"part0.json and .*part0.json have two images of frame ma_000000"):
        import_data([str(paths[0]), str(paths[0])], store, form="detections")


def test_a_frame_whose_annotation_cannot_be_used_is_none_in_which_nothing_is(store: Store, tmp_path: Path) -> None:
    fill(store, movies=("ma",))
    file = tmp_path / "results.json"
    found = [{"image_id": f"ma_00000{number}", "category_id": 18, "bbox": [0, 0, 9, 9]} for number in range(3)]
    file.write_text(json.dumps([{**found[0], "bbox": [0, 0, 99, 9]}, *found[1:]]))
    config = CaptionConfig(name="new", backend="scripted")
    assert import_data([str(file)], store, form="detections").lost == 1
    ((frame_id, stage, why),) = asked(store, "select frame_id, stage, error from failures")
    assert (frame_id, stage) == ("ma_000000", "detect")
    assert why.startswith('results.json: image "ma_000000" has detections that cannot be used: annotation 1.bbox as ')
    assert why.endswith(". Correct them, and import again.")
    _caption(store, config)
    verdicts = "select frame_id, verdict = 'failed', error like 'detection failed on this frame%results.json%' "
    verdicts += "from captions join verdicts using (caption_id) where captioner = 'new' order by 1"
    assert asked(store, verdicts)[:2] == [("ma_000000", True, True), ("ma_000001", False, None)]
    assert [one for one in check_store(store.location) if "captioner=old" not in one.where] == []
    file.write_text(json.dumps(found))
    assert import_data([str(file)], store, form="detections").lost == 0
    assert asked(store, "select count(*) from failures") == [(0,)]
    assert asked(store, "select count(*) from captions_ok where captioner = 'new'") == [(0,)], "they are stale"
    _caption(store, config)
    assert asked(store, verdicts)[0] == ("ma_000000", False, None)


def _caption(store: Store, config: CaptionConfig) -> None:
    frames, detections = store.ref("frames", "ma/00000"), store.ref("detections", "ma/00000")
    assert frames
    assert detections
    check_captions(caption_frames(frames, detections, store, config), detections, store)


def test_a_dataset_that_breaks_off_is_said_so(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = {"info": {"features": {"image": {"_type": "Image"}}}}
    shape = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))],
                      {"huggingface": json.dumps(features)})  # fmt: skip
    rows = [{"image": {"bytes": picture(number), "path": None}} for number in range(20)]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist(rows, shape), path, row_group_size=10)
    damaged = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(0)
    start, length = column.dictionary_page_offset + 40, column.total_compressed_size - 60
    damaged[start : start + length] = b"\xa5" * length
    path.write_bytes(damaged)
    with pytest.raises(ExchangeError, match=r"x.parquet cannot be read to its end: .* Get it anew, or try again"):
        import_data([str(path)], store)
