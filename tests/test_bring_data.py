"""The commands that bring data into a store, or hold a store against data."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rows as made
from numpy.typing import NDArray
from PIL import Image
from pipeline_help import files_of, scripted_profile
from test_references import captioned, dataset, row
from test_spice import archive

from flows.command_line import main
from flows.run_state import stored_movies
from storage import catalog
from storage.checks import check_store
from storage.store import Store
from storage.tables import Detection
from tasks.errors import ConfigError
from tasks.masks import encode

Map = NDArray[np.int32]
CATEGORIES = [
    {"id": 1, "name": "dog", "isthing": 1}, {"id": 7, "name": "grass-merged", "isthing": 0},
    {"id": 9, "name": "sky-other-merged", "isthing": 0},
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def test_references_left_out_are_said_and_have_an_exit_code(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made.write(store, [made.frame()])
    file = tmp_path / "r.csv"
    file.write_text("frame_id,caption\nmabc_000000,a dog\n" + "".join(f"mabc_00000{n},a cat\n" for n in range(1, 8)))
    assert main(["references", str(file), "--store", store.location]) == 3
    said = capsys.readouterr()
    assert said.out.startswith(f"1 reference by human in {store.location}\n")
    assert said.err.splitlines()[0] == "caption-movies: 7 references are of no frame in the store, and left out:"
    assert said.err.splitlines()[1] == "    line 3: frame 'mabc_000001' is not in the store"
    assert said.err.splitlines()[-1] == "    and 2 more"


def test_a_store_s_captions_become_references_of_itself(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    captioned(store)
    where = store.location
    assert main(["references", where, "--captioner", "old", "--store", where]) == 0
    assert capsys.readouterr().out.startswith(f"1 reference by old in {where}\n")


def test_importing_the_dataset_says_what_it_brought(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = dataset(tmp_path, [row("tt1_0"), row("tt1_1", 9, human_annotated=True), row("tt1_2", caption="")])
    assert main(["import", file, "--store", store.location]) == 3
    said = capsys.readouterr()
    assert said.out.split() == (
        f"movies 1 frames 2, 4 detections references 1 automatic, 1 human store {store.location}".split()
    )
    assert "1 row cannot be used, and is left out" in said.err
    assert "test-00000.parquet row 3 (id tt1_2): column caption is empty" in said.err


def test_panoptic_quality_of_a_store_s_detections(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Grass in two segments is one, as the format has it; a frame without detections counts as missed."""
    truth = np.full((4, 6), 2, np.int32)
    truth[:2], truth[1:3, 1:3], truth[3, 5] = 3, 1, 0
    found = [("dog-0", 1, truth == 1), ("grass-0", 2, (truth == 2) & (np.indices((4, 6))[1] < 3)),
             ("grass-1", 3, (truth == 2) & (np.indices((4, 6))[1] >= 3)), ("sky-0", 4, truth == 3)]  # fmt: skip
    made.write(store, [made.frame(number) for number in range(2)])
    made.write(store, [seen(object_id, segment_id, pixels) for object_id, segment_id, pixels in found])
    file = panoptic(tmp_path / "truth.json", [truth, truth, truth])
    assert main(["panoptic", str(file), "--store", store.location, "--name", "m2f"]) == 3
    said = capsys.readouterr()
    # 1 match and 2 missed of each category: 1 / (1 + 0.5 * 2)
    assert said.out.splitlines()[1].split() == ["all", "50.0", "100.0", "50.0", "3"]
    assert "image 1: nothing was detected in frame mabc_000001" in said.err
    assert "image 2: no frame's picture is called 'mabc_000002.jpg'" in said.err
    with catalog.connect(store.location) as asked:
        stands = asked.sql(
            "select metric, \"group\", value, captions from summaries where captioner = 'm2f'"
        ).fetchall()
    with catalog.connect(store.location) as asked:
        told = asked.sql("select metric, family from metrics where captioner = 'm2f' order by 1").fetchall()
    assert ("panoptic_quality", "stuff", 0.5, 3) in stands
    assert ("recognition_quality", "category=grass-merged", 0.5, 3) in stands
    assert len(stands) == 3 * (3 + 3)
    names = ("panoptic_quality", "recognition_quality", "segmentation_quality")
    assert told == [(name, "panoptic") for name in names]


def seen(object_id: str, segment_id: int, pixels: NDArray[np.bool_]) -> Detection:
    mask = encode(pixels)
    told: dict[str, Any] = {"mask": mask.counts, "mask_height": mask.height, "mask_width": mask.width}
    return dataclasses.replace(made.detection(object_id), segment_id=segment_id, **told)


