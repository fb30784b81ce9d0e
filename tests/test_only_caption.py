"""A shard's only caption that fails: a row with the error, and asked for again by the next run."""

from collections.abc import Callable, Sequence

import pytest
from test_captions import SCRIPTED, Answer, frame, put, rows, said, store, use

from storage.store import Store
from tasks.captioners import CaptionRequest, CaptionResult
from tasks.captions import caption_frames

__all__ = ["store", "use"]


@pytest.mark.parametrize("raised", [RuntimeError("an odd kernel"), MemoryError("full")])
def test_nothing_tells_who_is_to_blame_so_the_next_run_asks_again(
    store: Store, use: Callable[[Answer], None], raised: Exception
) -> None:
    broken, asked = [True], [0]

    def answer(requests: Sequence[CaptionRequest]) -> list[CaptionResult]:
        asked[0] += 1
        if broken:
            raise raised
        return [said(request) for request in requests]

    def run() -> str | None:
        return rows(store, caption_frames(*shard, store, SCRIPTED))[0].error

    use(answer)
    shard = put(store, [frame(0), frame(1, data=b"no picture")], [])
    assert str(raised) in str(run())
    tried = asked[0]
    assert str(raised) in str(run())
    assert asked[0] == 2 * tried
    broken.clear()
    assert run() is None
    assert run() is None
    assert asked[0] == 2 * tried + 1, "what was answered is asked for again"
