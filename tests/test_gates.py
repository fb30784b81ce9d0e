"""Conditions of --fail-if: what can be written, what they say, and what cannot be decided. No store."""

import pytest

from storage.errors import UnknownNameError
from tasks.baselines import Known
from tasks.errors import ConfigError, GateSyntaxError
from tasks.gates import LONGEST, Decision, Judge, read_gate

ISSUE = "grounding_f1_macro < 0.95 * baseline"


def known(value: float | None, reason: str | None = None, signature: str = "m 1; tokens") -> Known:
    return Known(value, reason, signature, 10)


def decide(text: str, baseline: dict[str, Known] | None = None, **values: float) -> Decision:
    found = {name: known(value) for name, value in values.items()}
    return Judge("new", found, baseline, "there is no baseline; name one").decide(read_gate(text))


def test_the_issue_s_own_condition() -> None:
    before = {"grounding_f1_strict_macro": known(0.8)}
    worse = decide(ISSUE, before, grounding_f1_strict_macro=0.75)
    assert worse.failed is True
    assert worse.said == "grounding_f1_macro is 0.75, baseline is 0.8"
    assert str(worse) == f"new: {ISSUE}: FAILED: {worse.said}"
    assert decide(ISSUE, before, grounding_f1_strict_macro=0.77).failed is False


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        ("bleu4 < .2", True),
        ("bleu4 < .1", False),
        ("bleu4 <= 0.1 and cider_d < 2", True),
        ("bleu4 > 0.1 or cider_d > 2", False),
        ("not (bleu4 < 0.5)", False),
        ("0.05 < bleu4 < 0.2", True),
        ("0.2 < bleu4 < 0.3", False),
        ("bleu4 == 0.1", True),
        ("bleu4 != 0.1", False),
        ("bleu4 >= 1 - 0.9", True),
        ("-bleu4 > -0.2", True),
        ("(bleu4 + cider_d) / 2 < 0.6", True),
        ("bleu4 < baseline", True),
        ("bleu4 - baseline < -0.3", False),
        ("bleu4 + cider_d < baseline.bleu4 + baseline.cider_d", True),
        ("bleu4 > baseline.cider_d or cider_d < baseline", True),
        ("captions < 11", True),
        ("1 < 2", True),
    ],
)
def test_conditions(text: str, failed: bool) -> None:
    before = {"bleu4": known(0.2), "cider_d": known(1.5)}
    assert decide(text, before, bleu4=0.1, cider_d=1.0, captions=10.0).failed is failed


def test_alarms_that_could_not_be_decided_leave_open_what_hangs_on_them() -> None:
    """One alarm, and perhaps a second one."""
    values = {"alarms": Known(1.0, "no value of cider_d: it died", "", 1, more=1), "captions": known(10.0)}
    for text, failed in (
        ("alarms > 0", True), ("alarms > 1", None), ("alarms == 1", None), ("alarms > 2", False),
        ("alarms > 0 and captions < 1", False), ("not (alarms > 1)", None), ("captions < 1", False),
    ):  # fmt: skip
        decision = Judge("new", values, values, "").decide(read_gate(text))
        assert decision.failed is failed, text
        assert (decision.said == "new has 1 alarm, and perhaps more: no value of cider_d: it died") is (failed is None)
    against = Judge("new", values, values, "").decide(read_gate("alarms > baseline.alarms"))
    assert against.failed is None
    assert "the baseline of new has alarms that could not be decided: no value of cider_d" in against.said


def test_a_metric_that_the_baseline_lacks_says_how_to_take_a_new_one() -> None:
    decision = decide("bleu4 < baseline", {"meteor": known(0.2)}, bleu4=0.1)
    assert decision.failed is None
    assert decision.said.endswith("run once with --accept, or name a captioner with --baseline.")


