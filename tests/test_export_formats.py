"""Each format, read back by the library it is for, or by the rules it is written by."""

import base64
import dataclasses
import io
import json
import tarfile
import zlib
from pathlib import Path

import datasets
import numpy as np
import PIL.Image
import pytest
import rows as made
from exchange_making import GOOD, HEIGHT, WIDTH, detection, detections, fill, frame, region
from rows import asked

from storage.checks import check_store
from storage.store import Store
from storage.tables import Detection, Failure
from tasks import prompts
from tasks.consistency import check_captions
from tasks.errors import ExchangeError, PanopticError
from tasks.export_selection import Wanted
from tasks.exports import Options, export
from tasks.groundcap import import_groundcap
from tasks.panoptic_files import read_panoptic
from tasks.panoptic_quality import qualities
from tasks.panoptic_scores import compare_store
from tasks.references import import_references

SHARD = "ma/00000"
KEYED = "select frame_id, object_id, object_index, label, category_id, is_thing, round(score, 4), box from detections"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("filled") / "store"))
    fill(store)
    return store


def size_of(path: Path) -> tuple[int, int]:
    with PIL.Image.open(path) as picture:
        return picture.size


def test_groundcap_is_read_by_datasets_with_the_card_s_columns(filled: Store, tmp_path: Path) -> None:
    export(filled, "groundcap", str(tmp_path / "set"), Wanted(), Options(split="test"))
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["test"]
    value = datasets.Value
    box = {side: value("float32") for side in "xywh"}
    one = {"id": value("int32"), "label": value("string"), "score": value("float32"), "box": box}
    assert found["test"].features == datasets.Features(
        {"id": value("string"), "image": datasets.Image(), "detections": datasets.List(one),
         "caption": value("string"), "human_annotated": value("bool")}
    )  # fmt: skip
    row = found["test"][0]
    assert (row["id"], row["caption"], row["human_annotated"]) == ("ma_000000", GOOD, False)
    assert row["image"].size == (WIDTH, HEIGHT)
    assert row["image"].getpixel((2, 2))[0] < 60 < row["image"].getpixel((WIDTH - 2, 2))[0]
    assert [(each["label"], each["id"]) for each in row["detections"]] == [("person", 0), ("dog", 0), ("grass", 0)]
    assert row["detections"][0]["box"]["x"] == pytest.approx(4 / WIDTH)


def test_groundcap_comes_back_with_the_same_rows(filled: Store, tmp_path: Path) -> None:
    place = tmp_path / "set"
    export(filled, "groundcap", str(place), Wanted(quarantined=True))
    files = sorted(map(str, (place / "data").iterdir()))
    assert [Path(one).name for one in files] == ["train-00000-of-00001.parquet"]
    again = Store(str(tmp_path / "again"))
    assert import_groundcap(files, again).left_out == []
    assert check_store(again.location) == []
    pictures = "select frame_id, image.bytes, width, height from frames where frame_index < 2 order by 1"
    assert [(f"groundcap_{one}", *rest) for one, *rest in asked(filled, pictures)] == asked(again, pictures)
    before = asked(filled, f"{KEYED} where frame_id not like '%2' order by frame_id, object_index")
    back = asked(again, f"{KEYED} order by frame_id, object_index")
    assert [(f"groundcap_{one[0]}", *one[1:-1]) for one in before] == [one[:-1] for one in back]
    for mine, theirs in zip(before, back, strict=True):
        assert theirs[-1] == pytest.approx(mine[-1], abs=1e-6), "the dataset has single precision"
    texts = asked(filled, "select frame_id, text from captions where text <> '' order by 1")
    told = asked(again, 'select frame_id, text from "references" order by 1')
    assert told == [(f"groundcap_{one}", text) for one, text in texts]
    # and what came from the dataset goes out again under the ids that it has there, with who wrote it
    human = 'select * from "references"'
    (tmp_path / "human.csv").write_text("frame_id,caption\ngroundcap_ma_000000,He sits.\n")
    import_references(str(tmp_path / "human.csv"), again, "human")
    export(again, "groundcap", str(tmp_path / "two"), Wanted(references=("automatic", "human")))
    third = Store(str(tmp_path / "third"))
    import_groundcap([str(one) for one in (tmp_path / "two" / "data").iterdir()], third)
    assert asked(third, f"{human} order by reference_id") == asked(again, f"{human} order by reference_id")


