"""Metrics that read captions and detections, or the captions alone, by hand."""

from dataclasses import replace

import numpy as np
import pytest
import rows

from storage.tables import Summary
from tasks import tags
from tasks.corpora import Corpus, Told
from tasks.errors import MetricUnavailableError, TransientError
from tasks.lexicon import LABELS
from tasks.measuring import Measuring
from tasks.metrics import (
    CandidateMetric,
    CaptionMetric,
    Cited,
    Measured,
    Pair,
    TextMetric,
    available,
    better,
    chair,
    coverage,
    distinct,
    length,
    load,
    repetition,
    spider,
)
from tasks.metrics.chair import KINDS
from tasks.score_sheet import ScoreSheet
from tasks.tally import Tally

CAPTION_METRICS = [one for one in map(load, available()) if isinstance(one, CaptionMetric)]
MAN = '<gdo class="person" person-0>the man</gdo>'


def cited(text: str, ids: list[str], *, failed: bool = False, violations: int = 0) -> Cited:
    return Cited(
        parsed=tags.parse(text),
        detections=[rows.detection(one) for one in ids],
        labels=LABELS,
        consistent=not violations and not failed,
        failed=failed,
        violations=violations,
    )


def pooled(metric: CaptionMetric, *captions: Cited) -> dict[str, float]:
    each = [metric.each(one) for one in captions]
    return metric.pool({name: sum(one[name] for one in each) for name in metric.values}, len(each))


@pytest.mark.parametrize("metric", CAPTION_METRICS, ids=lambda metric: metric.name)
def test_conformance_of_caption_metrics(metric: CaptionMetric) -> None:
    """Every value that is declared and no other; a failed caption has 0, or 1 where a rate is better when low."""
    good, failed = cited(f"{MAN} waits.", ["person-0"]), cited("", ["person-0"], failed=True)
    assert set(metric.each(good)) == set(metric.each(failed)) == set(metric.values)
    values = pooled(metric, good, failed)
    assert set(values) == set(metric.pooled)
    for name, value in pooled(metric, failed).items():
        if better(metric, name) is True:
            assert value == 0, name
        if better(metric, name) is False and "per" not in name:
            assert value == 1, name
    tally = Tally([metric], resamples=20)
    for number, one in enumerate((good, failed)):
        tally.add(f"m_{number:06}/c/0", metric.each(one), np.arange(20) % 3 + number)
    drawn = tally.resampled(metric)
    assert set(drawn) == set(metric.pooled)
    once = metric.pool({name: metric.each(failed)[name] for name in metric.values}, 1)
    assert {name: found[0] for name, found in drawn.items()} == pytest.approx(once), "0 of the good, 1 of the failed"
    bounds = tally.bounds(metric)
    assert set(bounds) == {name for name in metric.pooled if not name.endswith("_total")}
    tally.close()
    assert tally.bounds(metric) == bounds


@pytest.mark.parametrize(
    ("text", "ids", "named", "lost"),
    [
        (f"{MAN} and a dog", ["person-0"], 2, 1),
        ("a man at a table", ["person-0", "dining-table-0"], 2, 0),
        ("a brick wall, a wall", ["wall-stone-0"], 2, 1),
        ("nothing here", ["person-0"], 0, 0),
        ("two dogs and a dog", [], 2, 2),
        ('<gdo class="person" person-0>the hot dog</gdo>', ["person-0"], 1, 1),
    ],
)
def test_hallucinated_objects(text: str, ids: list[str], named: int, lost: int) -> None:
    found = chair.each(cited(text, ids))
    assert (found["chair_named"], found["chair_hallucinated"]) == (named, lost)
    assert found["chair_i"] == (lost / named if named else 0)
    assert found["chair_s"] == (lost > 0)


def test_chair_pools_counts() -> None:
    values = pooled(chair.METRIC, cited("a man, a dog, a cat", ["person-0"]), cited("a man", ["person-0"]))
    assert values["chair_i_micro"] == 2 / 4
    assert values["chair_s_macro"] == 1 / 2
    assert pooled(chair.METRIC, cited("nothing", []))["chair_i_micro"] == 0
    assert {*KINDS, *(label for kinds in KINDS.values() for label in kinds)} <= LABELS | {"plant", "fruit"}


def test_coverage_counts_classes_named_or_cited() -> None:
    ids = ["person-0", "person-1", "dog-0", "dining-table-0", "car-0"]
    found = coverage.each(cited(f'{MAN} at a table; <gdo class="dog" dog-0>it</gdo> sleeps', ids))
    assert (found["coverage_covered"], found["coverage_detected"], found["coverage"]) == (3, 4, 0.75)
    assert coverage.each(cited("a man", []))["coverage"] == 1
    assert coverage.each(cited("", [], failed=True))["coverage"] == 0


def test_violations_per_caption() -> None:
    metric = load("violation_rate")
    assert isinstance(metric, CaptionMetric)
    values = pooled(metric, cited("a", [], violations=3), cited("a", []), cited("", [], failed=True), cited("a", []))
    assert values == {"violation_rate_macro": 0.5, "violations_per_caption": 0.75, "violations_total": 3}


