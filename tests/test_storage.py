"""The store keeps its promises: whole files or none, equal work once, strict schemas, any filesystem."""

import dataclasses
import errno
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
from rows import Settings, caption, detection, frame, movie, write

from storage import catalog
from storage.checks import check_store
from storage.errors import SchemaError, StoreError, TransientError
from storage.files import Files, open_files
from storage.parquet import columns, schema, to_table
from storage.partial_reads import frame_facts, rows_with
from storage.store import Output, Store, path_of
from storage.tables import (
    TABLES,
    Caption,
    Detection,
    Failure,
    Frame,
    Image,
    Row,
    StageRun,
)

REPOSITORY = Path(__file__).parents[1]


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


def test_work_that_may_vary_is_current_whatever_its_rows_and_its_fingerprint_tells_them_apart(store: Store) -> None:
    def output() -> Output:
        return store.output([Caption], stage="test", shard="mabc/00000", version=1, config=Settings(), captioner="c",
                            may_vary=True)  # fmt: skip

    def made(text: str) -> str:
        with (one := output()).writer() as add:
            add(dataclasses.replace(caption(), text=text))
        assert output().is_current()
        return one.ref.fingerprint

    assert not output().is_current()
    assert made("a man") == made("a man") != made("a dog")
    logged = store.ref("captions", "mabc/00000", "c")
    assert logged is not None
    (log,) = store.files.under("stage_runs")
    runs = store.read(dataclasses.replace(logged, path=log), StageRun)
    assert [one.fingerprint for one in runs] == [logged.fingerprint]


def test_files_of_two_attempts_are_not_current_together(store: Store, tmp_path: Path) -> None:
    def output() -> Output:
        return store.output([Detection, Failure], stage="detect", shard="mabc/00000", version=1, config=Settings(),
                            may_vary=True)  # fmt: skip

    def make(score: float) -> None:
        with output().writer() as add:
            add(dataclasses.replace(detection(), score=score))

    make(0.5)
    failures = tmp_path / "store" / output().paths["failures"]
    before = failures.read_bytes()
    make(0.25)
    assert output().is_current()
    failures.write_bytes(before)
    assert not output().is_current()


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
        from rows import Settings, frame
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


def test_a_file_that_is_damaged_within_says_so_whoever_reads_it(store: Store) -> None:
    """The footer is whole: that a page is not is seen only when it is read."""
    ref = write(store, [frame(number) for number in range(3)])
    full = Path(store.files.full(ref.path))
    column = pq.read_metadata(full).row_group(0).column(0)
    damaged = bytearray(full.read_bytes())
    start, length = column.dictionary_page_offset, column.total_compressed_size
    damaged[start : start + length] = b"\xa5" * length
    full.write_bytes(damaged)
    wanted = {frame().frame_id}
    for read in (
        lambda: list(store.read(ref, Frame)),
        lambda: frame_facts(store.files, ref.path),
        lambda: list(rows_with(store.files, ref.path, Frame, "frame_id", wanted)),
    ):
        with pytest.raises(StoreError, match=r"00000.parquet in .* is damaged: .* Delete it and run again"):
            read()


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
    assert path_of("judgements", "mabc/a@00003", "blip") == "judgements/captioner=blip/movie_id=mabc/a@00003.parquet"
    assert path_of("summaries", "all", "blip") == "summaries/captioner=blip/all.parquet"


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


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="nothing can be written"):
        open_files(str(tmp_path / "file" / "store")).probe()
    open_files(str(tmp_path / "store")).probe()
    assert list((tmp_path / "store").iterdir()) == []


def test_a_uri_without_a_filesystem_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_files("gopher://hole/store")


def test_pictures_are_declared_as_such() -> None:
    assert b'"image": {"_type": "Image"}' in schema(Frame).metadata[b"huggingface"]
    assert pa.types.is_struct(schema(Frame).field("image").type)


def test_a_file_given_as_a_store_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file is a file, and a store is a folder\. Give another --store"):
        open_files(str(tmp_path / "file"))