def test_a_dataset_of_many_bytes_is_several_files(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.exports import groundcap

    monkeypatch.setattr(groundcap, "FILE_BYTES", 1)
    export(filled, "groundcap", str(tmp_path / "set"), Wanted(quarantined=True))
    names = [one.name for one in sorted((tmp_path / "set" / "data").iterdir())]
    assert names == [f"train-{number:05d}-of-00004.parquet" for number in range(4)]


def test_coco_captions_are_read_by_pycocotools_and_come_back_as_references(filled: Store, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    place = tmp_path / "coco"
    export(filled, "coco-captions", str(place), Wanted(quarantined=True))
    read = COCO(str(place / "captions.json"))
    assert [read.imgs[one]["file_name"] for one in sorted(read.imgs)] == [
        "ma_000000.jpg", "ma_000001.jpg", "mb_000000.jpg", "mb_000001.jpg"
    ]  # fmt: skip
    assert [one["caption"] for one in read.loadAnns(read.getAnnIds(imgIds=[1, 2]))] == [
        'A man sits on the grass, "grün".', "A dog runs."
    ]  # fmt: skip
    assert all(size_of(place / "images" / one["file_name"]) == (WIDTH, HEIGHT) for one in read.imgs.values())
    again = Store(str(tmp_path / "again"))
    fill(again)
    back = import_references(str(place / "captions.json"), again, "back")
    assert (back.references, back.unmatched) == (4, 0)


def test_coco_panoptic_keeps_panopticapi_s_rules_and_equals_the_store(filled: Store, tmp_path: Path) -> None:
    """Read back by what is held to panopticapi's own answers in test_panoptic_quality.py."""
    place = tmp_path / "coco"
    done = export(filled, "coco_panoptic", str(place), Wanted())
    assert (done.frames, done.captions) == (6, 2), "detections do not hang on captions"
    read = read_panoptic(str(place / "panoptic.json"))
    for image in read.images.values():
        ids = read.segment_map(image)
        read.check(image, ids, absent=False)
        assert image.areas == {number: int((ids == number).sum()) for number in image.categories}
    scores = compare_store(read, filled)
    assert scores.missed == {}
    found = qualities(scores.counts, scores.groups()["all"])
    assert (found.panoptic, found.categories) == (1.0, 3)
    assert {read.categories[one].name for one in scores.counts} == {"person", "dog", "grass-merged"}
    known = json.loads((Path(__file__).parent / "data/panoptic/panoptic_coco_categories.json").read_text())
    assert [(one["id"], one["name"], bool(one["isthing"])) for one in known] == [
        (one.category_id, one.name, one.is_thing) for one in read.categories.values()
    ]
    said = json.loads((place / "panoptic.json").read_text())
    dog = next(one for one in said["annotations"][0]["segments_info"] if one["category_id"] == 18)
    assert (dog["bbox"], dog["area"], dog["iscrowd"]) == ([28, 10, 20, 16], 320, 0)


def test_stuff_of_one_category_is_one_segment_and_masks_may_overlap(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    seen = [made.write(store, [frame(0, "ma"), frame(1, "ma"), frame(2, "ma")], SHARD).fingerprint]
    left, right, all_over = region(0, 0, 9, 9), region(20, 0, 29, 9), region(0, 0, WIDTH, HEIGHT)
    unicorn = dataclasses.replace(detection("ma_000001", 0, "person-0", 1, left), label="unicorn", category_id=-1)
    found = [detection("ma_000000", 0, "grass-0", 1, left), detection("ma_000000", 1, "grass-1", 2, right),
             detection("ma_000000", 2, "person-0", 3, all_over), detection("ma_000000", 3, "dog-0", 4, left), unicorn,
             Failure(frame_id="ma_000002", stage="detect", error="no picture")]  # fmt: skip
    output = store.output([Detection, Failure], stage="detect", shard=SHARD, version=1, config=None, inputs=seen)
    with output.writer() as write:
        for one in found:
            write(one)
    done = export(store, "coco_panoptic", str(tmp_path / "coco"), Wanted())
    assert (done.frames, done.undetected) == (2, 1), "no detector worked on the last: its map would say void"
    said = json.loads((tmp_path / "coco" / "panoptic.json").read_text())
    segments = [[(one["category_id"], one["area"]) for one in each["segments_info"]] for each in said["annotations"]]
    assert segments == [[(193, 162), (1, WIDTH * HEIGHT - 162)], [(201, 81)]], "the dog lies under grass: no pixel left"
    assert said["categories"][-1] == {"id": 201, "name": "unicorn", "isthing": 1}


def test_detections_without_masks_cannot_be_panoptic(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    seen = [made.write(store, [frame(0, "ma")], SHARD).fingerprint]
    made.write(store, [made.detection(frame_id="ma_000000")], SHARD, inputs=seen)
    with pytest.raises(PanopticError, match="frame ma_000000 have no masks"):
        export(store, "coco_panoptic", str(tmp_path / "coco"), Wanted())
    dog = detection("ma_000000", 0, "dog-0", 1, region(0, 0, 4, 4)[:8, :8])
    made.write(store, [dataclasses.replace(dog, mask_width=8, mask_height=8)], SHARD, inputs=seen)
    with pytest.raises(ExchangeError, match="mask of dog-0 in frame ma_000000 is 8x8, its picture 48x32"):
        export(store, "coco_panoptic", str(tmp_path / "coco"), Wanted())
    assert not (tmp_path / "coco").exists()


def test_webdataset_is_plain_tar_in_the_public_naming(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.exports import webdataset

    monkeypatch.setattr(webdataset, "SHARD_FRAMES", 3)
    export(filled, "webdataset", str(tmp_path / "web"), Wanted(quarantined=True))
    shards = sorted((tmp_path / "web").glob("*.tar"))
    assert [one.name for one in shards] == ["train-000000.tar", "train-000001.tar"]
    with tarfile.open(shards[0]) as tar:
        names = tar.getnames()
        assert names[:4] == ["ma_000000.jpg", "ma_000000.txt", "ma_000000.json", "ma_000001.jpg"]
        assert tar.extractfile("ma_000000.txt").read().decode() == 'A man sits on the grass, "grün".'  # type: ignore[union-attr]
        told = json.load(tar.extractfile("ma_000000.json"))  # type: ignore[arg-type]
    assert told["captions"][0]["caption"] == GOOD
    assert told["detections"][1]["mask"] == asked(filled, "select mask from detections where object_id = 'dog-0'")[0][0]
    read = datasets.load_dataset("webdataset", data_files=list(map(str, shards)), cache_dir=str(tmp_path / "cache"))
    assert [row["__key__"] for row in read["train"]] == ["ma_000000", "ma_000001", "mb_000000", "mb_000001"]
    assert read["train"][0]["jpg"].size == (WIDTH, HEIGHT)


def test_chat_samples_say_what_inference_says(filled: Store, tmp_path: Path) -> None:
    export(filled, "chat", str(tmp_path / "chat"), Wanted())
    rows = [json.loads(line) for line in (tmp_path / "chat" / "samples.jsonl").read_text().splitlines()]
    assert [row["images"] for row in rows] == [["images/ma_000000.jpg"], ["images/mb_000000.jpg"]]
    assert (tmp_path / "chat" / "images" / "ma_000000.jpg").read_bytes() == frame(0, "ma").image.bytes
    system, user, assistant = rows[0]["messages"]
    text = "".join(part.get("text", "[IMG]") for part in user["content"])
    rendered = prompts.render("groundcap-card", detections("ma_000000"), GOOD)
    assert rendered == f"<s>[INST]{system['content'][0]['text']}\n\n{text}[/INST]{assistant['content'][0]['text']}</s>"
    assert [part["type"] for part in user["content"]] == ["text", "image"]
    export(filled, "chat", str(tmp_path / "plain"), Wanted(), Options(template="a-photo-of"))
    row = json.loads((tmp_path / "plain" / "samples.jsonl").read_text().splitlines()[0])
    assert [one["role"] for one in row["messages"]] == ["user", "assistant"]
    assert row["messages"][1]["content"][0]["text"] == 'A man sits on the grass, "grün".'


def test_fiftyone_s_samples_have_what_its_importer_reads(filled: Store, tmp_path: Path) -> None:
    place = tmp_path / "fo"
    export(filled, "fiftyone", str(place), Wanted(quarantined=True))
    assert "version" not in json.loads((place / "metadata.json").read_text()), "or it would be read as a database"
    samples = json.loads((place / "samples.json").read_text())["samples"]
    assert [(one["filepath"], one["tags"]) for one in samples[:3]] == [
        ("data/ma_000000.jpg", ["ok"]), ("data/ma_000001.jpg", ["violations"]), ("data/ma_000002.jpg", [])
    ]  # fmt: skip
    assert samples[0]["caption_old"] == 'A man sits on the grass, "grün".'
    assert samples[0]["grounded_caption_old"] == GOOD
    assert "caption_old" not in samples[2]
    dog = samples[0]["detections"]["detections"][1]
    assert (dog["_cls"], dog["label"], dog["object_id"]) == ("Detection", "dog", "dog-0")
    assert dog["bounding_box"] == pytest.approx([28 / WIDTH, 10 / HEIGHT, 20 / WIDTH, 16 / HEIGHT])
    packed = zlib.decompress(base64.b64decode(dog["mask"]["$binary"]["base64"]))
    assert np.load(io.BytesIO(packed), allow_pickle=False).shape == (16, 20)
    assert all(size_of(place / one["filepath"]) == (WIDTH, HEIGHT) for one in samples)


def test_several_captions_of_a_frame_all_leave(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    fill(store, movies=("ma",), texts=(GOOD,))
    two = dataclasses.replace(made.caption("ma_000000", GOOD.replace("A man", "The man"), captioner="old"), candidate=1,
                              caption_id="ma_000000/old/1")  # fmt: skip
    first = made.caption("ma_000000", GOOD, captioner="old")
    captions = made.write(store, [first, two], "ma/00000", captioner="old", inputs=["again"])
    detected = store.ref("detections", "ma/00000")
    assert detected is not None
    check_captions(captions, detected, store)
    done = export(store, "fiftyone", str(tmp_path / "one"), Wanted())
    assert done.captions == 1
    done = export(store, "fiftyone", str(tmp_path / "fo"), Wanted(every_candidate=True))
    assert (done.frames, done.captions) == (1, 2)
    (sample,) = json.loads((tmp_path / "fo" / "samples.json").read_text())["samples"]
    assert [sample["caption_old"][:5], sample["caption_old__2"][:7]] == ["A man", "The man"]
    export(store, "webdataset", str(tmp_path / "web"), Wanted(every_candidate=True))
    with tarfile.open(tmp_path / "web" / "train-000000.tar") as tar:
        assert len(tar.getnames()) == 3
