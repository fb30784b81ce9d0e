"""Asking a store: views, captions_ok, named queries, and the check of every file and key."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rows import caption, detection, frame, movie, write

from storage import catalog, documents
from storage.answers import rows_of
from storage.checks import check_store
from storage.errors import StoreError, UnknownNameError
from storage.parquet import columns
from storage.store import Store
from storage.tables import (
    TABLES,
    Caption,
    Mention,
    Reference,
    Shot,
    Verdict,
)

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), "run-1")


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
    write(filled, [detection("cat-0")], inputs=[frames.fingerprint, "another detector"])
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


def test_a_store_of_before_a_column_has_it_empty(filled: Store) -> None:
    """Its files are made anew by the next run; until then it can be asked."""
    paths = [Path(filled.files.full(path)) for path in filled.files.under("captions")]
    for path in paths:
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.drop_columns(["original_text"]), path)
    with catalog.connect(filled.location) as connection:
        found = connection.sql("select text, original_text from captions order by 1").fetchall()
        assert found == [("a cat", None), ("a dog", None)]
        assert len(catalog.ask(connection, "quarantined_captions").fetchall()) == 2
    assert {one.kind for one in check_store(filled.location)} == {"other-schema"}


def test_persons_are_found_with_animals_and_what_they_do(filled: Store) -> None:
    said = {"text": "x", "start": 0, "end": 1, "verdict": "ok", "caption_id": "mabc_000000/scripted/0"}
    marks = [
        ("object", "dog", ["dog-0"]),
        ("object", "person", ["person-10", "person-2"]),
        ("action", "walk", ["dog-0"]),
    ]
    mentions = [
        Mention(mention_index=n, kind=kind, label=label, object_ids=ids, **said)
        for n, (kind, label, ids) in enumerate(marks)
    ]
    write(filled, list(mentions[1:]), captioner="scripted")
    with catalog.connect(filled.location) as connection:
        (found,) = catalog.ask(connection, "person_with_an_animal").fetchall()
        assert found[2:5] == (["person-10", "person-2"], ["dog-0"], ["walk"])
    write(filled, list(mentions[:1]), captioner="scripted")
    with catalog.connect(filled.location) as connection:
        assert catalog.ask(connection, "person_with_an_animal").fetchall() == []


def test_no_store_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="caption-movies run"):
        catalog.connect(str(tmp_path / "nothing"))


@pytest.mark.parametrize("name", catalog.queries())
def test_every_named_query_runs_and_begins_with_its_question(filled: Store, name: str) -> None:
    query = catalog.queries()[name]
    assert query.sql.startswith("-- ")
    values = {"movie_id": "mabc", "shot_index": 0, "caption_id": "mabc_000000/scripted/0"}
    given = {key: values[key] for key in query.parameters if key not in query.defaults}
    with catalog.connect(filled.location) as connection:
        answer = catalog.ask(connection, name, given)
        answer.fetchall()
        if name in {"shot_captions", "caption_origin", "quarantined_captions", "movie_status"}:
            assert len(catalog.ask(connection, name, given)) > 0


def test_the_summary_says_how_many_captions_there_are_and_how_many_cite_nothing(filled: Store) -> None:
    failed = caption("mabc_000005", error="no memory")
    write(filled, [failed], captioner="scripted", shard="mabc/00001")
    write(filled, [caption("mabc_000006", captioner="other")], captioner="other", shard="mabc/00001")
    cited = {"kind": "object", "label": "dog", "text": "a dog", "start": 0, "end": 5, "verdict": "ok"}
    ids = {"mabc_000000/scripted/0": ["dog-0"], "mabc_000001/scripted/0": []}
    write(
        filled,
        [Mention(caption_id=one, mention_index=0, object_ids=found, **cited) for one, found in ids.items()],
        captioner="scripted",
    )
    with catalog.connect(filled.location) as connection:
        answer = catalog.ask(connection, "summaries_by_captioner")
        assert answer.columns == ["metric", "other", "scripted"]
        assert answer.fetchall() == [("captions", 1.0, 3.0), ("captions_citing_nothing", 1.0, 1.0)]


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
            list(rows_of(lazy))


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


def test_damage_inside_a_file_is_found(filled: Store) -> None:
    path = Path(filled.files.full("frames/movie_id=mabc/00000.parquet"))
    content = bytearray(path.read_bytes())
    content[4:40] = bytes(36)  # the first page; the footer is whole
    path.write_bytes(bytes(content))
    assert [(one.kind, one.where) for one in check_store(filled.location)] == [
        ("damaged-file", "frames/movie_id=mabc/00000.parquet")
    ]


def test_the_tables_page_is_up_to_date() -> None:
    page = (REPOSITORY / "docs" / "tables.md").read_text(encoding="utf-8")
    assert page == documents.tables_markdown(), "run: make docs"
