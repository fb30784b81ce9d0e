"""The captioner that asks a server, over real sockets: against one that behaves, and against one that does not."""

import base64
import io
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import hostile_server as wrong
import numpy as np
import pytest
from hostile_server import Asked, Behaviour, Hostile, completion, for_seed, hostile, status
from PIL import Image
from test_captioners import request

from tasks import caption_check, captioners, chat_server, prompts, tag_grammar, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, ServerConfig
from tasks.captioners.server import ServerCaptioner, content
from tasks.errors import CheckpointError, ConfigError, TransientError

KEY = "CAPTION_MOVIES_API_KEY"
RETRIES = 2
TRAINED = Path(__file__).parents[1] / "toyworld" / "checkpoints" / "captioner"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_server, "FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.delenv(KEY, raising=False)


@pytest.fixture
def start() -> Iterator[Callable[[Behaviour], Hostile]]:
    with ExitStack() as stack:
        yield lambda behave: stack.enter_context(hostile(behave))


def config(server: Hostile | str, **changes: Any) -> CaptionConfig:
    how = {key: changes.pop(key) for key in ("timeout_seconds", "requests_in_flight", "retries") if key in changes}
    url = server if isinstance(server, str) else server.url
    asked = ServerConfig(url=url, **({"retries": RETRIES} | how))
    return CaptionConfig(**({"backend": "server", "checkpoint": "m", "max_new_tokens": 24, "server": asked} | changes))


def load(server: Hostile, **changes: Any) -> ServerCaptioner:
    captioner = captioners.load(config(server, **changes))
    assert isinstance(captioner, ServerCaptioner)
    return captioner


def requests(count: int) -> list[CaptionRequest]:
    return [request(index) for index in range(count)]


def texts(results: list[CaptionResult]) -> list[str]:
    return [result.text or str(result.error) for result in results]


# --- what is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", sorted(prompts.TEMPLATES))
def test_the_parts_of_the_turn_are_the_prompt_and_the_picture_its_pixels(template: str) -> None:
    one = request(3)
    one = replace(one, prompt=prompts.render(template, one.detections))
    text, pictures = "", []
    for part in content(one):
        text += part["text"] if part["type"] == "text" else prompts.IMAGE
        pictures += [part["image_url"]["url"]] if part["type"] == "image_url" else []
    marked = f"{prompts.BEGIN}{prompts.OPEN}{text}{prompts.CLOSE}"
    assert one.prompt == (marked if one.prompt.startswith(prompts.BEGIN) else text)
    (url,) = pictures
    with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) as picture:
        assert np.array_equal(np.asarray(picture), one.image)


def test_all_that_decides_is_said_and_the_key_is_shown(
    start: Callable[[Behaviour], Hostile], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(wrong.answer)
    monkeypatch.setenv(KEY, "open sesame\n")
    load(server, temperature=0.7, top_p=0.9)([request(0, seed=2**63 - 1)])
    assert {one.headers["authorization"] for one in server.asked} == {"Bearer open sesame"}
    body = server.asked[-1].body
    del body["messages"]
    assert body == {
        "model": "m", "max_tokens": 24, "temperature": 0.7, "top_p": 0.9, "seed": 2**63 - 1, "logprobs": True,
    }  # fmt: skip


def test_an_adapter_is_the_models_name(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(wrong.answer)
    server.models["data"] = [*wrong.MODELS, {"id": "lora", "root": "org/lora", "parent": "m"}]
    load(server, adapter="lora")([request(0)])
    assert server.asked[-1].body["model"] == "lora"


def test_a_prompt_without_a_place_for_the_picture_is_an_error_of_its_own(start: Callable[[Behaviour], Hostile]) -> None:
    first, second = load(start(wrong.answer))([replace(request(0), prompt="no picture"), request(1)])
    assert "[IMG] 0 times" in (first.error or "")
    assert second.text == "caption 1"


# --- what is answered ----------------------------------------------------------------------------------------------


def given(behave: Behaviour, start: Callable[[Behaviour], Hostile]) -> CaptionResult:
    return load(start(behave))([request(0)])[0]


def test_an_answer_becomes_a_result(start: Callable[[Behaviour], Hostile]) -> None:
    assert given(wrong.answer, start) == CaptionResult(
        text="caption 0", prompt_tokens=7, completion_tokens=2, finish_reason="stop", mean_logprob=-0.375
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"finish_reason": "length"}, {"finish_reason": "length"}),
        ({"finish_reason": "eos_token"}, {"finish_reason": "stop"}),
        ({"logprobs": None}, {"mean_logprob": None}),
        ({"logprobs": {"content": []}}, {"mean_logprob": None}),
        ({"logprobs": {"content": [{"logprob": -1.0}, {"logprob": None}]}}, {"mean_logprob": None}),
        ({"logprobs": {"content": [{"logprob": float("nan")}]}}, {"mean_logprob": None}),
        ({"message": {"role": "assistant", "content": None}}, {"text": ""}),
    ],
)
def test_what_a_server_may_say_and_leave_out(
    changes: dict[str, Any], expected: dict[str, Any], start: Callable[[Behaviour], Hostile]
) -> None:
    result = given(lambda asked: asked.send(200, completion(**changes)), start)
    assert result.error is None
    assert {key: getattr(result, key) for key in expected} == expected


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", None])
def test_a_caption_that_ended_for_another_reason_is_an_error(
    reason: str | None, start: Callable[[Behaviour], Hostile]
) -> None:
    result = given(lambda asked: asked.send(200, completion(finish_reason=reason)), start)
    assert repr(reason) in (result.error or "")


