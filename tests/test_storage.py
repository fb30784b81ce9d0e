"""The store keeps its promises: whole files or none, equal work once, strict schemas, any filesystem."""

import dataclasses
import errno
import io
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import catalog, documents
from storage.checks import check_store
from storage.errors import SchemaError, StoreError, TransientError, UnknownNameError
from storage.files import Files, open_files
from storage.parquet import columns, schema, to_table
from storage.store import EXECUTION, Store, TableRef, path_of
from storage.tables import (
    TABLES,
    Box,
    Caption,
    Detection,
    Frame,
    Image,
    Movie,
    Reference,
    Row,
    Shot,
    Verdict,
)

REPOSITORY = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    value: int = 1
    device: str = dataclasses.field(default="cpu", metadata=EXECUTION)


def frame(index: int = 0, movie: str = "mabc") -> Frame:
    return Frame(
        frame_id=f"{movie}_{index:06d}",
        movie_id=movie,
        shot_index=0,
        frame_index=index,
        pts_seconds=index / 24,
        width=4,
        height=2,
        image=Image(bytes=b"\xff\xd8", path="x.jpg"),
    )


def movie(movie_id: str = "mabc") -> Movie:
    return Movie(
        movie_id=movie_id,
        title="A",
        path="/a.mp4",
        other_paths=[],
        sha256="0" * 64,
        size_bytes=1,
        width=4,
        height=2,
        codec="h264",
        frame_rate=None,
        duration_seconds=1.0,
        decoded_frames=3,
        damaged_frames=0,
        status="ok",
        error=None,
    )


def detection(frame_id: str = "mabc_000000", object_id: str = "dog-0") -> Detection:
    return Detection(
        frame_id=frame_id,
        object_id=object_id,
        object_index=0,
        segment_id=1,
        label="dog",
        category_id=16,
        is_thing=True,
        score=0.9,
        box=Box(x=0.1, y=0.2, w=0.3, h=0.4),
        area=0.1,
        mask=None,
        mask_width=4,
        mask_height=2,
    )


def caption(frame_id: str = "mabc_000000", text: str = "a dog") -> Caption:
    return Caption(
        caption_id=f"{frame_id}/scripted/0",
        frame_id=frame_id,
        captioner="scripted",
        candidate=0,
        text=text,
        plain_text=text,
        checkpoint="scripted",
        adapter=None,
        prompt_template="groundcap-card",
        prompt_digest="0" * 16,
        prompt_tokens=1,
        completion_tokens=1,
        temperature=0.0,
        top_p=1.0,
        seed=0,
        finish_reason="stop",
        error=None,
        mean_logprob=None,
    )


def write(store: Store, rows: list[Row], shard: str = "mabc/00000", **options: object) -> TableRef:
    kinds = list(dict.fromkeys(type(row) for row in rows))
    output = store.output(kinds, stage="test", shard=shard, version=1, config=Settings(), **options)  # type: ignore[arg-type]
    with output.writer() as add:
        for row in rows:
            add(row)
    return output.ref


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), "run-1")


def test_rows_survive_the_round_trip(store: Store) -> None:
    frames = [frame(index) for index in range(70)]  # more than one row group
    ref = write(store, [*frames, detection()])
    assert list(store.read(ref, Frame)) == frames
    assert ref.rows == 70
    assert ref == store.ref("frames", "mabc/00000")
    found = store.ref("detections", "mabc/00000")
    assert found is not None
    assert list(store.read(found, Detection)) == [detection()]


@given(
    text=st.text(),
    number=st.integers(-(2**63), 2**63 - 1),
    value=st.floats(allow_nan=False),
    maybe=st.none() | st.text(),
)
def test_values_survive_the_round_trip(text: str, number: int, value: float, maybe: str | None) -> None:
    one = dataclasses.replace(caption(), text=text, seed=number, temperature=value, adapter=maybe)
    back = to_table(Caption, [one]).to_pylist()[0]
    assert (back["text"], back["seed"], back["temperature"], back["adapter"]) == (text, number, value, maybe)


