"""Intervals, p-values, and two captioners on the frames that both have."""

import json
from pathlib import Path

import numpy as np
import pytest
import rows

from flows.command_line import main
from storage.errors import ParametersError
from storage.store import Store
from storage.tables import Detection, Metric, Reference, Summary
from tasks.compare_captioners import compare_captioners
from tasks.consistency import check_captions
from tasks.errors import ConfigError, StoreError
from tasks.metrics import Pair, bleu, cider
from tasks.paired_samples import Sampler
from tasks.resampling import (
    GROUPS,
    RunningSums,
    Statistics,
    added_up,
    coins,
    draw_batches,
    draws,
    groups_of,
    interval,
    jackknife_interval,
    of_sums_is_a_mean,
    p_value,
)
from tasks.scores import ScoreConfig, score_captions, summarise_captions

FRAMES = [f"m_{number:06}" for number in range(600)]


def test_draws_are_poisson_and_of_a_frame_always_the_same() -> None:
    found = draws(FRAMES, 500)
    assert found.mean() == pytest.approx(1, abs=0.01)
    assert found.var() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.2
    assert (draws(FRAMES[::-1], 500)[::-1] == found).all()
    assert (draws([FRAMES[7]], 500)[0] == found[7]).all()
    assert (draws(FRAMES, 500, seed=1) != found).any()
    assert coins(FRAMES, 500).mean() == pytest.approx(0.5, abs=0.01)
    assert set(groups_of(FRAMES).tolist()) == set(range(GROUPS))


def test_an_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(3, 2, len(FRAMES))
    drawn = Statistics.of_means({"x": values.tolist()}).resampled(draw_batches(FRAMES, 1000))["x"]
    bounds = interval(drawn)
    assert bounds
    error = values.std() / len(FRAMES) ** 0.5
    assert bounds == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.3 * error)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """200 samples of a ratio of sums whose truth is 2: about 95 % of the intervals hold it."""
    held, random = 0, np.random.default_rng(1)
    for seed in range(200):
        below = random.uniform(1, 3, 80)
        table = np.column_stack([2 * below + random.normal(0, 1, 80), below])
        sums = added_up(table, draw_batches(FRAMES[:80], 200, seed))
        bounds = interval(sums[:, 0] / sums[:, 1])
        assert bounds
        held += bounds[0] <= 2 <= bounds[1]
    assert 180 <= held <= 198


def test_running_sums_are_the_sums_and_take_no_more_memory() -> None:
    table = np.random.default_rng(2).random((len(FRAMES), 3))
    running = RunningSums(3, 40)
    for row, frame_id in zip(table.tolist(), FRAMES, strict=True):
        running.add(row, draws([frame_id], 40)[0])
    assert np.allclose(running.settle(), added_up(table, draw_batches(FRAMES, 40)))
    assert running.total.shape == (40, 3)


def test_no_interval_without_numbers() -> None:
    assert interval(np.array([np.nan, np.nan])) is None
    assert jackknife_interval(1.0, [1.0]) is None
    bounds = jackknife_interval(1.0, [0.9, 1.1, 1.0])
    assert bounds
    assert bounds[0] < 1 < bounds[1]


def test_p_values_are_uniform_where_nothing_differs_and_small_where_much_does() -> None:
    random, found = np.random.default_rng(3), []
    for seed in range(100):
        one, other = (np.column_stack([np.ones(60), random.normal(0, 1, 60)]) for _ in range(2))
        sample = Sampler(FRAMES[:60], 200, seed).samples(one, other, of_sums_is_a_mean(["x"]))["x"]
        found.append(p_value(sample.values[0] - sample.values[1], sample.exchanged[0] - sample.exchanged[1]))
    assert 0 < sum(value <= 0.05 for value in found) <= 12
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)
    other = one + np.array([0, 1.0])
    sample = Sampler(FRAMES[:60], 200, 0).samples(one, other, of_sums_is_a_mean(["x"]))["x"]
    assert p_value(-1.0, sample.exchanged[0] - sample.exchanged[1]) == pytest.approx(1 / 201)
    assert sample.values[1] - sample.values[0] == pytest.approx(1)


