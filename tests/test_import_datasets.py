"""Hugging Face datasets and COCO's files as movies of a store, and JSON of any size."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_making import GOOD, HEIGHT, WIDTH, fill, picture, region
from rows import asked

from flows.command_line import main
from storage.checks import check_store
from storage.store import Store
from tasks import json_streams
from tasks.errors import ExchangeError
from tasks.export_selection import Wanted
from tasks.exports import export
from tasks.imports import Options, import_data
from tasks.masks import encode, from_coco


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return Store(str(tmp_path / "store"))


def flickr(tmp_path: Path) -> Any:
    """A dataset as caption sets on the hub are: pictures, several captions a row, and a row without a picture."""
    rows = {"image": [{"bytes": picture(number), "path": f"{number}.jpg"} for number in range(3)] + [None],
            "caption_0": ["A man.", "A dog.", "", "lost"], "captions": [["One.", "Two."], [], None, []],
            "filename": list("abcd")}  # fmt: skip
    kinds = datasets.Features({"image": datasets.Image(), "caption_0": datasets.Value("string"),
                               "captions": datasets.List(datasets.Value("string")),
                               "filename": datasets.Value("string")})  # fmt: skip
    return datasets.Dataset.from_dict(rows, features=kinds)


@pytest.mark.parametrize("layout", ["parquet", "folder", "saved", "saved-splits"])
def test_a_hugging_face_dataset_comes_in(layout: str, store: Store, tmp_path: Path) -> None:
    place = tmp_path / "flickr"
    if layout == "parquet":
        place = tmp_path / "flickr.parquet"
        flickr(tmp_path).to_parquet(place)
    elif layout == "folder":
        (place / "data").mkdir(parents=True)
        flickr(tmp_path).to_parquet(place / "data" / "train-00000-of-00001.parquet")
    elif layout == "saved":
        flickr(tmp_path).save_to_disk(place)
    else:
        datasets.DatasetDict(train=flickr(tmp_path)).save_to_disk(place)
    brought = import_data([str(place)], store, "hub", "huggingface", Options(source="crowd"))
    assert (brought.movies, brought.frames, brought.lost) == (1, 2, 2)
    assert [(one.place.rpartition("/")[2], one.why) for one in brought.left_out] == [
        (f"{place.name} row 3", "column caption_0 is empty, without words or no text"),
        (f"{place.name} row 4", "its picture is null"),
    ]  # fmt: skip
    assert asked(store, "select title, decoded_frames from movies") == [("flickr/train", 2)]
    assert asked(store, "select image.path from frames order by 1") == [("0.jpg",), ("1.jpg",)]
    assert asked(store, 'select source, text from "references" order by reference_id') == [
        ("crowd", "A man."), ("crowd", "One."), ("crowd", "Two."), ("crowd", "A dog.")
    ]  # fmt: skip
    assert check_store(store.location) == []


def test_groundcap_s_schema_is_recognised_whatever_holds_it(store: Store, tmp_path: Path) -> None:
    fill(store)
    export(store, "groundcap", str(tmp_path / "set"), Wanted())
    again = Store(str(tmp_path / "again"))
    assert main(["import", str(tmp_path / "set"), "--store", again.location]) == 0
    assert asked(again, "select count(*), min(object_id) from detections") == [(6, "dog-0")]
    assert asked(again, "select movie_id from movies order by 1") == [("groundcap_ma",), ("groundcap_mb",)]


def test_a_dataset_names_no_files_outside_its_folder(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(1))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "in.jpg").write_bytes(picture(2))
    kinds = {"info": {"features": {"image": {"_type": "Image"}}}}
    shape = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))],
                      {"huggingface": json.dumps(kinds)})  # fmt: skip
    rows = [{"image": {"bytes": None, "path": str(tmp_path / one)}} for one in ("secret.jpg", "set/in.jpg")]
    pq.write_table(pa.Table.from_pylist(rows, shape), tmp_path / "set" / "train.parquet")
    brought = import_data([str(tmp_path / "set")], store)
    assert (brought.frames, brought.lost) == (1, 1)
    assert "secret.jpg' is no file of the dataset's folder" in brought.left_out[0].why


def test_datasets_that_cannot_be_read(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ExchangeError, match="has no column of pictures; it has a"):
        import_data([str(tmp_path / "x.parquet")], store)
    (tmp_path / "y.parquet").write_bytes(b"PAR1")
    with pytest.raises(ExchangeError, match="cannot be read as a dataset"):
        import_data([str(tmp_path / "y.parquet")], store)
    with pytest.raises(ExchangeError, match="there is no /no/where"):
        import_data(["/no/where"], store, form="huggingface")
    with pytest.raises(ExchangeError, match="nobody/nothing cannot be read as a dataset, split 'train'"):
        import_data(["nobody/nothing"], store, form="huggingface")


# COCO ----------------------------------------------------------------------------------------------------------------

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 67, "name": "dining table"}]


def coco(tmp_path: Path, annotations: list[dict[str, Any]], **changed: Any) -> str:
    folder = tmp_path / "images"
    folder.mkdir(exist_ok=True)
    for number in (7, 8):
        (folder / f"{number:012d}.jpg").write_bytes(picture(number))
    images = [{"id": number, "file_name": f"{number:012d}.jpg", "width": WIDTH, "height": HEIGHT} for number in (8, 7)]
    said = {"info": {"year": 2017}, "annotations": annotations, "images": images, "categories": CATEGORIES} | changed
    (tmp_path / "instances.json").write_text(json.dumps(said))
    return str(tmp_path / "instances.json")


def test_coco_s_objects_stand_in_for_a_detector_s(store: Store, tmp_path: Path) -> None:
    square = [4, 2, 20, 2, 20, 30, 4, 30]
    runs = encode(region(28, 10, 48, 26))
    counted = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT, HEIGHT * (WIDTH - 1)]}
    found = [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [28, 10, 20, 16], "score": 0.75,
         "segmentation": {"size": [HEIGHT, WIDTH], "counts": runs.counts}},
        {"id": 2, "image_id": 8, "category_id": 67, "bbox": [0, 0, 48, 32.2], "iscrowd": 0},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [4, 2, 16, 28], "segmentation": [square]},
        {"id": 4, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1, "segmentation": counted},
        {"id": 5, "image_id": 7, "category_id": 1, "bbox": [30, 2, 3, 28]},
    ]  # fmt: skip
    brought = import_data([coco(tmp_path, found)], store)
    assert (brought.frames, brought.detections, brought.lost) == (2, 4, 0)
    assert brought.notes == {"crowd regions, which are no single objects": 1}
    assert asked(store, "select frame_id, image.path from frames order by 1") == [
        ("coco_instances_000000", "000000000008.jpg"), ("coco_instances_000001", "000000000007.jpg")
    ]  # fmt: skip
    keyed = "select object_id, object_index, category_id, is_thing, score, mask is not null, round(area, 4) "
    assert asked(store, f"{keyed} from detections order by frame_id, object_index") == [
        ("dining-table-0", 0, 60, True, 1.0, False, 1.0), ("person-0", 0, 0, True, 1.0, True, 0.2917),
        ("person-1", 1, 0, True, 1.0, False, 0.0547), ("dog-0", 2, 16, True, 0.75, True, 0.2083),
    ]  # fmt: skip
    assert asked(store, "select mask from detections where object_id = 'dog-0'") == [(runs.counts,)]
    assert check_store(store.location) == []


def test_coco_s_masks_are_checked(tmp_path: Path) -> None:
    assert from_coco({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3).area_px == 2
    assert from_coco([[0, 0, 3, 0, 3, 2, 0, 2], [0, 0, 1, 0, 1, 1]], 2, 3).area_px == 6
    runs: list[Any] = [[1, 2], [-1, 7], [6.0], "zz", None, []]
    polygons: list[Any] = [[1, 2, 3], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 1e300], [1, 2, 3, 4, 5, float("nan")], 6]
    bad = [{"size": [2, 3], "counts": one} for one in runs] + [[one] for one in polygons]
    for one in (*bad, {"size": [3, 2], "counts": [6]}, [], "x"):
        with pytest.raises(ValueError, match=r"mask|polygon|run lengths"):
            from_coco(one, 2, 3)


def test_coco_s_images_at_fault_are_left_out_and_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "out.jpg").write_bytes(picture(1))
    good = {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9]}
    for change, says in (
        ({"category_id": 3}, "annotation 2 has category_id 3, which `categories` does not list"),
        ({"bbox": [40, 0, 20, 9]}, "annotation 2.bbox as fractions is x 0.8333"),
        ({"bbox": "x"}, "annotation 2 has bbox 'x'"), ({"score": 7}, "annotation 2 has score 7"),
        ({"segmentation": [[1, 2]]}, "a polygon of segmentation"),
    ):  # fmt: skip
        brought = import_data([coco(tmp_path, [good, {**good, "id": 2, "image_id": 8} | change])], store)
        assert (brought.frames, brought.lost) == (1, 1)
        assert brought.left_out[0].place == "instances.json: image 8"
        assert says in brought.left_out[0].why
    images = [{"id": 7, "file_name": "000000000007.jpg", "width": WIDTH, "height": HEIGHT},
              {"id": 8, "file_name": "../out.jpg"}, {"id": 9, "file_name": "000000000008.jpg", "width": 9, "height": 9},
              {"id": 10, "file_name": "none.jpg"}]  # fmt: skip
    brought = import_data([coco(tmp_path, [good], images=images)], store)
    assert [one.why.partition(":")[0] for one in brought.left_out] == [
        f"file_name '../out.jpg' leads out of {tmp_path}/images", "000000000008.jpg is 48x32, the file says 9x9",
        "[Errno 2] No such file or directory",
    ]  # fmt: skip


def test_coco_files_that_are_none(store: Store, tmp_path: Path) -> None:
    path = Path(coco(tmp_path, []))
    for content, says in (
        ("{", "no JSON at character"), ('{"images": [3]}', "an item of images is no object"),
        ('{"images": [{"id": null}]}', "an item has id None"), ('{"annotations": []}', "--as detections"),
        ('{"images": [{"id": 1}, {"id": 1}]}', "two images of one id"),
        ('[{"image_id": 1}]', "lists no `images`"), ('{"images": [{"id": 1, "file_name": "x"}]}', "Give the folder"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(ExchangeError, match=says):
            import_data([str(path)], store)


def test_coco_captions_and_panoptic_segments_come_back(store: Store, tmp_path: Path) -> None:
    fill(store)
    export(store, "coco_captions", str(tmp_path / "captions"), Wanted())
    told = Store(str(tmp_path / "told"))
    brought = import_data([str(tmp_path / "captions" / "captions.json")], told)
    assert (brought.frames, brought.undetected, brought.references) == (2, 2, {"old": 2})
    assert asked(told, 'select text from "references"') == [(GOOD,), (GOOD,)]
    export(store, "coco_panoptic", str(tmp_path / "panoptic"), Wanted())
    seen = Store(str(tmp_path / "seen"))
    brought = import_data([str(tmp_path / "panoptic" / "panoptic.json")], seen)
    assert (brought.frames, brought.lost) == (6, 0)
    things = "select {id}, label, category_id, is_thing, round(area, 6), mask, box from detections where is_thing"
    mine = asked(store, things.format(id="object_id") + " order by frame_id, object_id")
    assert mine == asked(seen, things.format(id="object_id") + " order by frame_id, object_id")
    grass = "select distinct mask, category_id from detections where label = 'grass'"
    assert asked(store, grass) == asked(seen, grass), "stuff is boxed anew; its region is the same"


@pytest.mark.parametrize("chunk", [1, 3, 7, 1 << 16])
def test_json_of_any_size_is_read_item_by_item(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_streams, "CHUNK", chunk)
    said = {"a": [1, 23.5e3, 'x\\"]', {"b": [1, {"c": None}]}], "skip": {"a": [1]}, "n": -12, "e": [], "z": [[], {}]}
    for text in (json.dumps(said), json.dumps(said, indent=3), " \ufeff"[1:] + json.dumps(said) + "\n"):
        (tmp_path / "x.json").write_text(text, encoding="utf-8")
        found = list(json_streams.items(tmp_path / "x.json"))
        assert found == [("a", one) for one in said["a"]] + [("z", []), ("z", {})]  # type: ignore[attr-defined]
    (tmp_path / "x.json").write_text(" [1, 222, 3]")
    assert list(json_streams.items(tmp_path / "x.json")) == [("", 1), ("", 222), ("", 3)]
    for bad in (
        "",
        "{",
        '{"a": [1',
        '{"a": [1,]}',
        '{"a" 1}',
        "[1] 2",
        '{"a": [1 2]}',
        "{1: 2}",
        "[nul]",
        "[" * 9999 + "1",
    ):
        (tmp_path / "x.json").write_text(bad)
        with pytest.raises(ValueError, match="no JSON at character"):
            list(json_streams.items(tmp_path / "x.json"))


def test_detections_of_another_detector_for_frames_that_are_there(store: Store, tmp_path: Path) -> None:
    fill(store, movies=("ma",))
    before = asked(store, "select count(*) from captions_ok")
    images = [{"id": number, "file_name": f"x/ma_00000{number}.jpg"} for number in (0, 1, 5)]
    found = [{"image_id": number, "category_id": 18, "bbox": [4, 4, 8, 8], "score": 0.5} for number in (0, 5)]
    file = coco(tmp_path, [*found, {"image_id": 1, "category_id": 18, "bbox": [0, 0, 99, 9]}], images=images)
    brought = import_data([file], store, form="detections")
    assert [one.why.partition(",")[0] for one in brought.left_out] == [
        "no frame's picture is called 'x/ma_000005.jpg'", "annotation 1.bbox as fractions is x 0"
    ]  # fmt: skip
    assert brought.notes == {"frames that the file does not name: nothing is detected in them": 1}
    assert asked(store, "select frame_id, object_id, score from detections") == [("ma_000000", "dog-0", 0.5)]
    assert (before, asked(store, "select count(*) from captions_ok")) == ([(1,)], [(0,)]), "they were about others"
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{"image_id": "ma_000002", "category_id": 200, "bbox": [0, 0, 9, 9], "score": 1}]))
    assert import_data([str(results)], store, form="detections").detections == 1
    assert asked(store, "select frame_id, object_id, is_thing from detections") == [("ma_000002", "rug-0", False)]
    results.write_text(json.dumps([{"image_id": "lost", "category_id": 1, "bbox": [0, 0, 9, 9]}]))
    with pytest.raises(ExchangeError, match=r"nothing of .* can be used as detections; the first: results.json: image"):
        import_data([str(results)], store, form="detections")
    twice = [{"id": number, "file_name": "ma_000000.jpg"} for number in (0, 1)]
    with pytest.raises(ExchangeError, match="has two images of frame ma_000000: 0 and 1"):
        import_data([coco(tmp_path, [], images=twice)], store, form="detections")