def test_equal_work_is_current_and_changed_work_is_not(store: Store) -> None:
    def output(config: Settings, inputs: tuple[str, ...] = ("a",), version: int = 1, weights: str = "w") -> bool:
        return store.output(
            [Frame], stage="test", shard="mabc/00000", version=version, config=config, inputs=inputs,
            weights={"model": weights},
        ).is_current()  # fmt: skip

    made = store.output(
        [Frame], stage="test", shard="mabc/00000", version=1, config=Settings(), inputs=("a",), weights={"model": "w"}
    )
    assert not made.is_current()
    with made.writer() as add:
        add(frame())
    assert output(Settings())
    assert output(Settings(device="cuda"))  # how to work, not what comes out
    assert not output(Settings(value=2))
    assert not output(Settings(), inputs=("b",))
    assert not output(Settings(), version=2)
    assert not output(Settings(), weights="other")


def test_an_error_while_writing_leaves_the_old_file_and_no_other(store: Store) -> None:
    ref = write(store, [frame(0)])
    output = store.output([Frame], stage="test", shard="mabc/00000", version=2, config=Settings())

    def stops_half_way() -> None:
        with output.writer() as add:
            add(frame(1))
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        stops_half_way()
    assert list(store.read(ref, Frame)) == [frame(0)]
    assert not output.is_current()
    assert store.files.under("", ".tmp") == []


def test_a_killed_writer_leaves_no_half_file_and_is_swept(store: Store, tmp_path: Path) -> None:
    program = f"""
        import os, signal, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        sys.path.insert(0, {str(REPOSITORY / "tests")!r})
        from test_storage import Settings, frame
        from storage.store import Store
        from storage.tables import Frame
        store = Store({store.location!r}, "run-2")
        output = store.output([Frame], stage="test", shard="mabc/00000", version=1, config=Settings())
        with output.writer() as add:
            for index in range(100):
                add(frame(index))
            os.kill(os.getpid(), signal.SIGKILL)
    """
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert store.files.under("") == []
    assert len(store.files.under("", ".tmp")) == 1
    mine = store.files.full(f"frames/.x.parquet.{os.uname().nodename.replace('.', '-')}.{os.getpid()}.abcd.tmp")
    Path(mine).write_bytes(b"")
    assert store.files.sweep() == 1  # the dead one's; a living writer's stays
    assert Path(mine).exists()


def test_a_null_in_a_column_that_takes_none_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"captions.text is null in row 1"):
        to_table(Caption, [caption(), dataclasses.replace(caption(), text=None)])  # type: ignore[arg-type]


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"captions.seed takes int64"):
        to_table(Caption, [dataclasses.replace(caption(), seed="seven")])  # type: ignore[arg-type]


def test_a_file_with_other_columns_is_refused(store: Store) -> None:
    ref = write(store, [frame()])
    full = Path(store.files.full(ref.path))
    pq.write_table(pq.read_table(full).drop_columns(["width"]), full)
    with pytest.raises(SchemaError, match="width"):
        list(store.read(ref, Frame))


def test_a_damaged_file_is_made_anew_and_named(store: Store) -> None:
    ref = write(store, [frame()])
    Path(store.files.full(ref.path)).write_bytes(b"PAR1 nonsense")
    assert not store.output([Frame], stage="test", shard="mabc/00000", version=1, config=Settings()).is_current()
    with pytest.raises(StoreError, match="damaged"):
        store.footer(ref.path)
    assert [problem.kind for problem in check_store(store.location)] == ["damaged-file"]


def test_a_file_that_is_gone_says_how_to_make_it_anew(store: Store) -> None:
    ref = write(store, [frame()])
    store.files.delete(ref.path)
    with pytest.raises(StoreError, match="Run again"):
        list(store.read(ref, Frame))


@pytest.mark.parametrize("row", TABLES.values(), ids=list(TABLES))
def test_every_column_has_a_meaning_and_every_key_exists(row: type[Row]) -> None:
    names = {column.name for column in columns(row)}
    assert all(column.comment for column in columns(row))
    assert set(row.key) <= names
    assert set(row.references) <= names
    assert set(row.references.values()) <= TABLES.keys()
    for field, column in zip(schema(row), columns(row), strict=True):
        assert field.nullable == (column.nullable or column.kind is Image)


def test_the_layout_is_the_documented_one() -> None:
    assert path_of("movies", "mabc") == "movies/mabc.parquet"
    assert path_of("frames", "mabc/00003") == "frames/movie_id=mabc/00003.parquet"
    assert path_of("captions", "mabc/00003", "blip") == "captions/captioner=blip/movie_id=mabc/00003.parquet"
    assert path_of("failures", "mabc/00003", stage="detect") == "failures/stage=detect/movie_id=mabc/00003.parquet"
    assert path_of("summaries", "all", "blip") == "summaries/captioner=blip/all.parquet"