def pairs(count: int) -> list[Pair]:
    words = np.array(
        ["a", "man", "walks", "beside", "the", "dog", "on", "grass", "and", "looks", "at", "two", "red", "cars"]
    )
    random = np.random.default_rng(4)

    def text(least: int) -> str:
        return " ".join(random.choice(words, random.integers(least, 9)))

    return [
        Pair(caption_id=f"{one}/c/0", frame_id=one, candidate=text(0), references=(text(1), text(1), text(1)))
        for one in FRAMES[:count]
    ]


def test_resampled_bleu_is_bleu_of_the_resampled_captions() -> None:
    told = pairs(40)
    measured = bleu.measure(told, 1)
    assert measured.statistics
    drawn = measured.statistics.resampled(draw_batches(FRAMES[:40], 5))
    for number in range(5):
        times = draws(FRAMES[:40], 5)[:, number].astype(int)
        again = bleu.measure([pair for pair, count in zip(told, times, strict=True) for _ in range(count)], 1)
        assert {name: values[number] for name, values in drawn.items()} == pytest.approx(again.corpus)


def test_candidates_of_a_frame_are_one_document_to_cider() -> None:
    told = pairs(30)
    twice = [pair for pair in told for _ in range(2)]
    assert cider.score(twice)[::2] == pytest.approx(cider.score(told), abs=1e-12)


# In a store ---------------------------------------------------------------------------------------------------------

