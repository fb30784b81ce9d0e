"""Batches that do not fit or fail: who is asked again with whom, and who is given up."""

from collections.abc import Callable

import pytest

from tasks.errors import ConfigError, TransientError
from tasks.frame_work import raise_for_all, work_in_batches

Work = Callable[[list[int]], None]


class Model:
    """Has room for so many items, and fails on some."""

    def __init__(self, room: int = 99, bad: dict[int, Exception] | None = None) -> None:
        self.room, self.bad = room, bad or {}
        self.batches: list[list[int]] = []
        self.done: list[int] = []
        self.lost: dict[int, Exception] = {}

    def work(self, batch: list[int]) -> None:
        self.batches.append(batch)
        if len(batch) > self.room:
            raise MemoryError("no room")
        for item in batch:
            if item in self.bad:
                raise self.bad[item]
        self.done += batch

    def give_up(self, item: int, error: Exception) -> None:
        self.lost[item] = error


@pytest.mark.parametrize(
    ("items", "at_once", "room", "sizes", "left"),
    [
        (0, 4, 9, [], 4),
        (5, 4, 9, [4, 1], 4),
        (5, 99, 9, [5], 99),
        (20, 16, 3, [16, 8, 4] + [2] * 10, 2),
        (5, 5, 2, [5, 2, 2, 1], 2),
        (3, 3, 1, [3, 1, 1, 1], 1),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_so_are_those_after_it(
    items: int, at_once: int, room: int, sizes: list[int], left: int
) -> None:
    model = Model(room)
    assert work_in_batches(range(items), model.work, model.give_up, at_once) == left
    assert [len(batch) for batch in model.batches] == sizes
    assert model.done == list(range(items)), "in their order, each once"
    assert model.lost == {}


def test_an_item_that_fails_is_given_up_alone_and_the_batches_stay_as_large() -> None:
    errors: dict[int, Exception] = {1: RuntimeError("a kernel"), 2: LookupError("a word"), 7: MemoryError("too wide")}
    model = Model(bad=errors)
    assert work_in_batches(range(8), model.work, model.give_up, 3) == 1
    assert model.batches == [[0, 1, 2], [0], [1], [2], [3, 4, 5], [6, 7], [6], [7]]
    assert model.done == [0, 3, 4, 5, 6]
    assert model.lost == errors


def test_what_does_not_fit_alone_is_given_up_and_the_rest_goes_on() -> None:
    model = Model(room=0)
    work_in_batches(range(3), model.work, model.give_up, 2)
    assert list(model.lost) == [0, 1, 2]
    assert [len(batch) for batch in model.batches] == [2, 1, 1, 1]


@pytest.mark.parametrize("error", [TransientError("the device is lost"), ConfigError("a value that cannot be")])
@pytest.mark.parametrize("at_once", [1, 4])
def test_what_is_about_no_item_is_raised(error: Exception, at_once: int) -> None:
    model = Model(bad={2: error})
    with pytest.raises(type(error)):
        work_in_batches(range(4), model.work, model.give_up, at_once)
    assert model.lost == {}


def test_a_bug_that_is_of_no_known_kind_is_raised() -> None:
    model = Model(bad={0: AssertionError("a bug")})
    with pytest.raises(AssertionError):
        work_in_batches([0], model.work, model.give_up, 1)


def test_memory_for_no_frame_at_all_may_pass_and_anything_else_may_not() -> None:
    with pytest.raises(TransientError, match=r"a single frame: full.*; else buy more\."):
        raise_for_all(MemoryError("full"), "buy more.")
    with pytest.raises(RuntimeError, match="broken"):
        raise_for_all(RuntimeError("broken"), "buy more.")