@pytest.mark.parametrize(
    "text",
    [
        "", "bleu4", "bleu4; 1", "bleu4 < 1\nx", "bleu4 < \0", "bleu4 <", "1 + 2", "bleu4 < 'a'",
        "bleu4 ** 2 < 1", "bleu4 in (1, 2)", "bleu4 is 1", "True < bleu4",
        "__import__('os').system('true') < 1", "bleu4.__class__ < 1", "(lambda: 1)() < 2", "bleu4[0] < 1", "bleu4 < 1j",
        "[x for x in (1,)] < 1", "bleu4 := 1", "bleu4 < 1 if 1 < 2 else 2", "f'{bleu4}' < 1", "bleu4 % 2 < 1",
        "bleu4 < 1e999", f"bleu4 < 1{'0' * 400}", "bleu4 < baseline + cider_d", "1 < baseline",
        "(" * 400 + "bleu4", "- " * 240 + "bleu4 <", "bleu4 < 1 " + "#" * LONGEST,
        "baseline.bleu4.bleu4 < 1", "bleu4 < (baseline := 2)", "~bleu4 < 1", "bleu4 < 5 and bleu4",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused_and_never_run(text: str) -> None:
    with pytest.raises(GateSyntaxError) as refused:
        read_gate(text)
    assert isinstance(refused.value, ConfigError)


def test_an_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'bleu4'"):
        read_gate("blue4 < 0.1")
    with pytest.raises(UnknownNameError, match="unknown metric 'f1'"):
        read_gate("bleu4 < baseline.f1")


def test_names_without_strict_or_cited_mean_strict() -> None:
    assert decide("gmeteor < 0.5", gmeteor_strict=0.4, gmeteor_cited=0.9).failed
    assert decide("grounding_recall_micro < 0.5", grounding_recall_strict_micro=0.4).failed
    assert not decide("grounding_recall_cited_micro < 0.5", grounding_recall_cited_micro=0.9).failed


def test_what_cannot_be_decided_says_why() -> None:
    missing = decide(ISSUE, None, grounding_f1_strict_macro=0.75)
    assert (missing.failed, missing.said) == (None, "there is no baseline; name one")
    assert "CANNOT BE DECIDED" in str(missing)
    assert "not among the metrics that were computed" in decide("bleu4 < 1").said
    lacking = Judge("new", {"spice": known(None, "run caption-movies setup spice")}, None, "").decide(
        read_gate("spice < 1 or captions > 0")
    )
    assert lacking.failed is None
    assert "setup spice" in lacking.said
    assert "divides by zero" in decide("bleu4 / (bleu4 - bleu4) < 1", bleu4=0.5).said
    for endless in ("bleu4 < 1e308 * 10 * baseline", "bleu4 < 1e308 * 10 - 1e308 * 10", "bleu4 < baseline / 5e-324"):
        undecided = decide(endless, {"bleu4": known(0.0 if "/" not in endless else 0.5)}, bleu4=0.1)
        assert undecided.failed is None, endless
        assert "is no finite number" in undecided.said
    counted = decide("alarms > baseline", {"bleu4": known(0.5)}, alarms=2.0)
    assert counted.failed is None
    assert (
        counted.said == "the baseline of new does not say how many alarms there were; name a captioner with --baseline"
    )
    gone = decide("bleu4 < baseline", {"bleu4": known(None, "it had no value")}, bleu4=0.5)
    assert gone.failed is None
    assert gone.said == "the baseline of new has no value of bleu4: it had no value"


def test_what_was_computed_in_another_way_is_not_compared() -> None:
    text = "bleu4 < 0.9 * baseline"
    now = {"bleu4": known(0.5, signature="bleu 2; tokens; references aa; interval: 100 resamples")}
    same = {"bleu4": known(0.6, signature="bleu 2; tokens; references bb; interval: 50 resamples")}
    other = {"bleu4": known(0.6, signature="bleu 1; tokens; references aa; interval: 100 resamples")}
    assert Judge("new", now, same, "").decide(read_gate(text)).failed is True
    refused = Judge("new", now, other, "").decide(read_gate(text))
    assert refused.failed is None
    assert "--accept" in refused.said
