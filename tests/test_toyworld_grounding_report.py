"""How captioners of the drawn world are judged: the truth itself, and who is blind, fails or always says the same."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from tasks import tags
from tasks.captioners import CaptionRequest, CaptionResult
from toyworld.captions import write_caption
from toyworld.claim_tally import tally
from toyworld.facts import RELATIONS
from toyworld.grounding_report import Row, Shown, lines, measure, show
from toyworld.seeds import VALIDATION


class Teller:
    """Says the truth about the picture it is shown, in the words of the grammar, whatever was detected."""

    notes: dict[str, Any] = {}  # noqa: RUF012 - as the protocol has it

    def __init__(self, shown: Sequence[Shown]) -> None:
        self.by_image = {one.image.tobytes(): one for one in shown}

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        told = [write_caption(self.by_image[one.image.tobytes()].facts, "automatic", 5) for one in requests]
        return [CaptionResult(text=text, finish_reason="stop") for text in told]


class Failing(Teller):
    """Fails at one of the scenes."""

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        results = super().__call__(requests)
        return [CaptionResult(text="", finish_reason="error", error="no memory") if one.frame_number == 0 else result
                for one, result in zip(requests, results, strict=True)]  # fmt: skip


class Constant(Teller):
    """Says the same of every detected thing."""

    def __call__(self, requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        return [CaptionResult(text=" ".join(map(self.said, one.detections)), finish_reason="stop") for one in requests]

    def said(self, one: Any) -> str:
        first = one.object_id.rpartition("-")[0] + "-0"
        return tags.render("object", one.label, [first], "a red one") + "."


SEEDS = VALIDATION[:24]


class TestReport:
    def test_the_truth_has_ones_and_less_with_the_wrong_picture(self) -> None:
        rows = {row.name: row for row in measure(Teller([show(seed) for seed in SEEDS]), SEEDS, texts=False)}
        for name in ("kind of person", "colour of clothing", "colour of object", "action of person", "relations"):
            assert rows[name].value == 1.0, name
            assert rows[name].wrong_picture is not None
            assert rows[name].wrong_picture < 0.5
            assert (rows[name].constant or 1) < 0.7
            assert (rows[name].asked or 0) > 5
        kinds = [rows[f"- {about}"] for about in RELATIONS]
        assert sum(row.asked or 0 for row in kinds) == rows["relations"].asked
        assert {row.value for row in kinds if row.asked} == {1.0}
        assert rows["colour of clothing"].told == 1.0
        assert rows["cited ids with n >= 1: F1"].value > 0.97
        assert rows["grounding F1 strict"].value > 0.98
        assert rows["violations per 1,000 captions"].value == 0
        assert rows["failed of 1,000 captions"].value == 0

    def test_who_does_not_look_is_no_better_with_the_right_picture(self) -> None:
        rows = {row.name: row for row in measure(Constant([]), SEEDS, texts=False)}
        assert rows["colour of object"].value == rows["colour of object"].wrong_picture
        assert rows["colour of object"].value <= (rows["colour of object"].constant or 0)
        assert rows["cited ids with n >= 1: F1"].value == 0.0 == rows["cited ids with n >= 1: F1"].constant
        assert rows["grounding F1 strict"].value == pytest.approx(rows["grounding F1 strict"].constant)
        assert any("colour of object" in line for line in lines(list(rows.values())))

    def test_a_failed_caption_is_counted_and_cites_nothing(self) -> None:
        shown = [show(seed) for seed in SEEDS[:4]]
        rows = {row.name: row for row in measure(Failing(shown), SEEDS[:4], texts=False)}
        assert rows["failed of 1,000 captions"].value == 250
        assert 0.7 < rows["grounding F1 strict"].value < 0.76

    def test_half_an_answer_is_among_the_constant_ones(self) -> None:
        """ "adult" is right of men and women, so it is what always saying the same can get."""
        told = [(write_caption(show(seed).facts, "automatic", 0), show(seed).facts) for seed in SEEDS]
        kinds = tally(told)["kind of person"].constants
        assert kinds["adult"] == kinds["man"] + kinds["woman"]
        assert kinds["child"] == kinds["boy"] + kinds["girl"] > 0

    def test_a_bar_that_is_reached_without_looking_is_marked(self) -> None:
        def row(name: str, wrong: float) -> Row:
            return Row(name=name, value=0.9, wrong_picture=wrong, at_least=0.5)

        assert row("kind of person", 0.49).is_controlled
        assert not row("kind of person", 0.5).is_controlled
        assert row("action of dog", 0.6).is_controlled
        assert not row("action of dog", 0.7).is_controlled
        assert row("relations", 0.9).is_controlled, "its control is the constant answer"

    def test_a_claim_about_nobody_is_wrong_and_one_about_the_unseen_is_not_asked(self) -> None:
        facts = show(SEEDS[0]).facts
        thing = next(one for one in facts.things if one.colour)
        unseen = dataclasses.replace(thing, colour=None)
        hidden = dataclasses.replace(facts, things=(unseen,))
        text = tags.render("object", thing.label, [thing.object_id], f"a {thing.colour} thing") + "."
        nobody = tags.render("object", "dog", ["dog-7"], "a red dog") + "."
        assert [(one.right, one.asked, one.unseen) for name, one in tally([(text, hidden)]).items()
                if "colour" in name and (one.asked or one.unseen)] == [(0, 0, 1)]  # fmt: skip
        found = tally([(nobody, facts)])["colour of object"]
        assert (found.right, found.asked) == (0, 1)
