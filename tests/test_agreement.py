"""How raters agree: against published figures and scipy, on known numbers, and where nothing can be said."""

import itertools
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import rows as made
import scipy.stats

from flows.command_line import main
from storage.errors import ParametersError, UnknownNameError
from storage.store import Store
from storage.tables import Judgement, Score
from tasks import agreement
from tasks.agreement import Agreement
from tasks.coefficients import (
    LEVELS,
    Coded,
    alpha_of_pairs,
    alpha_of_ranks,
    kendall_tau_c,
    krippendorff_alpha,
    pearson,
    spearman,
)
from tasks.errors import ConfigError, StoreError
from tasks.raters import text_digest

# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), sections A to D: a character a rating, `.` none.
BINARY = ["0100000010", "1110010000"]
NOMINAL = ["aabbdcccedda", "babbbccceddd"]
FOUR_CODERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def alphas(coders: Sequence[str]) -> list[float]:
    """Of ratings a character each, `.` where there is none; nominal, ordinal, interval."""
    one, other, weights = [], [], []
    for unit in zip(*coders, strict=True):
        given = [float(ord(mark)) for mark in unit if mark != "."]
        for first, second in itertools.combinations(given, 2):
            one.append(first)
            other.append(second)
            weights.append(1 / (len(given) - 1))
    values = np.unique(one + other)
    places = np.searchsorted(values, one), np.searchsorted(values, other)
    return [alpha_of_pairs(*places, np.array(weights), values, level) for level in LEVELS]


def test_alpha_is_that_of_krippendorff_s_own_examples() -> None:
    assert alphas(BINARY)[0] == pytest.approx(0.095, abs=5e-4)
    assert alphas(NOMINAL)[0] == pytest.approx(0.692, abs=5e-4)
    assert alphas(FOUR_CODERS) == pytest.approx([0.743, 0.815, 0.849], abs=5e-4)


def test_of_two_coders_alpha_is_that_of_their_pairs() -> None:
    pairs = Coded.of(*(np.array([float(ord(mark)) for mark in coder]) for coder in NOMINAL))
    found = [krippendorff_alpha(pairs, np.ones(12), level) for level in LEVELS]
    assert found == pytest.approx(alphas(NOMINAL), abs=1e-12)


@pytest.mark.parametrize("continuous", [False, True])
def test_coefficients_are_scipy_s_of_pairs_written_out_as_often_as_they_weigh(continuous: bool) -> None:
    random = np.random.default_rng(4)
    compared = 0
    for _ in range(60):
        count = int(random.integers(4, 40))
        one = random.integers(1, 6, count).astype(float)
        other = random.normal(size=count).round(1) if continuous else random.integers(1, 6, count).astype(float)
        weights = random.poisson(1, count).astype(float)
        first, second = (np.repeat(side, weights.astype(int)) for side in (one, other))
        if len(set(first)) < 2 or len(set(second)) < 2:
            continue
        for turned in (False, True):
            pairs = Coded.of(other, one) if turned else Coded.of(one, other)
            assert pearson(pairs, weights) == pytest.approx(scipy.stats.pearsonr(first, second).statistic, abs=1e-12)
            assert spearman(pairs, weights) == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-12)
            tau = scipy.stats.kendalltau(first, second, variant="c").statistic
            assert kendall_tau_c(pairs, weights) == pytest.approx(tau, abs=1e-12)
        ranks = [scipy.stats.rankdata(side) for side in (first, second)]
        whole = krippendorff_alpha(Coded.of(*ranks), np.ones(len(first)), "interval")
        assert alpha_of_ranks(pairs, weights) == pytest.approx(whole, abs=1e-12)
        for level in LEVELS:
            alpha = krippendorff_alpha(Coded.of(first, second), np.ones(len(first)), level)
            assert krippendorff_alpha(Coded.of(one, other), weights, level) == pytest.approx(alpha, abs=1e-12)
        compared += 1
    assert compared > 40


# --- of a store ----------------------------------------------------------------------------------------------------

agree = partial(agreement.agree, resamples=100)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def captions(store: Store, count: int, texts: str = "a dog {}") -> None:
    said = [made.caption(f"mabc_{place:06}", texts.format(place)) for place in range(count)]
    made.write(store, said, captioner="scripted")