@pytest.fixture
def filled(store: Store) -> Store:
    write(store, [movie()], shard="mabc")
    shot = Shot(movie_id="mabc", shot_index=0, start_seconds=0, end_seconds=1, frames=2)
    frames = write(store, [frame(0), frame(1), shot])
    found = write(store, [detection()], inputs=[frames.fingerprint])
    said = write(store, [caption(), caption("mabc_000001", "a cat")], captioner="scripted", inputs=["c" * 32, "a text"])
    marks = {"captions_fingerprint": said.fingerprint, "detections_fingerprint": found.fingerprint}
    verdicts = [
        Verdict(caption_id=f"mabc_00000{n}/scripted/0", verdict=verdict, codes=[], mentions=0, violations=n, **marks)
        for n, verdict in enumerate(["ok", "violations"])
    ]
    write(store, list(verdicts), captioner="scripted", inputs=["e" * 32])
    return store


def test_captions_ok_holds_only_what_was_judged_as_it_stands(filled: Store) -> None:
    def ok() -> list[tuple[str]]:
        with catalog.connect(filled.location) as connection:
            return connection.sql("select caption_id from captions_ok").fetchall()

    assert ok() == [("mabc_000000/scripted/0",)]
    frames = filled.ref("frames", "mabc/00000")
    assert frames is not None
    write(filled, [detection(object_id="cat-0")], inputs=[frames.fingerprint, "another detector"])
    assert ok() == []  # the verdict was given against detections that are gone
    write(filled, [detection()], inputs=[frames.fingerprint])
    assert len(ok()) == 1
    write(filled, [frame(5)], inputs=["another rate"])
    assert ok() == []  # the detections were made from frames that are gone


def test_views_are_commented_from_the_dataclasses(filled: Store) -> None:
    with catalog.connect(filled.location) as connection:
        said = dict(
            connection.sql("select column_name, comment from duckdb_columns() where table_name = 'captions'").fetchall()
        )
    assert said == {column.name: column.comment for column in columns(Caption)}


def test_a_store_without_some_tables_has_them_empty(store: Store) -> None:
    write(store, [movie()], shard="mabc")
    with catalog.connect(store.location) as connection:
        for name in [*TABLES, "captions_ok"]:
            expected = 1 if name in {"movies", "stage_runs"} else 0
            assert connection.sql(f'select count(*) from "{name}"').fetchall() == [(expected,)]


