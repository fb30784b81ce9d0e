"""Scores, summaries and references, over a small store of rows."""

import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rows

from storage.store import Store, TableRef
from storage.tables import Caption, Detection, Frame, Image, Reference, Row, Score, Summary
from tasks import java_metrics
from tasks.consistency import check_captions
from tasks.errors import ConfigError, MetricUnavailableError, StoreError, UnknownNameError
from tasks.metrics import CaptionMetric, load
from tasks.references import import_references
from tasks.scores import ScoreConfig, score_captions, summarise_captions
from tasks.tally import Tally

QUICK = ScoreConfig(metrics=["grounding", "consistent", "bleu", "rouge_l", "cider"])
"""METEOR takes seconds to start; one test here has all of them."""
MAN = '<gdo class="person" person-0>A man</gdo>'


def detection(frame_id: str, object_id: str) -> Detection:
    return rows.detection(object_id, frame_id=frame_id)


def caption(frame_id: str, text: str, error: str | None = None) -> Caption:
    return rows.caption(frame_id, text, captioner="demo", error=error)


def frame(frame_id: str) -> Frame:
    return Frame(
        frame_id=frame_id,
        movie_id=frame_id.rpartition("_")[0],
        shot_index=0,
        frame_index=int(frame_id.rpartition("_")[2]),
        pts_seconds=0.0,
        width=1,
        height=1,
        image=Image(bytes=b"", path="0.jpg"),
    )


def put(store: Store, row: type[Row], rows: Sequence[Row], shard: str, captioner: str = "",
        labels: Sequence[str] = ()) -> TableRef:  # fmt: skip
    output = store.output([row], stage=row.table, shard=shard, version=1, config={"rows": repr(rows), "labels": labels},
                          captioner=captioner)  # fmt: skip
    with output.writer() as write:
        for one in rows:
            write(one)
        if labels:
            write.notes["labels"] = list(labels)
    return output.ref


def scored(store: Store, movie: str, captions: Sequence[Caption], config: ScoreConfig = QUICK) -> TableRef:
    """A shard of a movie, from frames to scores: a person and a dog in every frame."""
    shard = f"{movie}/0000"
    put(store, Frame, [frame(one.frame_id) for one in captions], shard)
    found = [detection(one.frame_id, object_id) for one in captions for object_id in ("person-0", "dog-0")]
    detections = put(store, Detection, found, shard, labels=["person", "dog", "dining table"])
    ref = put(store, Caption, captions, shard, "demo")
    return score_captions(ref, detections, check_captions(ref, detections, store), store, config)


def two_movies(store: Store) -> None:
    scored(store, "ma", [caption("ma_000000", f"{MAN} walks."), caption("ma_000001", "", error="out of memory")])
    scored(store, "mb", [caption("mb_000000", f"{MAN} walks beside a dinner table and a cat.")])


def values_of(store: Store, ref: TableRef, group: str = "all") -> dict[str, float | None]:
    return {row.metric: row.value for row in store.read(ref, Summary) if row.group == group}


def reasons_of(store: Store, ref: TableRef) -> dict[str, str | None]:
    return {row.metric: row.reason for row in store.read(ref, Summary) if row.group == "all"}


def single_scores(store: Store, ref: TableRef) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in store.read(ref, Score):
        found.setdefault(row.caption_id, {})[row.metric] = row.value
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def references(tmp_path: Path, store: Store, text: str, name: str = "r.jsonl") -> list[TableRef]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return import_references(str(tmp_path / name), store, "human").refs


def lines(*frame_ids: str) -> str:
    return "".join(
        f'{{"frame_id": "{one}", "caption": "{i} a man walks beside a table"}}\n' for i, one in enumerate(frame_ids)
    )


def test_a_failed_caption_has_rows_with_zeros(store: Store) -> None:
    ref = scored(store, "ma", [caption("ma_000000", f"{MAN} walks."), caption("ma_000001", "", error="out of memory")])
    scores = single_scores(store, ref)
    assert list(scores) == ["ma_000000/demo/0", "ma_000001/demo/0"]
    good, failed = scores.values()
    assert (good["grounding_precision_cited"], good["grounding_recall_cited"], good["consistent"]) == (1, 0.5, 1)
    assert {failed[f"grounding_{name}_strict"] for name in ("precision", "recall", "f1")} == {0}
    assert (failed["consistent"], failed["grounding_detected"], failed["grounding_failed"]) == (0, 2, 1)


def test_detectable_classes_are_what_the_detector_says(store: Store) -> None:
    """'dining table' can be detected and 'cat' cannot, by the labels the detections file notes."""
    ref = scored(store, "mb", [caption("mb_000000", f"{MAN} walks beside a dinner table and a cat.")])
    (score,) = single_scores(store, ref).values()
    assert (score["grounding_mentioned_cited"], score["grounding_mentioned_strict"]) == (1, 2)


