"""Scores that cannot be, or are too good to be true: alarms by hand, and as the summaries make them."""

import json
import math
from itertools import chain
from pathlib import Path

import pytest
import rows
from score_making import store_of, told

from flows.write_scores import as_lines, as_markdown
from storage import catalog
from storage.checks import check_store
from storage.store import Store
from storage.tables import Alarm, Summary
from tasks.alarms import EQUAL_SHARE, LIMITS, SHARE_EQUAL, Equals, alarms
from tasks.card_scores import CARD, NOT_COMPUTED, card_table
from tasks.errors import TransientError
from tasks.java_metrics import tokenize
from tasks.metrics import Pair, available, highest, load, names_in_summaries
from tasks.scores import ScoreConfig, former_config, summarise_captions

DATA = Path(__file__).parent / "data" / "captions" / "coco-caption"
METRICS = [load(name) for name in available()]
QUICK = ScoreConfig(metrics=["grounding", "bleu", "cider", "length"], resamples=20)


def found(values: dict[str, float], equals: Equals | None = None) -> dict[tuple[str, str], Alarm]:
    return {(one.code, one.metric): one for one in alarms("c", values, METRICS, equals or Equals())}


def test_a_published_card_with_leaked_references() -> None:
    """A published BLIP card: BLEU-4 .97, CIDEr 9.33."""
    said = found({"bleu4": 0.97, "cider_d": 9.33})
    assert set(said) == {("too_high", "bleu4"), ("too_high", "cider_d")}
    cider = said["too_high", "cider_d"]
    assert (cider.value, cider.bound, cider.captioner) == (9.33, 3.0, "c")
    assert "cider_d is 9.330, above 3" in cider.message
    for alarm in said.values():
        assert "leakage" in alarm.message
        assert "drawn world" in alarm.message


def test_figures_that_are_published_in_earnest_give_none() -> None:
    """The card beside which ours stand; people, and BLIP-2, on COCO."""
    assert found({figure.metric: figure.published for figure in CARD}) == {}
    assert found({"bleu4": 0.22, "cider_d": 0.91}) == found({"bleu4": 0.437, "cider_d": 1.458}) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [("bleu4", 1.2), ("bleu4", math.nan), ("meteor", -0.1), ("cider_d", 10.1), ("rouge_l", math.inf), ("spider", 6.0),
     ("grounding_f1_strict_macro", 95.0), ("clipscore", 2.6), ("chair_i_micro", 1.01)],
)  # fmt: skip
def test_values_that_cannot_be(name: str, value: float) -> None:
    ((code, metric),) = found({name: value})
    assert (code, metric) == ("out_of_range", name)


def test_every_value_has_a_range_that_its_metric_declares() -> None:
    for metric in METRICS:
        for name in names_in_summaries(metric):
            assert highest(metric, name) > 0
            assert found({name: 0.0}) == {}
        if not isinstance(metric.highest, float):
            assert set(metric.highest) <= set(names_in_summaries(metric)), metric.name
    assert found({"length_words_macro": 400.0, "grounding_correct_total": 1e6, "violations_per_caption": 3.0}) == {}
    assert found({"bleu4": LIMITS["bleu4"].highest, "rouge_l": 1 + 1e-9}) == {}


@pytest.mark.parametrize(
    ("equal", "compared", "alarmed"), [(0, 0, False), (1, 2, False), (2, 40, False), (3, 40, True), (2, 3, True)]
)
def test_too_many_captions_that_are_a_reference(equal: int, compared: int, alarmed: bool) -> None:
    said = found({}, Equals(equal, compared))
    assert list(said) == ([("equals_reference", SHARE_EQUAL)] if alarmed else [])
    for alarm in said.values():
        assert alarm.value == equal / compared > EQUAL_SHARE == alarm.bound
        assert f"{equal} of {compared} captions" in alarm.message


def test_people_do_not_write_the_same_sentence() -> None:
    """Why the share is 5 %: none of the 40 captions of COCO's sample equals another of its image."""
    references = json.loads((DATA / "debug.ref.json").read_text())
    models = json.loads((DATA / "debug.hypo.json").read_text())
    every = list(dict.fromkeys(chain(*references.values(), chain.from_iterable(models.values()))))
    tokens = dict(zip(every, tokenize(every, 60), strict=True))
    people = [
        (texts[place], texts[:place] + texts[place + 1 :])
        for texts in references.values()
        for place in range(len(texts))
    ]
    written = [(texts[0], references[image]) for image, texts in models.items()]
    for captions, number in ((people, 40), (written, 10)):
        pairs = [
            Pair(caption_id="c", frame_id="f", candidate=tokens[one], references=tuple(tokens[it] for it in others))
            for one, others in captions
        ]
        assert Equals.among(pairs) == Equals(0, number)


