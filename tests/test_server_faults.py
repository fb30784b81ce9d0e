"""The captioner that asks a server, against servers and networks that do not behave."""

import random
import time
from collections.abc import Callable
from email.utils import formatdate

import hostile_server as wrong
import pytest
from hostile_server import Asked, Behaviour, Hostile, for_seed, status
from server_asking import KEY, RETRIES, load, requests
from test_captioners import request

from tasks import chat_server
from tasks.errors import CheckpointError, ConfigError, TransientError

pytestmark = pytest.mark.usefixtures("quick_retries")

FAULTS: dict[str, Behaviour] = {
    "hang": wrong.hang,
    "reset": wrong.reset,
    "say nothing": wrong.say_nothing,
    "half a body": wrong.half_a_body,
    "not JSON": wrong.not_json,
    "no object": wrong.no_object,
    "no choices": wrong.no_choices,
    "wrong shape": wrong.wrong_shape,
    "429": status(429, "slow down", Retry_After="0"),
    "503": status(503, "loading"),
    "500": status(500, "out of memory"),
    "502": status(502),
}
BUSY = {"429", "503"}
SECONDS = {"hang": 1.0}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_goes_wrong_for_a_while_changes_no_result(fault: str, start: Callable[[Behaviour], Hostile]) -> None:
    undisturbed = load(start(wrong.answer))(requests(3))
    server = start(for_seed(1, FAULTS[fault], times=RETRIES))
    captioner = load(server, timeout_seconds=SECONDS.get(fault, 60.0))
    assert captioner(requests(3)) == undisturbed
    assert sorted(server.tries) == [0, *[1] * (RETRIES + 1), 2]


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - BUSY))
def test_a_request_that_is_never_answered_is_an_error_of_its_own(
    fault: str, start: Callable[[Behaviour], Hostile]
) -> None:
    server = start(for_seed(1, FAULTS[fault]))
    first, second, third = load(server, timeout_seconds=SECONDS.get(fault, 60.0))(requests(3))
    assert (first.text, third.text) == ("caption 0", "caption 2")
    assert f"not this request, {RETRIES + 1} times" in (second.error or "")
    assert server.tries.count(1) == RETRIES + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_answers_nothing_is_worth_another_try_later(
    fault: str, start: Callable[[Behaviour], Hostile]
) -> None:
    server = start(FAULTS[fault])
    with pytest.raises(TransientError, match="run again"):
        load(server, timeout_seconds=SECONDS.get(fault, 60.0))(requests(3))
    assert max(server.tries.count(seed) for seed in range(3)) == RETRIES + 1


@pytest.mark.parametrize("fault", sorted(BUSY))
def test_a_server_with_too_much_to_do_blames_no_request(fault: str, start: Callable[[Behaviour], Hostile]) -> None:
    with pytest.raises(TransientError, match="lower requests_in_flight"):
        load(start(for_seed(1, FAULTS[fault])))(requests(3))


def test_of_many_that_are_never_answered_not_all_are_tried(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(wrong.reset)
    with pytest.raises(TransientError):
        load(server, requests_in_flight=2)(requests(40))
    assert len(set(server.tries)) < 20


def test_a_wait_is_as_long_as_the_server_asks_for_and_no_longer_than_is_fair(
    start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[float] = []
    waits = chat_server._wait_seconds
    monkeypatch.setattr(
        chat_server, "_wait_seconds", lambda tries, after, jitter: asked_for.append(after) or waits(tries, 0, jitter)
    )
    server = start(for_seed(0, status(429, Retry_After="7"), times=1))
    assert load(server)([request(0)])[0].text == "caption 0"
    assert asked_for == [7.0]
    server = start(for_seed(0, status(503, "back in an hour", Retry_After="3600")))
    with pytest.raises(TransientError, match="back in an hour"):
        load(server)([request(0)])
    assert server.tries == [0]


def test_waits_double_and_their_jitter_hangs_on_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_server, "FIRST_WAIT_SECONDS", 0.5)

    def waits(seed: int, after: float = 0.0) -> list[float]:
        jitter = random.Random(seed)
        return [chat_server._wait_seconds(tries, after, jitter) for tries in range(1, 12)]

    assert waits(1) == waits(1) != waits(2)
    limits = [min(0.5 * 2**n, 30.0) for n in range(11)]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits(3), limits, strict=True))
    assert all(wait >= 7 for wait in waits(3, after=7.0))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("12", 12), ("soon", 0), ("-3", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("²", 0)],
)
def test_what_a_server_may_say_about_coming_again(value: str | None, seconds: float) -> None:
    assert chat_server._retry_after(value) == seconds


def test_a_date_to_come_again_is_told_from_now() -> None:
    assert 0 < chat_server._retry_after(formatdate(time.time() + 1000, usegmt=True)) <= 1000


def test_a_refused_request_is_an_error_of_its_own_and_not_tried_again(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(for_seed(1, status(400, "the prompt is too long")))
    results = load(server)(requests(3))
    assert [result.error is None for result in results] == [True, False, True]
    assert "the prompt is too long" in (results[1].error or "")
    assert server.tries.count(1) == 1


def test_a_servers_words_can_be_written_down_whatever_they_are(start: Callable[[Behaviour], Hostile]) -> None:
    """JSON can say what Unicode forbids; one such row would keep the whole shard out of the store."""
    _, refused, _ = load(start(for_seed(1, status(400, "no \ud83d here"))))(requests(3))
    assert (refused.error or "").encode().endswith(rb"no \ud83d here")


def test_a_server_that_refuses_everything_is_asked_wrongly(start: Callable[[Behaviour], Hostile]) -> None:
    with pytest.raises(ConfigError, match="no pictures here"):
        load(start(status(422, "no pictures here")))(requests(3))


def test_a_wrong_key_is_said_with_its_variable_and_never_shown(
    start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "abracadabra")
    server = start(status(401, "Unauthorized"))
    with pytest.raises(ConfigError, match=KEY) as raised:
        load(server)(requests(3))
    assert "abracadabra" not in str(raised.value)
    monkeypatch.setenv(KEY, "abraca\ndabra")
    with pytest.raises(ConfigError, match=KEY) as raised:
        load(server)
    assert "dabra" not in str(raised.value)


def test_a_model_that_goes_away_is_said_with_what_there_is(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(status(404, "The model `m` does not exist."))
    with pytest.raises(CheckpointError, match=r"has no model 'm'.*It has: m"):
        load(server)(requests(3))


def test_an_answer_without_end_is_cut_short(
    start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_server, "LARGEST_ANSWER_BYTES", 1 << 16)
    (result,) = load(start(lambda asked: asked.send(200, b"x" * (1 << 20))))([request(0)])
    assert "more than 65536 bytes" in (result.error or "")


def test_an_answer_in_drops_runs_out_of_time(start: Callable[[Behaviour], Hostile]) -> None:
    def drip(asked: Asked) -> None:
        asked.send(200, b"{", length=10**6)
        while not asked.server.closing.wait(0.05):
            asked.connection.sendall(b" ")

    (result,) = load(start(drip), timeout_seconds=0.3, retries=0)([request(0)])
    assert "no whole answer within 0.3 s" in (result.error or "")