def panoptic(file: Path, maps: list[Map]) -> Path:
    """Truth of frames 0, 1, ... of movie mabc, whose segment 1 is a dog, 2 grass and 3 sky."""
    file.with_suffix("").mkdir()
    annotations = []
    for number, ids in enumerate(maps):
        name = f"mabc_{number:06}.png"
        Image.fromarray(np.stack([ids, ids * 0, ids * 0], -1).astype(np.uint8)).save(file.with_suffix("") / name)
        segments = [{"id": one, "category_id": category} for one, category in ((1, 1), (2, 7), (3, 9))]
        annotations.append({"image_id": number, "file_name": name, "segments_info": segments})
    images = [{"id": number, "file_name": f"mabc_{number:06}.jpg"} for number in range(len(maps))]
    file.write_text(json.dumps({"categories": CATEGORIES, "images": images, "annotations": annotations}))
    return file


def test_panoptic_quality_of_a_file_and_what_does_not_fit(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = np.array([[1, 1, 2], [3, 3, 0]], np.int32)
    truth, found = panoptic(tmp_path / "truth.json", [ids]), panoptic(tmp_path / "found.json", [ids])
    ask = ["panoptic", str(truth), "--predictions", str(found), "--store", store.location]
    assert main(ask) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["things", "100.0", "100.0", "100.0", "1"]
    good = found.read_text()
    for change, says in (
        (('"id": 3, "category_id": 9', '"id": 3, "category_id": 8'), "category_id 8, which the truth does not list"),
        (
            ('"id": 3, "category_id": 9', '"id": 4, "category_id": 9'),
            "segments 3 of image 0 are in mabc_000000.png and",
        ),
        (('"id": 3, "category_id": 9', '"id": 0, "category_id": 9'), "annotations[0].segments_info[2].id is 0"),
        (('"file_name": "mabc_000000.png"', '"file_name": "x.png"'), "segment map of image 0, cannot be read"),
        (('"segments_info"', '"segments"'), "lacks 'segments_info'"),
        (('"annotations"', '"annotation"'), "has no list `annotations`"),
    ):
        found.write_text(good.replace(*change))
        assert main(ask) == 1
        assert says in capsys.readouterr().err
    assert main(["panoptic", str(truth), "--store", store.location]) == 1
    assert "no image of" in capsys.readouterr().err


def test_setup_verifies_and_then_tries_spice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an archive of the right structure and nothing real in it: it is put in place, and the trial fails."""
    monkeypatch.setenv("CAPTION_MOVIES_CACHE", str(tmp_path / "cache"))
    (tmp_path / "corenlp.zip").write_bytes(archive())
    assert main(["setup", "spice", "--from", str(tmp_path / "corenlp.zip")]) == 1
    said = capsys.readouterr()
    assert "verified by structure (no digest is known of this file); every entry has its checksum" in said.out
    assert "trying SPICE" in said.out
    assert "SPICE" in said.err
    assert main(["setup", "spice", "--from", str(tmp_path / "not-there.zip")]) == 1
    assert "there is no file" in capsys.readouterr().err


@pytest.mark.usefixtures("on_server")
def test_the_dataset_s_own_detections_are_captioned_without_any_movie(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, where = [row("tt1_0"), row("tt1_1", 9, human_annotated=True), row("tt2_0", 5)], store.location
    assert main(["import", dataset(tmp_path, one), "--store", where]) == 0
    profile = scripted_profile(tmp_path)
    profile.write_text(profile.read_text() + '\n[score]\nmetrics = ["grounding", "consistent"]\n')
    ask = ["caption", "--store", where, "--profile", str(profile)]
    assert main(ask) == 0
    assert re.search(r"^captions  3 ok of 3 by scripted$", capsys.readouterr().out, re.MULTILINE)
    assert check_store(where) == []
    with catalog.connect(where) as asked:
        cited = asked.sql("select distinct unnest(object_ids) as one from mentions order by 1").fetchall()
        detected = asked.sql("select distinct object_id from detections").fetchall()
        found = asked.sql("select value from summaries where metric = 'consistent_macro' and \"group\" = 'all'")
        assert found.fetchall() == [(1.0,)]
    assert cited
    assert set(cited) <= set(detected)
    before = files_of(Path(where))
    assert main(ask) == 0
    assert files_of(Path(where)) == before, "what stands finished is not done again"
    frames = store.files.full("detections/movie_id=groundcap_tt2/00000.parquet")
    Path(frames).unlink()
    assert main(ask) == 1
    assert "detect groundcap_tt2/00000: nothing is detected in these frames" in capsys.readouterr().out


def test_a_store_without_movies_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no movies\. Fill it with `caption-movies import`"):
        stored_movies(Store(str(tmp_path / "none")))