def test_scores_need_the_verdicts_of_these_captions(store: Store) -> None:
    shard = "ma/0000"
    detections = put(store, Detection, [], shard)
    checked = check_captions(put(store, Caption, [], shard, "demo"), detections, store)
    captions = put(store, Caption, [caption("ma_000000", "A man.")], shard, "demo")
    with pytest.raises(StoreError, match="no verdict on ma_000000/demo/0"):
        score_captions(captions, detections, checked, store, QUICK)


def test_scoring_again_does_nothing(store: Store, tmp_path: Path) -> None:
    rows = [caption("ma_000000", f"{MAN} walks.")]
    first = scored(store, "ma", rows)
    written = (tmp_path / "store" / first.path).stat().st_mtime_ns
    assert scored(store, "ma", rows) == first
    assert (tmp_path / "store" / first.path).stat().st_mtime_ns == written
    assert scored(store, "ma", rows, ScoreConfig(metrics=["consistent"])).fingerprint != first.fingerprint


def test_summaries_are_pooled_and_by_movie(store: Store) -> None:
    two_movies(store)
    ref = summarise_captions("demo", store, QUICK)
    assert ref.path == "summaries/captioner=demo/all.parquet"
    values = values_of(store, ref)
    assert values["grounding_precision_strict_micro"] == 2 / 4, "the failed caption is one wrong mention"
    assert values["grounding_precision_strict_macro"] == (1 + 0 + 0.5) / 3
    assert values["grounding_recall_cited_micro"] == 2 / 6
    assert values["consistent_macro"] == 2 / 3
    assert values_of(store, ref, "movie=ma")["grounding_recall_cited_macro"] == 0.25
    assert {(row.group, row.captions) for row in store.read(ref, Summary)} >= {
        ("all", 3),
        ("movie=ma", 2),
        ("movie=mb", 1),
    }


def test_without_references_text_metrics_have_a_reason(store: Store) -> None:
    two_movies(store)
    ref = summarise_captions("demo", store)
    reasons = reasons_of(store, ref)
    for name in ("bleu4", "meteor", "rouge_l", "cider_d", "spice"):
        assert values_of(store, ref)[name] is None
        assert "no frame with a caption has references" in str(reasons[name])
    assert "it needs meteor" in str(reasons["gmeteor_cited"])
    singles = store.ref("scores", "all", "demo")
    assert singles
    assert list(store.read(singles, Score)) == []


def test_text_metrics_with_references(store: Store, tmp_path: Path) -> None:
    """All metrics, METEOR too. Only movie ma has references, for its failed caption as well."""
    two_movies(store)
    text = (
        '{"frame_id": "ma_000000", "caption": "a man walks home"}\n{"frame_id": "ma_000001", "caption": "two dogs"}\n'
    )
    references(tmp_path, store, text)
    ref = summarise_captions("demo", store)
    values, reasons = values_of(store, ref), reasons_of(store, ref)
    for name in ("bleu1", "meteor", "rouge_l", "cider_d", "gmeteor_cited"):
        assert values[name], reasons[name]
        assert reasons[name] is None
    assert (values["spice"] is None) == (reasons["spice"] is not None)
    assert {row.captions for row in store.read(ref, Summary) if row.metric == "meteor"} == {2}
    f1, meteor = values_of(store, ref, "movie=ma")["grounding_f1_cited_macro"], values["meteor"]
    assert f1
    assert meteor
    assert f1 != values["grounding_f1_cited_macro"]
    assert values["gmeteor_cited"] == pytest.approx(2 * meteor * f1 / (meteor + f1)), "not of the same captions"
    path = store.ref("scores", "all", "demo")
    assert path
    singles = single_scores(store, path)
    assert list(singles) == ["ma_000000/demo/0", "ma_000001/demo/0"]
    assert singles["ma_000001/demo/0"]["meteor"] == 0
    assert singles["ma_000000/demo/0"]["meteor"] > 0.3
    assert values["rouge_l"] == pytest.approx(singles["ma_000000/demo/0"]["rouge_l"] / 2)
    signatures = {row.metric: row.signature for row in store.read(ref, Summary)}
    assert "pycocoevalcap 1." in signatures["bleu4"]
    assert "METEOR 1.5" in signatures["meteor"]


