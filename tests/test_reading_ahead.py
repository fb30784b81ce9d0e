"""Work ahead of its use, a stage that gives a captioner all requests at once, and rows that fit into memory."""

import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_captions import SCRIPTED, frame, jpeg, people, put, rows, said

from storage.store import Store
from tasks import captioners, rows_in_memory
from tasks.captioners import CaptionRequest, CaptionResult, StreamingCaptioner
from tasks.captions import caption_frames
from tasks.errors import TransientError
from tasks.read_ahead import ReadAhead
from tasks.rows_in_memory import memory_bytes, rows_that_fit, weight_bytes


class TestReadAhead:
    def test_results_come_in_order_and_no_more_is_drawn_than_said(self) -> None:
        drawn: list[int] = []

        def items() -> Iterator[int]:
            for index in range(20):
                drawn.append(index)
                yield index

        with ReadAhead(lambda one: one * one, items(), 3) as read:
            for index, square in enumerate(read):
                assert square == index**2
                assert len(drawn) <= index + 5
        assert drawn == list(range(20))

    def test_an_item_that_fails_fails_in_its_turn_and_alone(self) -> None:
        def invert(one: int) -> float:
            return 1 / one

        with ReadAhead(invert, [1, 0, 2], 3) as read:
            assert next(read) == 1
            with pytest.raises(ZeroDivisionError):
                next(read)
            assert next(read) == 0.5
            assert list(read) == []

    def test_leaving_early_ends_the_thread(self) -> None:
        before = threading.active_count()
        with ReadAhead(str, iter(int, 1), 4) as read:  # endless
            assert next(read) == "0"
        assert threading.active_count() == before

    def test_nothing_is_nothing(self) -> None:
        with ReadAhead(str, [], 4) as read:
            assert list(read) == []
        assert read.waiting_seconds >= 0


class Streaming:
    """A captioner that answers from the last request it has to the first, and fails where told."""

    def __init__(self, fail_at: int | None, error: Exception) -> None:
        self.fail_at, self.error, self.waiting_seconds, self.notes = fail_at, error, 0.0, {"told": True}
        self.called: list[int] = []
        self.images: list[int] = []

    def stream(self, requests: Iterable[CaptionRequest]) -> Iterator[tuple[CaptionRequest, CaptionResult]]:
        held = []
        for request in requests:
            self.images.append(id(request.image))
            held.append(request)
            if request.frame_number == self.fail_at:
                raise self.error
            if len(held) == 3:
                self.waiting_seconds += 0.5
                yield from ((one, said(one)) for one in held[:0:-1])
                del held[1:]
        yield from ((one, said(one)) for one in held)

    def __call__(self, requests: Any) -> list[CaptionResult]:
        self.called.append(len(requests))
        if any(request.frame_number == self.fail_at for request in requests):
            raise self.error
        return [said(request) for request in requests]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Streaming]:
    def begin(fail_at: int | None = None, error: Exception = RuntimeError("none")) -> Streaming:  # noqa: B008
        captioner = Streaming(fail_at, error)
        assert isinstance(captioner, StreamingCaptioner)
        monkeypatch.setattr(captioners, "load", lambda _config: captioner)
        return captioner

    return begin


