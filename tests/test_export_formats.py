"""Each format, read back by the library it is for, or by the rules it is written by."""

from pathlib import Path
from typing import Any

import pytest
from exchange_making import GOOD, HEIGHT, WIDTH, fill

from storage import catalog
from storage.checks import check_store
from storage.store import Store
from tasks.export_selection import Wanted
from tasks.exports import Options, export
from tasks.groundcap import import_groundcap
from tasks.references import import_references

KEYED = "select frame_id, object_id, object_index, label, category_id, is_thing, round(score, 4), box from detections"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(str(tmp_path_factory.mktemp("filled") / "store"))
    fill(store)
    return store


def asked(store: Store, sql: str) -> list[Any]:
    with catalog.connect(store.location) as connection:
        return connection.sql(sql).fetchall()


def test_groundcap_is_read_by_datasets_with_the_card_s_columns(filled: Store, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
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