def test_no_store_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="caption-movies run"):
        catalog.connect(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", catalog.queries())
def test_every_named_query_runs_and_begins_with_its_question(filled: Store, name: str) -> None:
    query = catalog.queries()[name]
    assert query.sql.startswith("-- ")
    values = {"movie_id": "mabc", "shot_index": 0, "caption_id": "mabc_000000/scripted/0"}
    with catalog.connect(filled.location) as connection:
        answer = catalog.ask(connection, name, {key: values[key] for key in query.parameters})
        answer.fetchall()
        if name in {"shot_captions", "caption_origin", "quarantined_captions", "movie_status"}:
            assert len(catalog.ask(connection, name, {key: values[key] for key in query.parameters})) > 0


def test_wrong_questions_are_answered_helpfully(filled: Store) -> None:
    with catalog.connect(filled.location) as connection:
        with pytest.raises(UnknownNameError, match="shot_captions"):
            catalog.ask(connection, "shot_caption")
        with pytest.raises(StoreError, match=r"movie_id=... shot_index=..."):
            catalog.ask(connection, "shot_captions")
        with pytest.raises(StoreError, match="DuckDB says"):
            catalog.ask(connection, "select nothing from nowhere")
        with pytest.raises(StoreError, match="no question"):
            catalog.ask(connection, "-- hello")
        lazy = catalog.ask(connection, "select movie_id::integer from movies")
        with pytest.raises(StoreError, match="DuckDB says"):
            catalog.show(lazy, max_rows=9, max_width=99)


def test_columns_of_equal_names_keep_their_values(filled: Store) -> None:
    with catalog.connect(filled.location) as connection:
        target = io.StringIO()
        catalog.write_rows(catalog.ask(connection, "select 1 as a, 2 as a, 3 as b"), "csv", target)
        assert target.getvalue().split() == ["a_1,a_2,b", "1,2,3"]


def test_check_finds_each_kind_of_problem(filled: Store) -> None:
    assert [one.kind for one in check_store(filled.location)] == ["stale-file"] * 2  # the inputs above are invented
    write(filled, [frame(0)], shard="mabc/00001")
    write(filled, [Reference(reference_id="r", frame_id="nowhere", source="human", text="x", plain_text="x")])
    kinds = {(one.kind, one.where) for one in check_store(filled.location)}
    assert ("duplicate-key", "frames") in kinds
    assert ("dangling-key", "references") in kinds
    strange = Path(filled.files.full("holiday/pictures.parquet"))
    strange.parent.mkdir()
    strange.write_bytes(b"")
    assert ("foreign-file", "holiday/pictures.parquet") in {(o.kind, o.where) for o in check_store(filled.location)}


def test_a_store_on_another_filesystem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Anything pyarrow opens works: uploads instead of renames, datasets instead of globs."""
    (tmp_path / "bucket").mkdir()
    remote = Files(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket")
    assert not remote.is_local
    for module in ("storage.store", "storage.catalog", "storage.checks"):
        monkeypatch.setattr(f"{module}.open_files", lambda location: remote)
    store = Store("mock://bucket", "run-1")
    write(store, [movie()], shard="mabc")
    ref = write(store, [frame(0)])
    assert list(store.read(ref, Frame)) == [frame(0)]
    with catalog.connect("mock://bucket") as connection:
        assert connection.sql("select frame_id from frames").fetchall() == [("mabc_000000",)]
        assert len(connection.sql("from files")) == 2
    assert check_store("mock://bucket") == []
    assert (tmp_path / "bucket" / "frames" / "movie_id=mabc" / "00000.parquet").exists()


def test_an_interrupted_upload_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bucket").mkdir()
    remote = Files(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket")

    def breaks(source: object, target: pa.NativeFile, length: int) -> None:
        target.write(b"half")
        raise ConnectionResetError("gone")

    def upload() -> None:
        with remote.replacing("movies/m.parquet") as (draft,):
            draft.write_bytes(b"half and half")

    monkeypatch.setattr("storage.files.shutil.copyfileobj", breaks)
    with pytest.raises(ConnectionResetError):
        upload()
    assert [path for path in (tmp_path / "bucket").rglob("*") if path.is_file()] == []


def test_an_outage_is_not_damage(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Damage is made anew; an outage must not make finished work look undone."""
    ref = write(store, [frame()])
    output = store.output([Frame], stage="test", shard="mabc/00000", version=1, config=Settings())
    remote = Files(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "store")

    def fails(files: Files, path: str) -> pa.NativeFile:
        raise OSError("AWS Error NETWORK_CONNECTION") if files is remote else OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Files, "open", fails)
    with pytest.raises(OSError, match="Input/output"):
        output.is_current()
    monkeypatch.setattr("storage.store.open_files", lambda location: remote)
    with pytest.raises(TransientError, match="NETWORK_CONNECTION"):
        store.footer(ref.path)


@pytest.mark.parametrize("name", ["plain", "it's", 'a "b"', "x[1]y", "q?", "star*", "ü b", "up/../down"])
def test_any_path_can_be_a_store(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Store("qa"), [movie("mother")], shard="mother")  # a glob of q? would see this one too
    store = Store(name)
    write(store, [movie()], shard="mabc")
    with catalog.connect(name) as connection:
        assert connection.sql("select movie_id from movies").fetchall() == [("mabc",)]
        assert connection.sql("select path from files").fetchall() == [("movies/mabc.parquet",)]
    assert check_store(name) == []


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="nothing can be written"):
        open_files(str(tmp_path / "file" / "store")).probe()
    open_files(str(tmp_path / "store")).probe()
    assert list((tmp_path / "store").iterdir()) == []


def test_damage_inside_a_file_is_found(filled: Store) -> None:
    path = Path(filled.files.full("frames/movie_id=mabc/00000.parquet"))
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the first page; the footer is whole
    path.write_bytes(bytes(content))
    assert [(one.kind, one.where) for one in check_store(filled.location)] == [
        ("damaged-file", "frames/movie_id=mabc/00000.parquet")
    ]


def test_a_uri_without_a_filesystem_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_files("gopher://hole/store")


def test_the_tables_page_is_up_to_date() -> None:
    page = (REPOSITORY / "docs" / "tables.md").read_text(encoding="utf-8")
    assert page == documents.tables_markdown(), "run: make docs"


def test_pictures_are_declared_as_such() -> None:
    assert b'"image": {"_type": "Image"}' in schema(Frame).metadata[b"huggingface"]
    assert pa.types.is_struct(schema(Frame).field("image").type)