def test_a_failed_caption_scores_zero_whatever_its_references(store: Store) -> None:
    """ROUGE-L makes 1.0 of two empty texts: references without a word may not reach it."""
    two_movies(store)
    for frame_id, texts in {"ma_000000": ["A man walks.", "..."], "ma_000001": ["..."]}.items():
        rows = [
            Reference(reference_id=f"{frame_id}/old/{n}", frame_id=frame_id, source="old", text=text, plain_text=text)
            for n, text in enumerate(texts)
        ]
        put(store, Reference, rows, f"ma/old{frame_id[-1]}")
    values = values_of(store, summarise_captions("demo", store, QUICK))
    singles = store.ref("scores", "all", "demo")
    assert singles
    good, failed = single_scores(store, singles).values()
    assert set(failed.values()) == {0}
    assert good["rouge_l"] == pytest.approx(1)
    assert values["rouge_l"] == pytest.approx(0.5)


def test_what_cannot_be_computed_is_not_tried_again(store: Store, tmp_path: Path) -> None:
    """CIDEr needs references of two frames: no other run will have them with the same references."""
    two_movies(store)
    references(tmp_path, store, lines("ma_000000"))
    ref = summarise_captions("demo", store, QUICK)
    assert "two frames" in str(reasons_of(store, ref)["cider_d"])
    written = (tmp_path / "store" / ref.path).stat().st_mtime_ns
    assert summarise_captions("demo", store, QUICK) == ref
    assert (tmp_path / "store" / ref.path).stat().st_mtime_ns == written


def test_a_tally_does_not_grow_with_its_captions() -> None:
    metrics = [metric for metric in map(load, ("consistent", "grounding")) if isinstance(metric, CaptionMetric)]
    tally, sizes, drawn = Tally(metrics, resamples=50), [], np.ones(50)
    tracemalloc.start()
    try:
        for number in range(2000):
            values = {name: 1.0 for metric in metrics for name in metric.values}
            tally.add(f"m_{number:06}/demo/0", values, drawn)
            sizes += [tracemalloc.get_traced_memory()[0]] if number in (99, 1999) else []
    finally:
        tracemalloc.stop()
    assert (tally.captions, tally.sums["consistent"]) == (2000, 2000)
    assert sizes[1] - sizes[0] < 2000, "a byte per caption"


def test_a_program_that_fails_becomes_a_reason_and_is_tried_again(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_movies(store)
    references(tmp_path, store, lines("ma_000000", "mb_000000"))
    slow = replace(QUICK, java_timeout_seconds=0.01)
    ref = summarise_captions("demo", store, slow)
    assert values_of(store, ref)["bleu1"] is None
    assert "did not answer within 0.01 seconds" in str(reasons_of(store, ref)["bleu1"])
    assert values_of(store, ref)["consistent_macro"] == 2 / 3
    assert values_of(store, summarise_captions("demo", store, QUICK))["bleu1"] is not None


def test_without_the_extra_every_text_metric_says_what_to_install(store: Store, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def no_java() -> str:
        raise MetricUnavailableError(f"no Java. Install it with: {java_metrics.INSTALL}")

    monkeypatch.setattr(java_metrics, "java", no_java)
    two_movies(store)
    references(tmp_path, store, lines("ma_000000", "mb_000000"))
    ref = summarise_captions("demo", store)
    reasons = reasons_of(store, ref)
    assert all("pip install" in str(reasons[name]) for name in ("bleu1", "meteor", "spice", "gmeteor_strict"))
    assert ref == summarise_captions("demo", store)


def test_a_summary_follows_what_it_summarises(store: Store) -> None:
    two_movies(store)
    first = summarise_captions("demo", store, QUICK)
    assert summarise_captions("demo", store, QUICK) == first
    scored(store, "mc", [caption("mc_000000", f"{MAN} walks.")])
    again = summarise_captions("demo", store, QUICK)
    assert again.fingerprint != first.fingerprint
    assert {row.captions for row in store.read(again, Summary) if row.metric == "consistent_macro"} == {4, 2, 1}


def test_captions_without_scores_do_not_leave_the_mean_quietly(store: Store) -> None:
    two_movies(store)
    put(store, Caption, [caption("ma_000000", "Rewritten.")], "ma/0000", "demo")
    ref = summarise_captions("demo", store, QUICK)
    assert "1 of 2 captions are not scored yet, such as ma_000000/demo/0" in str(
        reasons_of(store, ref)["consistent_macro"]
    )
    assert values_of(store, ref, "movie=mb")["consistent_macro"] == 1


def test_a_captioner_without_captions_has_reasons(store: Store) -> None:
    ref = summarise_captions("nobody", store, QUICK)
    assert set(values_of(store, ref).values()) == {None}
    assert "no captions by 'nobody'" in str(reasons_of(store, ref)["consistent_macro"])


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"metrics": ["blue"]}, UnknownNameError, "bleu"),
        ({"metrics": "bleu"}, ConfigError, "list of names"),
        ({"java_timeout_seconds": 0}, ConfigError, "above 0"),
    ],
)
def test_configurations_that_cannot_be(values: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ScoreConfig(**values)  # type: ignore[arg-type]