class TestAStageThatStreams:
    def test_answers_find_their_frames_in_whatever_order_they_come(
        self, tmp_path: Path, use: Callable[..., Streaming]
    ) -> None:
        captioner, store = use(), Store(str(tmp_path))
        frames = [
            frame(0),
            frame(1, data=b"no picture"),
            *(frame(n) for n in range(2, 8)),
            frame(8, data=jpeg(9, 9)[:99]),
        ]
        got = rows(store, caption_frames(*put(store, frames, people(1)), store, SCRIPTED))
        assert [one.error is None for one in got] == [True, False, *[True] * 6, False]
        assert "cannot be decoded" in (got[1].error or "")
        assert [one.text.split(",")[0] for one in got if not one.error] == [f"frame {n}" for n in (0, *range(2, 8))]
        assert captioner.called == [], "nothing was left to ask for"

    def test_a_frames_candidates_share_one_decoded_picture(self, tmp_path: Path, use: Callable[..., Streaming]) -> None:
        captioner, store = use(), Store(str(tmp_path))
        from dataclasses import replace

        config = replace(SCRIPTED, candidates=3, temperature=1.0)
        ref = caption_frames(*put(store, [frame(0), frame(1)], people(1)), store, config)
        assert len(rows(store, ref)) == 6
        assert [captioner.images.count(one) for one in captioner.images] == [3] * 6

    @pytest.mark.parametrize("error", [RuntimeError("a kernel that does not like it"), MemoryError("full")])
    def test_when_it_fails_the_rest_is_asked_for_in_batches_and_one_frame_fails_alone(
        self, tmp_path: Path, use: Callable[..., Streaming], error: Exception
    ) -> None:
        captioner, store = use(5, error), Store(str(tmp_path))
        got = rows(store, caption_frames(*put(store, [frame(n) for n in range(9)], []), store, SCRIPTED))
        assert [one.error is None for one in got] == [n != 5 for n in range(9)]
        assert sum(captioner.called) > 0
        assert captioner.called[0] < 9, "what was answered is not asked for again"

    def test_what_is_about_no_frame_is_raised(self, tmp_path: Path, use: Callable[..., Streaming]) -> None:
        captioner, store = use(5, TransientError("the device failed")), Store(str(tmp_path))
        with pytest.raises(TransientError):
            caption_frames(*put(store, [frame(n) for n in range(9)], []), store, SCRIPTED)
        assert captioner.called == []


class TestRowsThatFit:
    @staticmethod
    def pixtral_12b(device: str = "cpu") -> Any:
        config = SimpleNamespace(
            num_key_value_heads=8, head_dim=128, vocab_size=131072, intermediate_size=14336, hidden_size=5120
        )
        weight = torch.zeros(1, dtype=torch.bfloat16, device=device)
        return SimpleNamespace(config=config, layers=[None] * 40, norm=SimpleNamespace(weight=weight))

    @pytest.mark.parametrize(
        ("gib", "weights_gib", "expected"),
        [(0.1, 0, 1), (2, 0, 1), (8, 0, 8), (16, 0, 16), (32, 0, 32), (100, 0, 32), (64, 24, 16), (48, 24, 1)],
    )
    def test_a_power_of_two_that_grows_with_memory_up_to_what_helps(
        self, monkeypatch: pytest.MonkeyPatch, gib: float, weights_gib: int, expected: int
    ) -> None:
        monkeypatch.setattr(rows_in_memory, "memory_bytes", lambda _device: int(gib * 2**30))
        assert rows_that_fit(self.pixtral_12b(), 1500, weights_gib * 2**30) == expected

    def test_it_does_not_hang_on_what_happens_to_be_free(self) -> None:
        """256 MiB taken, written to, and the same number comes out."""
        device = torch.device("cpu")
        before = memory_bytes(device)
        taken = torch.ones(2**28, dtype=torch.uint8)
        assert memory_bytes(device) == before
        assert taken[-1] == 1

    def test_weights_are_counted_once_in_their_own_formats(self) -> None:
        model = torch.nn.ModuleDict({"a": torch.nn.Linear(4, 3), "b": torch.nn.Linear(4, 3, bias=False).bfloat16()})
        assert weight_bytes(model) == 4 * (12 + 3) + 2 * 12
        model["c"] = torch.nn.Linear(4, 3)
        model["c"].weight = model["a"].weight
        assert weight_bytes(model) == 4 * (12 + 3 + 3) + 2 * 12

    def test_a_row_of_pixtral_12b_is_a_quarter_of_a_gigabyte(self) -> None:
        assert rows_in_memory._row_bytes(self.pixtral_12b(), 1500) == 1500 * 163_840 + 16 * 131_072
