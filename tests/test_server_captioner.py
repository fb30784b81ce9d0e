"""The captioner that asks a server, over real sockets: against one that behaves, and against one that does not."""

import base64
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile_server as wrong
import numpy as np
import pytest
from hostile_server import Asked, Behaviour, Hostile, completion
from PIL import Image
from server_asking import KEY, config, load, requests, texts
from test_captioners import request

from tasks import caption_check, captioners, prompts, tag_grammar, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult
from tasks.captioners.server import content
from tasks.errors import CheckpointError, ConfigError, TransientError

pytestmark = pytest.mark.usefixtures("quick_retries")

TRAINED = Path(__file__).parents[1] / "toyworld" / "checkpoints" / "captioner"


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


@pytest.mark.parametrize("count", [-1, 10**30, "7", 7.5, None])
def test_a_count_that_cannot_be_is_none(count: Any, start: Callable[[Behaviour], Hostile]) -> None:
    """It has to go into a column of 64 bits: else one answer would keep the whole shard out of the store."""
    said = json.loads(completion()) | {"usage": {"prompt_tokens": count, "completion_tokens": 2}}
    result = given(lambda asked: asked.send(200, json.dumps(said).encode()), start)
    assert (result.prompt_tokens, result.completion_tokens, result.error) == (0, 2, None)


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


HALF = "\ufffd"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (WHOLE + TAG + " " + HALF, WHOLE + TAG + " "),
        (f"A man waits {HALF}{HALF}", "A man waits "),
        (f"{WHOLE}{TAG[: TAG.index('by')]}{HALF}", WHOLE),
        ("... ", ""),
        (f'"{TAG[:-1]}', ""),
    ],
)
def test_half_a_character_costs_no_more_than_itself(
    written: str, kept: str, start: Callable[[Behaviour], Hostile]
) -> None:
    result = constrained(written, start, "length")
    assert (result.text, result.original_text, result.error) == (kept, written, None)


UNKNOWN = tags.render("object", "person", ["person-9"], "a man")


@pytest.mark.parametrize("rest", [UNKNOWN, UNKNOWN + " and waits", UNKNOWN + " and " + TAG[:9], TAG + "[IMG]", "[IMG]"])
def test_a_server_that_passes_over_the_grammar_is_found_out_at_the_limit_too(
    rest: str, start: Callable[[Behaviour], Hostile]
) -> None:
    """What is left out is half a tag, never a whole one that is at fault."""
    written = "There is " + rest
    result = constrained(written, start, "length")
    assert "did not keep to the grammar: " in (result.error or "")
    assert result.text == written


def test_what_a_model_says_when_it_refuses_is_no_caption(start: Callable[[Behaviour], Hostile]) -> None:
    message = {"role": "assistant", "content": None, "refusal": "I cannot help with this."}
    result = given(lambda asked: asked.send(200, completion(message=message)), start)
    assert result.text == "I cannot help with this."
    assert "refused" in (result.error or "")


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
