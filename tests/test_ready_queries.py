"""The ready queries that people ask with values of their own: what they answer, on stores of which all is known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from gallery_making import GOOD, PLAIN, write_movie
from rows import caption, movie, write

from storage import catalog
from storage.errors import ParametersError
from storage.store import Store
from storage.tables import Failure, StageRun

WRONG = '<gdo class="cat" cat-7>A cat</gdo>'
NEW = [
    "frames_with_object", "actions_by_shot", "cost_by_captioner", "movies_with_failures", "captioner_disagreements",
    "throughput_over_time", "lowest_scores", "labels_left_out", "violation_examples",
]  # fmt: skip


def run(stage: str, captioner: str = "", *, at: str = "2026-01-02T03:04:05+00:00", **values: Any) -> StageRun:
    given = {"rows": 10, "seconds": 4.0, "frames": 10, "prompt_tokens": 0, "tokens": 0, "asking_seconds": 0.0} | values
    return StageRun(run_id="r", stage=stage, shard=f"m/{at}", captioner=captioner, fingerprint="f", waiting_seconds=0.0,
                    started_at=at, code_version="c", config="{}", **given)  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Four frames in two shots; of alpha, the captions of the odd ones cite what is not there."""
    made = Store(str(tmp_path_factory.mktemp("asked") / "store"))
    write_movie(made, {"alpha": [GOOD, WRONG], "beta": [GOOD, PLAIN]}, frames=4, shard_frames=4, per_shot=2)
    return made


@pytest.fixture
def connection(store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with catalog.connect(store.location) as made:
        yield made


def asked(connection: duckdb.DuckDBPyConnection, query: str, columns: str, **values: str) -> list[tuple[Any, ...]]:
    answer = catalog.ask(connection, query, values)
    return answer.project(columns).fetchall()


@pytest.mark.parametrize("name", NEW)
def test_every_parameter_is_explained_and_needs_not_be_given(name: str, connection: duckdb.DuckDBPyConnection) -> None:
    query = catalog.queries()[name]
    assert set(query.parameters) == query.defaults.keys() == query.meanings.keys()
    assert catalog.ask(connection, name).columns


def test_frames_with_an_object(connection: duckdb.DuckDBPyConnection) -> None:
    columns = "frame_id, objects, cited, cited_by"
    found = asked(connection, "frames_with_object", columns, label="dog")
    assert [row[1:] for row in found] == [(1, 1, ["alpha", "beta"]), (1, 0, []), (1, 1, ["alpha", "beta"]), (1, 0, [])]
    assert [row[2:] for row in asked(connection, "frames_with_object", columns, captioner="beta")] == [
        (1, ["beta"])
    ] * 4
    assert asked(connection, "frames_with_object", columns, at_least="2") == []


def test_lowest_scores_labels_left_out_and_examples(connection: duckdb.DuckDBPyConnection) -> None:
    lowest = asked(connection, "lowest_scores", "value, captioner", metric="words", rows="2")
    assert lowest == [(2.0, "alpha")] * 2
    left_out = asked(connection, "labels_left_out", "captioner, label, detected, cited, share_cited", captioner="beta")
    assert left_out == [("beta", "dog", 4, 2, 0.5), ("beta", "sky", 4, 2, 0.5), ("beta", "person", 4, 4, 1.0)]
    examples = asked(
        connection, "violation_examples", "code, captioner, object_id, piece", code="unknown-object", rows="1"
    )
    assert examples == [("unknown-object", "alpha", "cat-7", '<gdo class="cat" cat-7>')]
    assert asked(connection, "violation_examples", "code", captioner="beta") == []


def test_captioners_disagree_where_they_cite_other_objects(connection: duckdb.DuckDBPyConnection) -> None:
    columns = "frame_id, agreement, only_first, only_second, first, second, first_verdict"
    found = asked(connection, "captioner_disagreements", columns)
    assert found == [
        (f"mabc_00000{number}", 0.0, ["cat-7"], ["person-0"], "alpha", "beta", "violations") for number in (1, 3)
    ]
    turned = asked(connection, "captioner_disagreements", columns, left="beta", rows="1")
    assert turned == [("mabc_000001", 0.0, ["person-0"], ["cat-7"], "beta", "alpha", "ok")]
    assert asked(connection, "captioner_disagreements", columns, left="alpha", right="alpha") == []


def test_actions_by_shot(tmp_path: Path) -> None:
    made = Store(str(tmp_path / "store"))
    write_movie(made, {"alpha": [GOOD, PLAIN]}, frames=4, shard_frames=4, per_shot=2)
    with catalog.connect(made.location) as connection:
        connection.execute("create or replace view captions_ok as select captions.* from captions join verdicts "
                           "using (caption_id) where verdict = 'ok'")  # fmt: skip
        found = asked(connection, "actions_by_shot", "shot_index, action, by_whom, frames")
        assert found == [(0, "walk", ["person-0"], 1), (1, "walk", ["person-0"], 1)]
        assert asked(connection, "actions_by_shot", "action", movie_id="other") == []


def test_cost_and_throughput_over_time(tmp_path: Path) -> None:
    made = Store(str(tmp_path / "store"), "run-1")
    write(made, [movie()], shard="mabc")
    write(made, [
        run("caption", "a", prompt_tokens=5000, tokens=400, asking_seconds=2.0),
        run("caption", "a", at="2026-01-02T03:50:00+00:00", prompt_tokens=5000, tokens=600, asking_seconds=3.0),
        run("mend", "a", at="2026-01-02T04:01:00+00:00", rows=0, tokens=100, asking_seconds=1.0),
        run("check", "a", at="2026-01-02T04:02:00+00:00"),
    ], shard="x")  # fmt: skip
    with catalog.connect(made.location) as connection:
        cost = asked(connection, "cost_by_captioner", "captioner, captions, tokens_read, tokens_written, seconds, "
                     "read_per_1000, written_per_1000, seconds_per_1000")  # fmt: skip
        assert cost == [("a", 20, 10000, 1100, 6.0, 500000.0, 55000.0, 300.0)]
        columns = "from_utc::varchar, stage, shards, rows, rows_s"
        told = asked(connection, "throughput_over_time", columns, stage="caption")
        assert told == [("2026-01-02 03:00:00", "caption", 2, 20, 2.5)]
        assert len(asked(connection, "throughput_over_time", columns, stage="caption", every="1 minute")) == 2


def test_movies_with_failures_say_how_many_and_why(store: Store, tmp_path: Path) -> None:
    made = Store(str(tmp_path / "store"), "run-1")
    write_movie(made, {"alpha": [GOOD]}, frames=4, shard_frames=4)
    write(made, [Failure(frame_id="mabc_000002", stage="detect", error="no memory")])
    write(made, [caption("mabc_000003", captioner="late", error="too long"), caption("mabc_000001", captioner="late")],
          captioner="late")  # fmt: skip
    with catalog.connect(made.location) as connection:
        found = asked(connection, "movies_with_failures", "title, what, failed, out_of, reason")
        assert found == [("A walk", "caption by late", 1, 2, "too long"), ("A walk", "detect", 1, 4, "no memory")]
    with catalog.connect(store.location) as connection:
        assert asked(connection, "movies_with_failures", "title") == []


def test_a_wrong_value_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(ParametersError, match=r"Did you mean 'label'"):
        catalog.ask(connection, "frames_with_object", {"lable": "dog"})
