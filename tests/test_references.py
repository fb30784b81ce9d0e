"""Reference captions from files of every kind and from stores, and GroundCap's dataset with its own frames."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rows as made
from PIL import Image

from flows.command_line import main
from storage import catalog
from storage.checks import check_store
from storage.store import Store, TableRef
from storage.tables import Frame, Reference
from tasks.errors import ConfigError, ReferencesError, StoreError
from tasks.frame_index import seconds_of
from tasks.groundcap import import_groundcap
from tasks.references import Imported, bring_references, import_captions, import_references

MAN = '<gdo class="person" person-0>A man</gdo>'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def frames_of_two_movies(store: Store) -> None:
    """Of 'The Reef' two frames, at 0 s and 1/24 s, of 'Night' one."""
    made.write(store, [made.frame(0, "ma"), made.frame(1, "ma")], "ma/00000")
    made.write(store, [made.frame(0, "mb")], "mb/00000")


def given(tmp_path: Path, store: Store, text: str, name: str = "r.jsonl") -> Imported:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return import_references(str(tmp_path / name), store, "human")


def references(tmp_path: Path, store: Store, text: str, name: str = "r.jsonl") -> list[TableRef]:
    return given(tmp_path, store, text, name).refs


def lines(*frame_ids: str) -> str:
    return "".join(
        f'{{"frame_id": "{one}", "caption": "{i} a man walks beside a table"}}\n' for i, one in enumerate(frame_ids)
    )


def test_references_of_every_format(store: Store, tmp_path: Path) -> None:
    frames_of_two_movies(store)
    wanted = [("ma_000000", f"{MAN} walks."), ("ma_000000", 'Ein Mann, "grün".'), ("mb_000000", "A dog.")]
    rows_of_json = [
        {"frame_id": "ma_000000", "caption": [wanted[0][1], wanted[1][1]]}, {"frame_id": "mb_000000", "text": "A dog."}
    ]  # fmt: skip
    refs = references(tmp_path, store, "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows_of_json))
    assert [(ref.shard, ref.rows) for ref in refs] == [("ma/human", 2), ("mb/human", 1)]
    rows = [row for ref in refs for row in store.read(ref, Reference)]
    assert [(row.frame_id, row.text) for row in rows] == wanted
    assert [row.reference_id for row in rows] == ["ma_000000/human/0", "ma_000000/human/1", "mb_000000/human/0"]
    assert rows[0].plain_text == "A man walks."
    quoted = [f'{one},"{text.replace(chr(34), chr(34) * 2)}"' for one, text in wanted]
    assert references(tmp_path, store, "\n".join(["frame_id,caption", *quoted]), "r.csv") == refs
    table = pa.table({"frame_id": [one for one, _ in wanted], "caption": [text for _, text in wanted], "n": [1, 2, 3]})
    pq.write_table(table, tmp_path / "r.parquet")
    assert import_references(str(tmp_path / "r.parquet"), store, "human").refs == refs


def test_bad_rows_are_listed_and_nothing_is_imported(store: Store, tmp_path: Path) -> None:
    frames_of_two_movies(store)
    text = (
        lines("ma_000000")
        + 'nonsense\n{"frame_id": "ma_000000"}\n{"frame_id": 3, "caption": "a"}\n'
        + lines("ma_000009")
    )
    with pytest.raises(ReferencesError) as error:
        references(tmp_path, store, text + '{"frame_id": "ma_000000", "caption": "<b> "}\n[1]\n')
    said = str(error.value)
    assert said.startswith("5 bad rows in ")
    assert "line 2: not JSON" in said
    assert "line 3: no column caption or text" in said
    assert "line 4: no frame_id" in said
    assert "line 6: caption is empty, without words" in said
    assert "line 7: not an object" in said
    assert said.endswith("Correct them, then import again.")
    assert store.files.under("references") == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.csv", "frame_id,caption\nma_000000,a,b\n", "line 2: more fields than the header"),
        ("r.csv", "frame_id,caption\nma_000000\n", "^1 bad row in .*: line 2: caption is empty"),
        ("r.csv", "frame,caption\nma_000000,a\n", "line 2: no frame_id"),
        ("r.txt", "a", "format is not known"), ("r.parquet", "a", "cannot be read"),
        ("r.jsonl", "", "holds no reference"),
        ("r.jsonl", '{"frame_id": "ma_000000", "caption": "a"}\n{"frame_id": "ma_000000", "caption": "a\\ud800"}',
         "line 2: caption holds half a character"),
        ("r.jsonl", '{"frame_id": "\\ud800", "caption": "a"}', "line 1: frame .* is not in the store"),
        ("r.jsonl", '\n{"frame_id": ' + "[" * 100_000, "line 2: nested too deep"),
        ("r.jsonl", '{"frame_id": "ma_000000", "caption": ["A man.", "... \u2014"]}', "line 1: .* without words"),
        ("r.jsonl", '{"frame_id": "../../etc_0", "caption": "a"}', "is not in the store"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_imported(store: Store, tmp_path: Path, name: str, content: str, message: str) -> None:
    frames_of_two_movies(store)
    with pytest.raises(ReferencesError, match=message):
        references(tmp_path, store, content, name)


def test_a_missing_file_and_a_bad_source(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ReferencesError, match=r"there is no file .*no\.jsonl\. Correct the path\."):
        import_references(str(tmp_path / "no.jsonl"), store, "human")
    with pytest.raises(ConfigError, match="source is 'a/b'"):
        import_references(str(tmp_path / "no.jsonl"), store, "a/b")


def test_the_command_says_at_once_that_nothing_is_there(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "people.csv").touch()
    for command in ("references", "score --references"):
        asked = [*command.split(), str(tmp_path / "poeple.csv"), "--store", store.location]
        assert main(asked) == 2
        said = capsys.readouterr().err
        assert f"there is nothing at {str(tmp_path / 'poeple.csv')!r}. Did you mean" in said
        assert "people.csv" in said
    with pytest.raises(StoreError):  # a URI is not looked for on this machine
        bring_references("file:///nowhere/at-all", store, captioner="one")


def texts(store: Store, refs: list[TableRef]) -> list[tuple[str, str]]:
    return [(row.frame_id, row.text) for ref in refs for row in store.read(ref, Reference)]


def test_rows_of_no_frame_are_left_out_counted_and_named(store: Store, tmp_path: Path) -> None:
    frames_of_two_movies(store)
    imported = given(tmp_path, store, lines("ma_000000", "ma_000009", "zz_000000"))
    assert (imported.references, imported.unmatched) == (1, 2)
    assert imported.shown == [
        "line 2: frame 'ma_000009' is not in the store", "line 3: frame 'zz_000000' is not in the store"
    ]  # fmt: skip


def test_a_frame_is_found_by_movie_and_time(store: Store, tmp_path: Path) -> None:
    for movie_id, title in (("ma", "The Reef"), ("mb", "Night"), ("mc", "Night")):
        row = made.movie(movie_id)
        put = {"title": title, "path": f"/films/{title}.{movie_id}.mp4"}
        made.write(store, [type(row)(**{name: getattr(row, name) for name in row.__slots__} | put)], movie_id)
    made.write(store, [at(0, 0.0), at(1, 2.0), at(2, 62.5)], "ma/00000")
    made.write(store, [made.frame(0, "mb")], "mb/00000")
    text = (
        "movie,seconds,time,caption\nThe Reef,1.6,,two\nma,,1:02.4,three\nThe Reef.ma.mp4,0,,one\n"
        "/elsewhere/The Reef.ma.mp4,0.2,,again\nThe Reef,30,,lost\nNight,0,,which\nDay,0,,who\n"
    )
    imported = given(tmp_path, store, text, "r.csv")
    assert texts(store, imported.refs) == [
        ("ma_000001", "two"), ("ma_000002", "three"), ("ma_000000", "one"), ("ma_000000", "again")
    ]  # fmt: skip
    assert imported.shown == [
        "line 6: no frame of 'The Reef' within 0.5 s of 30.00 s; the nearest is at 2.00 s",
        "line 7: 2 movies are called 'Night'; name the movie_id: mb, mc",
        "line 8: no movie in the store is called 'Day'",
    ]
    with pytest.raises(ReferencesError, match="line 2: column time: 'noon' is no time"):
        references(tmp_path, store, "movie,time,caption\nma,noon,a dog\n", "r.csv")
    with pytest.raises(ReferencesError, match="line 2: column movie without a time"):
        references(tmp_path, store, "movie,time,caption\nma,,a dog\n", "r.csv")


def at(index: int, seconds: float) -> Frame:
    row = made.frame(index, "ma")
    return Frame(**{name: getattr(row, name) for name in row.__slots__} | {"pts_seconds": seconds})


@pytest.mark.parametrize(("said", "means"), [("1:02:03.5", 3723.5), ("02:03", 123.0), ("7.25", 7.25), (3, 3.0)])
def test_times_are_seconds_or_hours_minutes_seconds(said: object, means: float) -> None:
    assert seconds_of(said) == means


@pytest.mark.parametrize("said", ["", "soon", "-1", -1, float("nan"), True, None, "1:2:3:4"])
def test_what_is_no_time_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match="is no time"):
        seconds_of(said)


def named(index: int, name: str) -> Frame:
    row = made.frame(index, "ma")
    return Frame(**{one: getattr(row, one) for one in row.__slots__} | {"image": type(row.image)(bytes=b"", path=name)})


def test_coco_captions_go_by_the_picture_s_name(store: Store, tmp_path: Path) -> None:
    made.write(store, [named(0, "000000000042.jpg"), named(1, "beach.png")], "ma/00000")
    said = {
        "images": [{"id": 42, "file_name": "000000000042.jpg"}, {"id": 7, "file_name": "val/beach.png"},
                   {"id": 8, "file_name": "other.jpg"}],
        "annotations": [{"id": 1, "image_id": 42, "caption": "a dog"}, {"id": 2, "image_id": 42, "caption": "one dog"},
                        {"id": 3, "image_id": 7, "caption": "sand"}, {"id": 4, "image_id": 8, "caption": "lost"}],
    }  # fmt: skip
    imported = given(tmp_path, store, json.dumps(said), "captions.json")
    wanted = [("ma_000000", "a dog"), ("ma_000000", "one dog"), ("ma_000001", "sand")]
    assert texts(store, imported.refs) == wanted
    assert imported.shown == ["annotation 4 (id 4): no frame's picture is called 'other.jpg'"]
    bare = [{"image_id": 42, "caption": "a dog"}, {"image_id": "beach", "caption": "sand"}]
    assert texts(store, references(tmp_path, store, json.dumps(bare), "results.json")) == [wanted[0], wanted[2]]
    for changed, says in (
        ({"image_id": 99, "caption": "x"}, r"annotation 1 \(id None\): image_id 99 is not among `images`"),
        ({"image_id": None, "caption": "x"}, "image_id is NoneType"),
        ({"image_id": 42, "caption": 3}, "caption is empty, without words or no text"),
        ("no object", "annotation 1: not an object"),
    ):
        with pytest.raises(ReferencesError, match=says):
            references(tmp_path, store, json.dumps(said | {"annotations": [changed]}), "bad.json")


def captioned(store: Store, movie: str = "ma") -> None:
    """Three captions by `old`: a clean one, one at fault, one that failed; and their verdicts."""
    from tasks.consistency import check_captions

    frames = made.write(store, [made.frame(number, movie) for number in range(3)], f"{movie}/00000")
    found = [made.detection("person-0", frame_id=f"{movie}_{number:06d}") for number in range(3)]
    detections = made.write(store, list(found), f"{movie}/00000", inputs=[frames.fingerprint])
    told = [(f"{MAN} walks.", None), ('<gdo class="dog" dog-7>A dog</gdo>.', None), ("", "out of memory")]
    rows: list[Any] = [
        made.caption(f"{movie}_{number:06d}", text, captioner="old", error=error)
        for number, (text, error) in enumerate(told)
    ]
    captions = made.write(store, rows, f"{movie}/00000", captioner="old", inputs=[detections.fingerprint])
    check_captions(captions, detections, store)


def test_a_store_s_good_captions_are_references_for_another(store: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path / "other"))
    captioned(other)
    frames_of_two_movies(store)
    imported = import_captions(other.location, "old", store, "teacher")
    assert texts(store, imported.refs) == [("ma_000000", f"{MAN} walks.")], "one is at fault, one failed"
    assert [ref.shard for ref in imported.refs] == ["ma/teacher"]
    with pytest.raises(ReferencesError, match=r"no captions by 'new' that may be used; its captioners: old"):
        import_captions(other.location, "new", store, "teacher")


# GroundCap's dataset ------------------------------------------------------------------------------------------------


def picture(shade: int, form: str = "JPEG") -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (40, 24), (shade, shade, shade)).save(packed, form)
    return packed.getvalue()


def row(row_id: str, shade: int = 0, **changed: Any) -> dict[str, Any]:
    return {
        "id": row_id,
        "image": {"bytes": picture(shade), "path": None},
        "detections": [
            {"id": 0, "label": "person", "score": 0.9, "box": {"x": 0.1, "y": 0.2, "w": 0.3, "h": 0.5}},
            {"id": 1, "label": "dining table", "score": 0.8, "box": {"x": 0.5, "y": 0.5, "w": 0.504, "h": 0.5}},
        ],
        "caption": f"{MAN} walks.",
        "human_annotated": False,
    } | changed


SCHEMA = pa.schema([
    ("id", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("detections", pa.list_(pa.struct([("id", pa.int32()), ("label", pa.string()), ("score", pa.float32()),
     ("box", pa.struct([(side, pa.float32()) for side in "xywh"]))]))),
    ("caption", pa.string()), ("human_annotated", pa.bool_()),
])  # fmt: skip
"""The columns of daniel3303/GroundCap, as its card lists them."""


def dataset(tmp_path: Path, rows: list[dict[str, Any]], name: str = "test-00000.parquet") -> str:
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), tmp_path / name, row_group_size=3)
    return str(tmp_path / name)


def test_groundcap_becomes_frames_detections_and_references(store: Store, tmp_path: Path) -> None:
    human = row("tt7_b", 1, human_annotated=True, caption="He walks.")
    one = dataset(tmp_path, [row("tt7_a", 0), row("tt9_a", 5, image={"bytes": picture(5, "PNG"), "path": "x"}),
                             row("tt7_b", 1)])  # fmt: skip
    two = dataset(tmp_path, [human], "test-00001.parquet")
    brought = import_groundcap([one, two], store)
    assert (brought.movies, brought.frames, brought.detections) == (2, 3, 6)
    assert brought.references == {"automatic": 3, "human": 1}
    assert brought.left_out == []
    assert check_store(store.location) == []
    with catalog.connect(store.location) as asked:
        assert asked.sql("select frame_id, image.path, width from frames order by 1").fetchall() == [
            ("groundcap_tt7_000000", "tt7_a.jpg", 40), ("groundcap_tt7_000001", "tt7_b.jpg", 40),
            ("groundcap_tt9_000000", "tt9_a.png", 40),
        ]  # fmt: skip
        assert asked.sql(
            "select object_id, object_index, category_id, is_thing from detections where frame_id like '%9%'"
        ).fetchall() == [("person-0", 0, 0, True), ("dining-table-1", 1, 60, True)]
        told = asked.sql("select source, text from \"references\" where frame_id = 'groundcap_tt7_000001' order by 1")
        assert told.fetchall() == [("automatic", f"{MAN} walks."), ("human", "He walks.")]
        assert asked.sql("select title, status, decoded_frames from movies order by 1").fetchall() == [
            ("groundcap tt7", "ok", 2), ("groundcap tt9", "ok", 1)
        ]  # fmt: skip


def test_importing_the_same_again_writes_nothing_and_other_rows_replace(store: Store, tmp_path: Path) -> None:
    file = dataset(tmp_path, [row(f"tt7_{number}", number % 250) for number in range(200)])
    import_groundcap([file], store)
    files = sorted(Path(store.location).rglob("*.parquet"))
    times = [path.stat().st_mtime_ns for path in files if "stage_runs" not in str(path)]
    import_groundcap([file], store)
    assert times == [path.stat().st_mtime_ns for path in files if "stage_runs" not in str(path)]
    assert len(store.files.under("frames")) == 2
    import_groundcap([dataset(tmp_path, [row("tt7_0", human_annotated=True)])], store)
    assert [path for path in store.files.under("") if "stage_runs" not in path] == [
        "detections/movie_id=groundcap_tt7/00000.parquet",
        "failures/stage=detect/movie_id=groundcap_tt7/00000.parquet", "frames/movie_id=groundcap_tt7/00000.parquet",
        "movies/groundcap_tt7.parquet", "references/movie_id=groundcap_tt7/human.parquet",
        "shots/movie_id=groundcap_tt7/00000.parquet",
    ]  # fmt: skip
    assert check_store(store.location) == []


def test_rows_of_the_dataset_that_cannot_be_used_are_named_with_their_column(store: Store, tmp_path: Path) -> None:
    box = {"x": 10.0, "y": 4.0, "w": 20.0, "h": 9.0}
    bad: list[tuple[dict[str, Any], str]] = [
        ({"id": "tt7"}, "column id is 'tt7'"),
        ({"image": {"bytes": None, "path": "a.jpg"}}, "column image has no bytes"),
        ({"image": {"bytes": b"no picture", "path": None}}, "column image is no picture (of no format"),
        ({"caption": "<b> "}, "column caption is empty"),
        ({"human_annotated": None}, "column human_annotated is null"),
        ({"detections": [{"id": 0, "label": "cat", "score": 0.9, "box": box}]}, r"detections[0].box is"),
        ({"detections": [{"id": 0, "label": None, "score": 0.9, "box": box}]}, "detections[0] lacks label"),
        ({"detections": row("x_y")["detections"][:1] * 2}, "column detections has person-0 twice"),
    ]
    file = dataset(tmp_path, [row("tt7_0"), *(row("tt7_9") | one for one, _ in bad)])
    brought = import_groundcap([file], store)
    assert (brought.frames, len(brought.left_out)) == (1, len(bad))
    said = {one.place.partition(" (")[0]: one.why for one in brought.left_out}
    for number, (_, why) in enumerate(bad, 2):
        assert why in said[f"test-00000.parquet row {number}"]


def test_files_that_are_not_the_dataset_say_so(store: Store, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a_b"]}), tmp_path / "other.parquet")
    with pytest.raises(ReferencesError, match="no column image, detections, caption, human_annotated"):
        import_groundcap([str(tmp_path / "other.parquet")], store)
    (tmp_path / "damaged.parquet").write_text("PAR1")
    with pytest.raises(ReferencesError, match=r"damaged\.parquet is not Parquet, or damaged: .* Fetch it again"):
        import_groundcap([str(tmp_path / "damaged.parquet")], store)
    with pytest.raises(ReferencesError, match=r"no row of .* can be used, the first: .* row 1: column id"):
        import_groundcap([dataset(tmp_path, [row("tt7")])], store)
    with pytest.raises(ReferencesError, match="caption-movies import"):
        import_references(dataset(tmp_path, [row("tt7_1")]), store, "human")
    with pytest.raises(ConfigError, match="name is 'a/b'"):
        import_groundcap([], store, "a/b")