def test_lengths_and_repetition() -> None:
    assert length.each(cited("The man's dog waits. It is well-known! Is 1.5 m", [])) == {
        "length_words": 11,
        "length_sentences": 3,
        "length_characters": 47,
    }
    assert repetition.repeated(["a", "b", "a", "b"], 1) == 0.5
    assert repetition.repeated(["a", "b", "c", "d", "a", "b", "c", "d"], 4) == pytest.approx(1 - 4 / 5)
    assert repetition.repeated([], 4) == 0


def test_distinct_n_by_hand() -> None:
    texts = ["a man walks", "A man sits", "", "a dog"]
    told = [Told(caption_id=f"{n}/c/0", frame_id=str(n), text=text, references=()) for n, text in enumerate(texts)]
    found = distinct.measure(Corpus(captions=lambda: iter(told), frames=lambda: iter(())))
    assert found.corpus == {"distinct1": 5 / 8, "distinct2": 4 / 5, "distinct3": 1}
    none = distinct.measure(Corpus(captions=lambda: iter(told[2:3]), frames=lambda: iter(())))
    assert none.corpus == {}
    assert none.reasons
    assert "no caption has 1 words" in none.reasons["distinct1"]


def test_distinct_without_a_group_is_distinct_of_the_rest() -> None:
    from tasks.ngrams import count_ngrams, words_of
    from tasks.resampling import groups_of

    texts = [f"a man {one} walks {one % 3} on" for one in range(40)]
    frame_ids = [f"m_{one:06}" for one in range(40)]
    groups = groups_of(frame_ids)
    for n, grams in enumerate(count_ngrams(*words_of(texts), 3), 1):
        found = distinct._without(grams, groups)
        for place, group in enumerate(sorted(set(groups.tolist()))):
            kept = [text.split() for text, one in zip(texts, groups, strict=True) if one != group]
            rest = [tuple(words[at : at + n]) for words in kept for at in range(len(words) - n + 1)]
            assert found[place] == pytest.approx(len(set(rest)) / len(rest))


def pair(frame: str, candidate: int, counts: bool) -> Pair:
    return Pair(caption_id=f"{frame}/c/{candidate}", frame_id=frame, candidate="a", references=("a",), counts=counts)


def test_spider_max_is_over_all_candidates() -> None:
    pairs = [pair("f", 0, True), pair("f", 1, False), pair("g", 0, True)]
    found = spider.combine(pairs, {"cider_d": [1.0, 3.0, 0.0], "spice": [0.2, 0.4, 0.1]})
    assert found.each["spider"] == [0.6, 1.7, 0.05]
    assert found.corpus == pytest.approx({"spider": (0.6 + 0.05) / 2, "spider_max": (1.7 + 0.05) / 2})


def text_metric(name: str, measured: Measured | None = None) -> TextMetric:
    def measure(pairs: object, seconds: float) -> Measured:
        if measured is None:
            raise TransientError("it died")
        return measured

    return TextMetric(
        name=name, values={name: ""}, higher_is_better=True, convention="", measure=measure, missing=lambda: None
    )


def test_spider_alone_has_its_texts_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPIDEr reads CIDEr and SPICE, which need not be among the metrics: the reason is SPICE's, and not of CIDEr."""
    cut: list[Pair] = []
    monkeypatch.setattr("tasks.measuring.tokenise", lambda pairs, seconds: cut.extend(pairs) or list(pairs))
    lacking = {"cider": None, "spice": "no models"}
    known = {name: replace(load(name), missing=lambda why=why: why) for name, why in lacking.items()}
    monkeypatch.setattr("tasks.measuring.load", lambda name: known[name])
    pairs = [pair("f", 0, True), pair("g", 0, True)]
    corpus = Corpus(captions=lambda: iter(()), frames=lambda: iter(()))
    sheet = ScoreSheet("c", [load("spider")], Measuring(1), {"all": Tally([]), "referenced": Tally([])}, corpus)
    found = {row.metric: row.reason for row in sheet.texts(pairs) if isinstance(row, Summary)}
    assert cut == pairs
    assert found == dict.fromkeys(["spider", "spider_max"], "it needs spice: no models")


def test_a_program_that_cannot_be_prepared_is_a_reason_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.measuring.tokenise", lambda pairs, seconds: list(pairs))

    def broken(*_: object) -> Measured:
        raise MetricUnavailableError("there is no Java machine")

    metric = replace(text_metric("meteor"), measure=broken, prepare=broken)
    measuring = Measuring(1)
    tokenised, problem = measuring.tokenised([pair("f", 0, True)], [metric])
    outcome = measuring.texts([metric], tokenised, problem)["meteor"]
    assert outcome.why("meteor") == "there is no Java machine"
    assert not measuring.broken


def test_what_a_metric_lacks_is_said_and_what_may_pass_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = Measuring(1)
    pairs = [pair("f", 0, True), pair("g", 0, True)]
    good = text_metric("cider", Measured(corpus={"cider": 1.0}, each={"cider": [1.0, 1.0]}))
    outcomes = measuring.texts([good, text_metric("spice")], pairs, None)
    assert outcomes["cider"].why("cider") is None
    assert outcomes["spice"].why("spice") == "it died"
    assert measuring.broken
    metric = load("spider")
    assert isinstance(metric, CandidateMetric)
    found = measuring.candidates([metric], pairs, None, outcomes)["spider"]
    assert found.why("spider") == "it needs spice: it died"
