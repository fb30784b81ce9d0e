"""What a captioner wrote is kept where the caption is not that: cut off inside a tag, no caption at all, repaired."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile_server import Asked, Behaviour, Hostile, completion
from server_asking import config
from test_captions import Answer, frame, people, put, rows, use

from storage import catalog
from storage.store import Store
from storage.tables import Caption
from tasks import tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult
from tasks.captions import caption_frames
from tasks.consistency import check_captions
from tasks.mending import MendConfig, mend_captions

__all__ = ["use"]
pytestmark = pytest.mark.usefixtures("quick_retries")

WHOLE = "Here " + tags.render("object", "person", ["person-0"], "a man") + " waits "
UNKNOWN = "There is " + tags.render("object", "person", ["person-9"], "a man") + "."
CUT = '<gdl class="wall" wall-0>by the w'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def captioned(store: Store, how: CaptionConfig) -> dict[str, Caption]:
    """By frame, the captions of three frames with two people each."""
    shard = put(store, [frame(n) for n in range(3)], [one for n in range(3) for one in people(n)])
    captions = caption_frames(*shard, store, how)
    check_captions(captions, shard[1], store)
    return {one.frame_id: one for one in rows(store, captions)}


def saying(*answers: tuple[str, str]) -> Behaviour:
    """(text, finish_reason) of the requests in the order they come: only one is in flight."""
    left = list(answers)

    def behave(asked: Asked) -> None:
        text, reason = left.pop(0)
        asked.send(200, completion(text, finish_reason=reason))

    return behave


def asked(store: Store, sql: str) -> list[tuple[Any, ...]]:
    with catalog.connect(store.location) as connection:
        return catalog.ask(connection, sql).fetchall()


def test_what_a_server_wrote_is_kept_and_a_query_shows_it(store: Store, start: Callable[[Behaviour], Hostile]) -> None:
    server = start(saying((WHOLE + CUT, "length"), (UNKNOWN, "stop"), (WHOLE, "stop")))
    made = captioned(store, config(server, decoding="constrained", requests_in_flight=1))
    cut, broken, whole = (made[name] for name in sorted(made))
    assert (cut.text, cut.original_text, cut.error) == (WHOLE, WHOLE + CUT, None)
    assert (broken.text, broken.original_text) == ("", UNKNOWN)
    assert "did not keep to the grammar" in (broken.error or "")
    assert (whole.text, whole.original_text) == (WHOLE, None)
    select = "select caption_id, written from ({})"
    query = catalog.queries()["quarantined_captions"].sql
    assert asked(store, select.format(query)) == [(broken.caption_id, UNKNOWN)]
    kept = asked(store, "select original_text from captions where original_text is not null order by caption_id")
    assert kept == [(WHOLE + CUT,), (UNKNOWN,)]


def test_a_caption_cut_off_in_its_first_tag_says_so(store: Store, start: Callable[[Behaviour], Hostile]) -> None:
    server = start(saying((CUT, "length"), ("A man.", "content_filter"), ("", "stop")))
    made = captioned(store, config(server, decoding="constrained", requests_in_flight=1))
    first, filtered, silent = (made[name] for name in sorted(made))
    assert (first.text, first.original_text, first.finish_reason) == ("", CUT, "error")
    assert "Raise max_new_tokens" in (first.error or "")
    assert (filtered.text, filtered.original_text) == ("", "A man.")
    assert "content_filter" in (filtered.error or "")
    assert (silent.original_text, silent.error) == (None, "the captioner ended without having written a word.")


def test_of_what_is_no_unicode_the_rest_is_kept(store: Store, use: Callable[[Answer], None]) -> None:
    def answer(requests: Any) -> list[CaptionResult]:
        return [_said(one) for one in requests]

    def _said(one: CaptionRequest) -> CaptionResult:
        if one.frame_number == 0:
            return CaptionResult(text="A man \ud83d.", finish_reason="stop")
        return CaptionResult(text="A man.", original_text="A man. <\ud83d", finish_reason="length")

    use(answer)
    made = captioned(store, CaptionConfig(backend="scripted"))
    first, *others = (made[name] for name in sorted(made))
    assert (first.text, first.original_text) == ("", r"A man \ud83d.")
    assert {(one.text, one.original_text, one.error) for one in others} == {("A man.", r"A man. <\ud83d", None)}


def test_a_repaired_caption_says_what_it_was(store: Store, use: Callable[[Answer], None]) -> None:
    use(lambda requests: [CaptionResult(text=UNKNOWN, finish_reason="stop") for _ in requests])
    how = CaptionConfig(backend="scripted")
    shard = put(store, [frame(0)], people(0))
    captions = caption_frames(*shard, store, how)
    (mended,) = rows(store, mend_captions(*shard, captions, store, MendConfig(on_violation="repair"), how))
    (first,) = rows(store, captions)
    assert (mended.text, mended.original_text) == ("There is a man.", UNKNOWN)
    assert replace(first, original_text=None) == first