def test_equality_is_of_tokens_of_captions_that_count() -> None:
    def pair(candidate: str, counts: bool = True) -> Pair:
        return Pair(caption_id="c", frame_id="f", candidate=candidate, references=("a dog", "-"), counts=counts)

    assert Equals.among([pair("a dog"), pair("a cat"), pair(""), pair("a dog", counts=False)]) == Equals(1, 2)


def captioned(place: Path, *, copies: int, frames: int = 20) -> Store:
    """A captioner of which some captions are their frame's reference, the others say something else."""
    said = [f"{told(n).capitalize()}." if n < copies else f"Somebody else is at {n} there." for n in range(frames)]
    return store_of(place, {"c": said}, QUICK)


def alarms_in(store: Store) -> list[tuple[str, str]]:
    with catalog.connect(store.location) as connection:
        return connection.sql("select code, metric from alarms where captioner = 'c' order by all").fetchall()


def test_captions_that_are_the_references_are_told_by_the_summaries(tmp_path: Path) -> None:
    """The published card's case, computed: captions of a model that has seen the references."""
    store = captioned(tmp_path / "s", copies=20)
    summarise_captions("c", store, QUICK)
    assert alarms_in(store) == [
        ("equals_reference", SHARE_EQUAL), ("too_high", "bleu4"), ("too_high", "cider_d"),
    ]  # fmt: skip
    assert check_store(store.location) == []
    table = card_table("c", store)
    assert table
    assert {row.label: row.reason for row in table.rows}["SPICE"] == NOT_COMPUTED
    assert [row.label for row in table.rows] == [
        "P", "R", "F1", "BLEU-4", "METEOR", "CIDEr", "SPICE", "ROUGE-L", "gMETEOR",
    ]  # fmt: skip
    assert (table.captions, table.compared, len(table.alarms)) == (20, 20, 3)


def test_copies_are_told_without_java_and_captions_are_counted_whatever_the_metrics(tmp_path: Path) -> None:
    """Of the metrics none cuts texts, and none is in the card's table."""
    store = captioned(tmp_path / "s", copies=20)
    summarise_captions("c", store, ScoreConfig(metrics=["length"], resamples=20))
    assert alarms_in(store) == [("equals_reference", SHARE_EQUAL)]
    table = card_table("c", store)
    assert table
    assert (table.captions, table.compared) == (20, 0)


def test_frames_that_were_not_captioned_yet_are_told_beside_the_scores(tmp_path: Path) -> None:
    """As when captioning was stopped: scores over the rest alone may look better than they are."""
    store = captioned(tmp_path / "s", copies=0)
    summarise_captions("c", store, ScoreConfig(metrics=["length"], resamples=20))
    table = card_table("c", store)
    assert table
    assert table.uncaptioned == 0
    assert "no caption by c" not in "".join(as_lines(table)) + as_markdown([table])
    rows.write(store, [rows.frame(number, "m") for number in range(20, 27)], "m/0001")
    rows.write(store, [rows.frame(number, "n") for number in range(3)], "n/0000")
    table = card_table("c", store)
    assert table
    assert table.uncaptioned == 7, "of the movies that it captions"
    told = "7 frames of these movies have no caption by c yet, and are not among these scores"
    assert told in "".join(as_lines(table))
    assert told in as_markdown([table])


def test_captions_with_references_are_counted_when_the_program_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = captioned(tmp_path / "s", copies=1)

    def dies(*_: object) -> None:
        raise TransientError("it died")

    monkeypatch.setattr("tasks.measuring.tokenise", dies)
    summarise_captions("c", store, ScoreConfig(metrics=["grounding", "bleu"], resamples=21))
    table = card_table("c", store)
    assert table
    assert table.reasons["it died"] == ["BLEU-4"]
    assert (table.captions, table.compared) == (20, 20)


def test_one_copy_of_twenty_is_no_alarm_and_the_file_is_the_same_again(tmp_path: Path) -> None:
    stores = [captioned(tmp_path / name, copies=1) for name in ("s", "t")]
    for store in stores:
        ref = summarise_captions("c", store, QUICK)
        assert alarms_in(store) == []
        assert any(row.value is not None for row in store.read(ref, Summary) if row.metric == "cider_d")
    paths = [Path(store.location) / "alarms" / "captioner=c" / "all.parquet" for store in stores]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_settings_of_a_captioner_are_those_it_was_scored_with(tmp_path: Path) -> None:
    store = captioned(tmp_path / "s", copies=1)
    assert former_config("c", store) == QUICK
    assert former_config("nobody", store) == ScoreConfig()