def test_results_stand_in_the_order_of_requests_and_no_more_are_in_flight_than_may(
    start: Callable[[Behaviour], Hostile],
) -> None:
    """Four at a time are let go together, the last first; were there fewer in flight, it would wait for ever."""
    together, here, most = threading.Barrier(4), [0], [0]
    order = [threading.Event() for _ in range(12)]

    def behave(asked: Asked) -> None:
        with asked.server.lock:
            here[0] += 1
            most[0] = max(most[0], here[0])
        together.wait(60)
        if asked.seed % 4 < 3:
            order[asked.seed + 1].wait(60)
        with asked.server.lock:
            here[0] -= 1
        wrong.answer(asked)
        order[asked.seed].set()

    captioner = load(start(behave), requests_in_flight=4)
    for block in range(3):
        results = captioner(requests(12)[4 * block : 4 * block + 4])
        assert texts(results) == [f"caption {seed}" for seed in range(4 * block, 4 * block + 4)]
    assert most == [4]


def test_requests_are_drawn_as_places_become_free(start: Callable[[Behaviour], Hostile]) -> None:
    drawn: list[int] = []

    def draw() -> Iterator[CaptionRequest]:
        for one in requests(20):
            drawn.append(one.frame_number)
            yield one

    captioner = load(start(wrong.answer), requests_in_flight=3)
    seen = []
    for count, (one, result) in enumerate(captioner.stream(draw()), start=1):
        assert len(drawn) <= count + 3
        seen.append(one.frame_number)
        assert result.text == f"caption {one.seed}"
    assert sorted(seen) == list(range(20))


# --- what goes wrong -----------------------------------------------------------------------------------------------

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
    result = given(lambda asked: asked.send(200, b"x" * (1 << 20)), start)
    assert "more than 65536 bytes" in (result.error or "")


def test_an_answer_in_drops_runs_out_of_time(start: Callable[[Behaviour], Hostile]) -> None:
    def drip(asked: Asked) -> None:
        asked.send(200, b"{", length=10**6)
        while not asked.server.closing.wait(0.05):
            asked.connection.sendall(b" ")

    (result,) = load(start(drip), timeout_seconds=0.3, retries=0)([request(0)])
    assert "no whole answer within 0.3 s" in (result.error or "")


# --- who it is -----------------------------------------------------------------------------------------------------