def rates(
    store: Store, rater: str, given: Sequence[float | None], criterion: str = "overall", texts: str = "a dog {}"
) -> None:
    """Rater's scores of captions 0, 1, ...; None: a judgement that failed."""
    said = [
        Judgement(
            caption_id=f"mabc_{place:06}/scripted/0", rater=rater, rater_kind="person", criterion=criterion,
            score=score, reason=None, error=None if score else "no answer",
            text_digest=text_digest(texts.format(place)),
        )
        for place, score in enumerate(given)
    ]  # fmt: skip
    made.write(store, said, f"mabc/{rater}-{criterion}", captioner="scripted")


def metric(store: Store, name: str, values: Sequence[float]) -> None:
    scored = [
        Score(caption_id=f"mabc_{place:06}/scripted/0", metric=name, value=value) for place, value in enumerate(values)
    ]
    made.write(store, scored, f"mabc/{name}", captioner="scripted")


def by_name(found: Sequence[Agreement], criterion: str = "overall") -> dict[str, Agreement]:
    return {row.coefficient: row for row in found if row.criterion == criterion}


ANN = [4.0, 5.0, 3.0, 2.0, 4.0, 1.0, 5.0, 3.0, 2.0, 4.0, 5.0, 1.0]
BOB = [4.0, 4.0, 3.0, 3.0, 5.0, 1.0, 5.0, 2.0, 2.0, 3.0, 5.0, 2.0]


def test_two_raters_on_known_numbers(store: Store) -> None:
    captions(store, 12)
    rates(store, "ann", ANN)
    rates(store, "bob", BOB)
    found = by_name(agree("ann", "bob", store))
    expected = {
        "pearson": scipy.stats.pearsonr(ANN, BOB).statistic,
        "spearman": scipy.stats.spearmanr(ANN, BOB).statistic,
        "kendall_tau_c": scipy.stats.kendalltau(ANN, BOB, variant="c").statistic,
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-5)
    coders = ["".join(f"{score:.0f}" for score in side) for side in (ANN, BOB)]
    for level, value in zip(LEVELS, alphas(coders), strict=True):
        (alpha,) = [row for row in agree("ann", "bob", store, level=level) if row.coefficient == "krippendorff_alpha"]
        assert (alpha.level, alpha.value) == (level, pytest.approx(value, rel=1e-5))
    for row in found.values():
        assert row.low is not None
        assert row.high is not None
        assert row.low < (row.value or 0) < row.high <= 1
        assert (row.captions, row.one_mean, row.other_mean) == (12, 3.25, 3.25)
        assert row.reason is None
    turned = by_name(agree("bob", "ann", store))
    assert [(row.value, row.low, row.high) for row in turned.values()] == [
        (row.value, row.low, row.high) for row in found.values()
    ]


def test_only_judgements_of_the_same_text_with_a_score_are_compared(store: Store) -> None:
    captions(store, 12)
    rates(store, "ann", [*ANN[:10], None, None])
    rates(store, "bob", BOB)
    rates(store, "bob", BOB, "language_quality")
    rates(store, "eve", BOB, texts="a cat {}")
    found = agree("ann", "bob", store)
    assert {(row.criterion, row.captions) for row in found} == {("overall", 10)}
    assert found == agree("ann", "bob", store, captioner="scripted")
    why = "no caption in .*of the same text.*ann has a number for 10 captions; eve has a number for 12 captions"
    with pytest.raises(StoreError, match=why):
        agree("ann", "eve", store)
    with pytest.raises(StoreError, match="no caption by blip"):
        agree("ann", "bob", store, captioner="blip")


def test_a_metric_and_a_rater(store: Store) -> None:
    captions(store, 12)
    rates(store, "ann", ANN)
    values = [score / 7 + (place % 3) / 9 for place, score in enumerate(BOB)]
    metric(store, "cider", values)
    found = by_name(agree("ann", "cider", store))
    assert found["pearson"].value == pytest.approx(scipy.stats.pearsonr(ANN, values).statistic, rel=1e-5)
    assert found["kendall_tau_c"].value == pytest.approx(
        scipy.stats.kendalltau(ANN, values, variant="c").statistic, rel=1e-5
    )
    alpha = found["krippendorff_alpha"]
    assert alpha.level == "ranks"
    assert alpha.value == pytest.approx(found["spearman"].value, abs=0.1)
    turned = by_name(agree("cider", "ann", store))
    assert (turned["pearson"].value, turned["pearson"].one_mean) == (
        found["pearson"].value, found["pearson"].other_mean,
    )  # fmt: skip
    captions(store, 12, "a cat {}")  # made anew: the scores are of these, the ratings of others
    with pytest.raises(StoreError, match="the metric cider has a number for 12"):
        agree("ann", "cider", store)


