"""Choices among several captioners, after one of them went away or answers otherwise: none names what is not there."""

import json
import shutil
from pathlib import Path

import pytest
from test_captions import frame, people, put

from storage import catalog
from storage.checks import check_store
from storage.store import Store
from storage.tables import Choice
from tasks.captioners import CaptionConfig
from tasks.captions import caption_frames
from tasks.choices import ChooseConfig, choose_captions
from tasks.consistency import check_captions
from tasks.mending import MendConfig, mend_captions

ONE = '<gdo class="person" person-0>A man</gdo> walks.'
BOTH = '<gdo class="person" person-0 person-1>Two men</gdo> walk.'
AMONG = ChooseConfig(select="grounding_f1", among=("one", "two"))
ALONE = ChooseConfig(select="grounding_f1")
JOINT = "choices/captioner=one+two/movie_id=m000/000.parquet"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def work(store: Store, name: str, said: list[str], choose: ChooseConfig = AMONG) -> None:
    """One captioner's captions of one frame, a candidate each, up to its choice."""
    script = Path(store.location).parent / f"{name}.json"
    script.write_text(json.dumps({"0": said}))
    how = CaptionConfig(name=name, backend="scripted", checkpoint=str(script), candidates=len(said), temperature=1.0)
    frames, detections = store.ref("frames", "m000/000"), store.ref("detections", "m000/000")
    if frames is None or detections is None:
        frames, detections = put(store, [frame(0)], people(0))
    captions = caption_frames(frames, detections, store, how)
    mended = mend_captions(frames, detections, captions, store, MendConfig(), how)
    verdicts = check_captions(captions, detections, store, mended)
    choose_captions(frames, captions, mended, detections, verdicts, store, False, choose)


def joint(store: Store) -> list[str]:
    """The captions that were compared, best first; those of the view that counts have to be among them."""
    if (ref := store.ref("choices", "m000/000", "one+two")) is None:
        found = []
    else:
        found = [one.caption_id.removeprefix("m000_000000/") for one in store.read(ref, Choice)]
    with catalog.connect(store.location) as connection:
        lost = connection.sql("select caption_id from choices anti join captions using (caption_id)").fetchall()
        shown = connection.sql("select count(*) from captions_chosen where chosen_of = 'one+two'").fetchall()
    assert lost == []
    assert shown == [(len(found[:1]),)]
    return found


def is_sound(store: Store) -> bool:
    """Nothing in the choices dangles or is stale (the frames of these tests belong to no movie)."""
    return not [one for one in check_store(store.location) if one.where.startswith("choices")]


def test_a_candidate_that_is_gone_is_chosen_no_more(store: Store) -> None:
    work(store, "one", [ONE, ONE, BOTH])
    work(store, "two", [ONE])
    assert joint(store) == ["one/2", "two/0"]
    work(store, "one", [ONE])  # two candidates fewer, among them the one that was chosen
    assert joint(store) == ["one/0", "two/0"]
    assert is_sound(store)


def test_a_captioner_that_is_gone_takes_the_joint_choice_along(store: Store) -> None:
    work(store, "one", [ONE])
    work(store, "two", [BOTH])
    assert joint(store) == ["two/0", "one/0"]
    for table in ("captions", "verdicts", "mentions", "violations", "choices"):
        shutil.rmtree(Path(store.location) / table / "captioner=two")
    work(store, "one", [ONE])
    assert joint(store) == []
    assert is_sound(store)
    work(store, "two", [BOTH])
    assert joint(store) == ["two/0", "one/0"]


def test_a_run_that_compares_no_more_leaves_no_choice_about_other_captions(store: Store) -> None:
    work(store, "one", [ONE, BOTH])
    work(store, "two", [ONE])
    assert joint(store) == ["one/1", "two/0"]
    work(store, "one", [ONE, BOTH], ALONE)  # finished: what was chosen among both still stands
    assert joint(store) == ["one/1", "two/0"]
    work(store, "one", [ONE], ALONE)
    assert joint(store) == []
    assert is_sound(store)


def test_a_damaged_joint_choice_is_made_anew(store: Store) -> None:
    work(store, "one", [ONE])
    work(store, "two", [BOTH])
    Path(store.files.full(JOINT)).write_bytes(b"PAR1")
    work(store, "two", [BOTH])
    assert joint(store) == ["two/0", "one/0"]
    Path(store.files.full(JOINT)).write_bytes(b"PAR1")
    work(store, "two", [BOTH], ALONE)
    assert joint(store) == []


def test_the_choices_of_other_captioners_and_of_other_shards_stay(store: Store) -> None:
    work(store, "one", [ONE])
    work(store, "two", [BOTH])
    work(store, "three", [BOTH], ALONE)
    work(store, "three", [ONE], ALONE)
    assert joint(store) == ["two/0", "one/0"]
