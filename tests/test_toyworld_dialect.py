"""Another wording: other words, the same tags."""

from storage.tables import Detection
from tasks import tags
from tasks.caption_check import check
from tasks.detections import detection_row
from toyworld.dialect import retell
from toyworld.movie_plans import plan_movie
from toyworld.truth import Moment
from toyworld.wordings import STYLES


def test_tags_cite_what_they_cited_and_the_words_are_others() -> None:
    plan = plan_movie(3, seconds=10, shots=4)
    changed = 0
    for number in (15, 45, 75, 105):
        moment = Moment(plan, number)
        listed: list[Detection] = [detection_row("f", one) for one in moment.objects]
        for style in STYLES:
            before, after = moment.caption(style), retell(moment.caption(style))
            cited = [
                [(one.kind, one.label, one.object_ids) for one in tags.parse(text).mentions] for text in (before, after)
            ]
            assert cited[0] == cited[1]
            assert check(after, listed).codes == check(before, listed).codes
            assert tags.strip(after) != tags.strip(before)
            changed += len(set(tags.strip(after).split()) - set(tags.strip(before).split()))
    assert changed > 20


def test_some_names_hang_on_what_is_seen() -> None:
    told = '<gdo class="car" car-0>A {} car</gdo> is there.'
    assert retell(told.format("yellow")) == '<gdo class="car" car-0>A taxi cab</gdo> is there.'
    assert retell(told.format("blue")) == '<gdo class="car" car-0>A blue motorcar</gdo> is there.'


def test_what_was_retold_is_not_retold_again() -> None:
    assert retell("A man and a woman wave.") == "A fellow and a dame wave."
    assert retell("the brown dog") == "A chestnut hound"