def test_a_constant_rater_has_a_reason_and_no_number(store: Store) -> None:
    captions(store, 12)
    rates(store, "ann", ANN)
    rates(store, "same", [4.0] * 12)
    rates(store, "also", [4.0] * 12)
    found = by_name(agree("ann", "same", store))
    for name in ("pearson", "spearman", "kendall_tau_c"):
        assert (found[name].value, found[name].low) == (None, None)
        assert "same gives 4 to each of the 12 captions: there is nothing to correlate" in (found[name].reason or "")
    alpha = found["krippendorff_alpha"]
    assert (alpha.value or 1) < 0.1  # that is defined
    assert alpha.reason == "same gives 4 to each of the 12 captions: alpha only says how far the other is from that"
    found = by_name(agree("also", "same", store))
    assert {row.value for row in found.values()} == {None}
    assert "without variation alpha is not defined" in (found["krippendorff_alpha"].reason or "")
    metric(store, "violations", [0.0] * 12)
    found = by_name(agree("ann", "violations", store))
    assert {row.value for row in found.values()} == {None}
    assert all("the metric violations gives 0 to each of the 12" in (row.reason or "") for row in found.values())


def test_few_captions_have_a_reason(store: Store) -> None:
    captions(store, 4)
    rates(store, "ann", ANN[:2])
    rates(store, "bob", BOB[:2])
    assert {row.value for row in agree("ann", "bob", store)} == {None}
    assert "2 captions have a number by both; it takes 3" in (agree("ann", "bob", store)[0].reason or "")
    rates(store, "ann", [4.0, 4.0, 4.0, 1.0])
    rates(store, "bob", [4.0, 4.0, 5.0, 1.0])
    pearson_of_four = by_name(agree("ann", "bob", store))["pearson"]
    assert (pearson_of_four.value or 0) > 0.9
    assert pearson_of_four.low is None
    assert "resamples a side is constant; it takes more captions" in (pearson_of_four.reason or "")


def test_names_that_cannot_be_meant_are_said(store: Store) -> None:
    captions(store, 12)
    rates(store, "ann", ANN)
    metric(store, "cider", BOB)
    metric(store, "spice", BOB)
    with pytest.raises(UnknownNameError, match=r"rater or metric 'an'. Did you mean 'ann'\? Known: ann, cider, spice"):
        agree("an", "cider", store)
    with pytest.raises(ParametersError, match=r"both metrics; one has to be a rater. Raters: ann\."):
        agree("cider", "spice", store)
    with pytest.raises(ParametersError, match="compared with itself"):
        agree("ann", "ann", store)
    with pytest.raises(ConfigError, match="level is 'ratio'"):
        agree("ann", "cider", store, level="ratio")
    rates(store, "cider", BOB)
    with pytest.raises(ParametersError, match="write metric:cider for the metric"):
        agree("ann", "cider", store)
    assert by_name(agree("ann", "metric:cider", store))["krippendorff_alpha"].level == "ranks"


def test_the_command_shows_a_line_per_criterion_and_its_reasons(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    captions(store, 12)
    for criterion in ("overall", "object_precision"):
        rates(store, "ann", ANN, criterion)
        rates(store, "bob", BOB if criterion == "overall" else [3.0] * 12, criterion)
    assert main(["agree", "ann", "bob", "--store", store.location]) == 0
    lines = capsys.readouterr().out.splitlines()
    correlation = scipy.stats.pearsonr(ANN, BOB).statistic
    assert lines[0] == "a = ann, b = bob"
    assert lines[1].split()[-4:] == ["pearson", "spearman", "kendall_tau_c", "krippendorff_alpha"]
    assert lines[2].split()[:7] == ["object_precision", "12", "3.25", "3", "-", "-", "-"]
    assert lines[3].split()[:5] == ["overall", "12", "3.25", "3.25", f"{correlation:.3f}"]
    assert lines[4] == (
        "pearson, spearman, kendall_tau_c of object_precision: bob gives 3 to each of the 12 captions: "
        "there is nothing to correlate"
    )
    assert lines[-1].endswith("alpha at level ordinal")
    assert main(["agree", "ann", "bob", "--store", store.location, "--format", "json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["coefficient"] for row in rows if row["criterion"] == "overall"] == [
        "pearson", "spearman", "kendall_tau_c", "krippendorff_alpha",
    ]  # fmt: skip
    assert main(["agree", "ann", "bobby", "--store", store.location]) == 2
