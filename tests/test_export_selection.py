"""Which caption of a frame leaves a store where several stand there, and what is said when nothing can."""

import dataclasses
import json
from pathlib import Path

import pytest
import rows as made
from exchange_making import AT_FAULT, GOOD, detections, fill, frame

from flows.command_line import main
from storage.store import Store
from storage.tables import Caption, Choice
from tasks.consistency import check_captions
from tasks.errors import ExchangeError
from tasks.export_selection import Wanted
from tasks.exports import export

FRAME, SHARD = "ma_000000", "ma/00000"


def candidate(number: int, text: str, error: str | None = None) -> Caption:
    first = made.caption(FRAME, text, captioner="old", error=error)
    return dataclasses.replace(first, candidate=number, caption_id=f"{FRAME}/old/{number}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A frame whose first candidate failed and whose second is at fault."""
    store = Store(str(tmp_path / "store"))
    made.write(store, [made.movie("ma")], "ma")
    frames = made.write(store, [frame(0, "ma")], SHARD)
    detected = made.write(store, list(detections(FRAME)), SHARD, inputs=[frames.fingerprint])
    told = [candidate(0, "", "no memory"), candidate(1, AT_FAULT)]
    captions = made.write(store, list(told), SHARD, captioner="old", inputs=[detected.fingerprint])
    check_captions(captions, detected, store)
    return store


def test_a_caption_that_failed_does_not_stand_before_one_at_fault(store: Store, tmp_path: Path) -> None:
    done = export(store, "jsonl", str(tmp_path / "rows.jsonl"), Wanted(quarantined=True))
    assert (done.captions, done.left_out) == (1, {})
    assert json.loads((tmp_path / "rows.jsonl").read_text())["caption"] == AT_FAULT
    assert export(store, "fiftyone", str(tmp_path / "fo"), Wanted(quarantined=True)).captions == 1
    assert export(store, "fiftyone", str(tmp_path / "all"), Wanted()).left_out == {"violations": 1}


def test_a_query_for_captions_that_do_not_count_is_told_how_to_have_them(store: Store, tmp_path: Path) -> None:
    chosen = {"captioner": "old", "frame_id": FRAME, "selected_by": "grounding", "value": 1.0, "verdict": "ok"}
    told = [candidate(0, GOOD), candidate(1, GOOD.replace("A man", "He"))]
    captions = made.write(store, list(told), SHARD, captioner="old", inputs=["again"])
    detected = store.ref("detections", SHARD)
    assert detected is not None
    check_captions(captions, detected, store)
    choices = [Choice(caption_id=one.caption_id, rank=1 - n, chosen=n == 1, reasons=[], **chosen)  # type: ignore[arg-type]
               for n, one in enumerate(told)]  # fmt: skip
    made.write(store, list(choices), SHARD, captioner="old")
    query = "select caption_id from captions where candidate = 0"
    ask = ["export", "--format", "jsonl", "--out", str(tmp_path / "x"), "--store", store.location, "--query", query]
    assert main(ask) == 1
    assert main([*ask, "--every-candidate"]) == 0
    assert json.loads((tmp_path / "x").read_text())["caption"] == GOOD


def test_what_is_in_the_way_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "store"))
    made.write(store, [frame(0, "ma"), frame(1, "ma")], SHARD)
    ask = ["export", "--out", str(tmp_path / "out"), "--store", store.location, "--format"]
    assert main([*ask, "coco_panoptic"]) == 1
    assert "frames on which no detector worked: 2. Detect in them first" in capsys.readouterr().err
    assert main([*ask, "jsonl"]) == 1
    assert "captions left out: none. Ask for others, or take more with" in capsys.readouterr().err


def test_detections_of_pictures_that_stood_there_before_do_not_leave(store: Store, tmp_path: Path) -> None:
    made.write(store, [frame(0, "ma")], SHARD, inputs=["the movie at another frame rate"])
    done = export(store, "fiftyone", str(tmp_path / "fo"), Wanted(quarantined=True))
    assert (done.frames, done.detections) == (1, 0)
    (sample,) = json.loads((tmp_path / "fo" / "samples.json").read_text())["samples"]
    assert "detections" not in sample
    with pytest.raises(ExchangeError, match="frames on which no detector worked: 1"):
        export(store, "coco_panoptic", str(tmp_path / "coco"), Wanted())


@pytest.mark.parametrize("split", ["../out", "a/b", "", "a b"])
def test_a_split_is_no_path(split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(str(tmp_path / "store"))
    fill(store, movies=("ma",))
    ask = ["export", "--out", str(tmp_path / "out"), "--store", store.location, "--split", split, "--format"]
    for form in ("webdataset", "groundcap"):
        assert main([*ask, form]) == 1
        assert "give letters, digits and underscores" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["store"]