QUICK = ["grounding", "consistent", "bleu", "cider", "chair", "distinct", "clipscore", "length"]
MAN = '<gdo class="person" person-0>A man</gdo>'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Thirty frames with a person, captioned well by `good`, and by `bad`, who lacks the last frame."""
    store, shard = Store(str(tmp_path / "store")), "m/0000"
    rows.write(store, [rows.frame(number, "m") for number in range(30)], shard)
    frame_ids = FRAMES[:30]
    found = [rows.detection("person-0", frame_id=one) for one in frame_ids]
    output = store.output([Detection], stage="detect", shard=shard, version=1, config={})
    with output.writer() as write:
        write.notes["labels"] = ["person", "dog"]
        for detection in found:
            write(detection)
    detections = output.ref
    told = [f"{one} a man walks home with {number} bags" for number, one in enumerate(frame_ids)]
    references = [
        Reference(reference_id=f"{one}/human/{n}", frame_id=one, source="human", text=text, plain_text=text)
        for one, words in zip(frame_ids, told, strict=True)
        for n, text in enumerate((words, f"{words} at night"))
    ]
    rows.write(store, list(references), "m/human")
    for captioner, count in (("good", 30), ("bad", 29)):
        texts = {
            "good": [f"{MAN} walks home with {number} bags." for number in range(30)],
            "bad": [f"{MAN if number % 3 else 'A dog'} walks." for number in range(30)],
        }[captioner]
        captions = [
            rows.caption(one, text, captioner=captioner)
            for one, text in zip(frame_ids[:count], texts[:count], strict=True)
        ]
        ref = rows.write(store, list(captions), shard, captioner=captioner)
        score_captions(ref, detections, check_captions(ref, detections, store), store, ScoreConfig(metrics=QUICK))
    return store


def test_summaries_have_intervals_and_say_how_they_were_computed(store: Store) -> None:
    config = ScoreConfig(metrics=QUICK, resamples=200)
    ref = summarise_captions("bad", store, config)
    found = {row.metric: row for row in store.read(ref, Summary) if row.group == "all"}
    for name in ("bleu1", "cider_d", "grounding_f1_strict_macro", "chair_s_macro", "distinct1"):
        row = found[name]
        assert row.low is not None, name
        assert row.value is not None
        assert row.high is not None
        assert row.low <= row.value <= row.high, name
    assert found["grounding_detected_total"].low is None
    assert found["clipscore"].value is None
    assert "score.dual_encoder" in str(found["clipscore"].reason)
    assert "references " in found["bleu1"].signature
    assert "200 resamples" in found["bleu1"].signature
    there = store.ref("metrics", "all", "bad")
    assert there
    notes = {row.metric: row for row in store.read(there, Metric)}
    assert set(notes) == set(found)
    assert (notes["bleu4"].higher_is_better, notes["chair_i_micro"].higher_is_better) == (True, False)
    assert notes["length_words_macro"].higher_is_better is None
    assert len(notes["bleu4"].references_digest) == 16
    assert notes["chair_i_micro"].references_digest == ""
    assert "PTB" in notes["bleu4"].tokenizer
    again = summarise_captions("bad", store, ScoreConfig(metrics=QUICK, resamples=0))
    assert {row.low for row in store.read(again, Summary) if not row.metric.startswith("distinct")} == {None}


def test_two_captioners_on_the_frames_that_both_have(store: Store) -> None:
    config = ScoreConfig(metrics=QUICK, resamples=200)
    found = {row.metric: row for row in compare_captioners("good", "bad", store, config)}
    for name in ("bleu4", "cider_d", "chair_s_macro", "length_words_macro"):
        row = found[name]
        assert row.frames == 29
        assert row.difference is not None
        assert row.low is not None
        assert row.high is not None
        assert row.low <= row.difference + 1e-5, name  # bounds have six digits
        assert row.high >= row.difference - 1e-5, name
        assert row.p_value is not None
        assert row.p_value < 0.02, name
    assert found["chair_s_macro"].one == 0
    assert found["chair_s_macro"].other == pytest.approx(10 / 29)
    assert found["consistent_macro"].difference == 0
    assert found["consistent_macro"].p_value == 1
    assert found["distinct1"].p_value is None
    assert "no sum over captions" in str(found["distinct1"].reason)
    assert "score.dual_encoder" in str(found["clipscore"].reason)
    back = {row.metric: row for row in compare_captioners("bad", "good", store, config)}
    assert back["bleu4"].p_value == found["bleu4"].p_value
    assert back["bleu4"].difference == pytest.approx(-(found["bleu4"].difference or 0))


def test_the_command_prints_a_table(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["compare", "--store", store.location, "--captioners", "good", "bad", "--metrics", "chair", "distinct"]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "a = good, b = bad" in said
    assert "chair_i_micro" in said
    assert main([*asked, "--format", "json"]) == 0
    assert '"captioners": ["good", "bad"]' in capsys.readouterr().out
    assert main(["compare", "--store", store.location, "--captioners", "good", "nobody"]) == 2
    assert "unknown captioner 'nobody'. Did you mean 'good'? Known: bad, good." in capsys.readouterr().err


def test_the_settings_are_those_that_a_was_scored_with_or_a_profile_s(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else metrics with models of their own could never be compared."""
    summarise_captions("good", store, ScoreConfig(metrics=["length"], dual_encoder=str(tmp_path / "clip")))
    profile = tmp_path / "other.toml"
    profile.write_text(f'[score]\nmetrics = ["clipscore"]\ndual_encoder = "{tmp_path}/siglip"\n')

    def reasons(*more: str) -> set[str]:
        assert main(["compare", store.location, "--captioners", "good", "bad", "--format", "json", *more]) == 0
        return {str(json.loads(line)["reason"]) for line in capsys.readouterr().out.splitlines()}

    (asked,) = reasons("--metrics", "clipscore")
    assert str(tmp_path / "clip") in asked
    (asked,) = reasons("--profile", str(profile))
    assert str(tmp_path / "siglip") in asked
    assert reasons("--profile", str(profile), "--metrics", "length") == {"None"}


def test_without_resamples_there_is_neither_an_interval_nor_a_p_value(store: Store) -> None:
    found = compare_captioners("good", "bad", store, ScoreConfig(metrics=["length", "distinct"], resamples=0))
    for row in found:
        assert row.difference is not None
        assert (row.low, row.high, row.p_value) == (None, None, None)
        assert row.reason, "what is not there says why"
    assert "resamples is 0" in str(found[0].reason)


def test_captioners_without_a_frame_in_common(store: Store) -> None:
    rows.write(store, [rows.caption("n_000000", "A man.", captioner="far")], "n/0000", captioner="far")
    with pytest.raises(StoreError, match="no frame in common"):
        compare_captioners("good", "far", store, ScoreConfig(metrics=["length"]))


def test_a_captioner_is_not_compared_with_itself(store: Store) -> None:
    with pytest.raises(ParametersError, match="Name two captioners"):
        compare_captioners("good", "good", store)


def test_one_resample_is_none() -> None:
    with pytest.raises(ConfigError, match="resamples is 1"):
        ScoreConfig(resamples=1)