def test_who_it_is_hangs_on_names_and_what_is_said_of_the_weights(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(wrong.answer)
    origin = captioners.identify(config(server))
    assert origin == captioners.Origin("m", None, {"checkpoint id": "m", "checkpoint root": "org/m"})
    server.models = {"data": [wrong.MODELS[0] | {"created": 2, "max_model_len": 8}]}
    assert captioners.identify(config(server)) == origin
    server.models = {"data": [wrong.MODELS[0] | {"root": "org/other"}]}
    assert captioners.identify(config(server)) != origin
    stated = captioners.identify(config(server, revision="c0ffee"))
    assert (stated.checkpoint, stated.weights["revision"]) == ("m@c0ffee", "c0ffee")
    assert load(server).notes == {"server": "vllm", "max_model_len": 4096}


def test_an_adapter_says_what_it_stands_on(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(wrong.answer)
    adapter = {"id": "lora", "root": "org/lora", "parent": "m"}
    server.models = {"data": [*wrong.MODELS, adapter, wrong.MODELS[0] | {"id": "alias"}, {"id": "other", "root": "x"}]}
    origin = captioners.identify(config(server, adapter="lora"))
    assert origin.adapter == "lora"
    assert {key: value for key, value in origin.weights.items() if key.startswith("adapter")} == {
        "adapter id": "lora", "adapter root": "org/lora", "adapter parent": "m",
    }  # fmt: skip
    assert captioners.identify(config(server, checkpoint="alias", adapter="lora")).adapter == "lora"
    with pytest.raises(CheckpointError, match="stands on 'm', not on 'other'"):
        captioners.identify(config(server, checkpoint="other", adapter="lora"))


@pytest.mark.parametrize("changes", [{"checkpoint": "n"}, {"adapter": "lora"}])
def test_an_unknown_name_answers_with_what_there_is(
    changes: dict[str, str], start: Callable[[Behaviour], Hostile]
) -> None:
    with pytest.raises(CheckpointError, match=r"It has: m\."):
        captioners.identify(config(start(wrong.answer), **changes))


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(TransientError, match=f"{url} does not say.*Start it"):
        captioners.identify(config(url))


@pytest.mark.parametrize("models", [{"data": "none"}, {"data": [{"name": "m"}]}, {}])
def test_a_server_of_something_else_is_said(models: Any, start: Callable[[Behaviour], Hostile]) -> None:
    server = start(wrong.answer)
    server.models = models
    with pytest.raises(TransientError, match="no list of models"):
        captioners.identify(config(server))


# --- constrained ---------------------------------------------------------------------------------------------------


def constrained(text: str, start: Callable[[Behaviour], Hostile], finish_reason: str = "stop") -> CaptionResult:
    server = start(lambda asked: asked.send(200, completion(text, finish_reason=finish_reason)))
    return load(server, decoding="constrained")([request(0)])[0]


@pytest.mark.parametrize(("who", "field"), [("vllm", "structured_outputs"), ("sglang", "ebnf")])
def test_the_grammar_goes_into_the_servers_own_field(
    who: str, field: str, start: Callable[[Behaviour], Hostile]
) -> None:
    server = start(lambda asked: asked.send(200, completion("a dog")))
    server.models = {"data": [wrong.MODELS[0] | {"owned_by": who}]}
    load(server, decoding="constrained")([request(0)])
    grammar = tag_grammar.text_for(request(0).detections)
    assert server.asked[-1].body[field] == ({"grammar": grammar} if who == "vllm" else grammar)
    load(server)([request(0)])
    assert field not in server.asked[-1].body


def test_a_server_of_which_no_such_field_is_known_is_not_asked(start: Callable[[Behaviour], Hostile]) -> None:
    server = start(wrong.answer)
    server.models = {"data": [{"id": "m"}]}
    with pytest.raises(ConfigError, match='decoding = "free"'):
        load(server, decoding="constrained")


def test_a_server_that_passes_over_the_grammar_is_found_out(start: Callable[[Behaviour], Hostile]) -> None:
    result = constrained(tags.render("object", "dog", ["dog-7"], "a dog"), start)
    assert "did not keep to the grammar" in (result.error or "")


WHOLE = "Here " + tags.render("object", "person", ["person-0"], "a man") + " waits"
TAG = tags.render("location", "wall", ["wall-0"], "by the wall")


@pytest.mark.parametrize("length", range(len(TAG)))
def test_what_stands_in_a_tag_that_was_cut_off_is_left_out(length: int, start: Callable[[Behaviour], Hostile]) -> None:
    result = constrained(WHOLE + TAG[:length], start, "length")
    assert (result.text, result.finish_reason, result.error) == (WHOLE, "length", None)


def test_a_whole_caption_at_the_limit_stays_as_it_is(start: Callable[[Behaviour], Hostile]) -> None:
    assert constrained(WHOLE + TAG, start, "length").text == WHOLE + TAG


def test_by_the_grammars_text_alone_no_caption_is_at_fault(serve: Callable[..., tuple[str, Any]]) -> None:
    """Over the socket, with the EBNF read by llguidance: what is sent is a grammar, and it suffices."""
    url, _ = serve({"toyworld": CaptionConfig(checkpoint=str(TRAINED), device="cpu")})
    how = {"checkpoint": "toyworld", "temperature": 1.0, "max_new_tokens": 40}
    asked = [replace(one, prompt=prompts.render("groundcap-story", one.detections)) for one in requests(16)]
    free, kept = (captioners.load(config(url, decoding=mode, **how))(asked) for mode in ("free", "constrained"))
    assert any(caption_check.check(one.text, asked[0].detections).codes for one in free)
    assert [one.error for one in kept] == [None] * len(kept)
    said = [one.text for one in kept if one.text]  # one that was cut off in the tag it begins with has none
    assert [text for text in said if caption_check.check(text, asked[0].detections).codes] == []
    assert sum("<" in text for text in said) > 2
    assert "length" in {one.finish_reason for one in kept}
