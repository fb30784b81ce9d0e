"""Captions that come and go in a batch: each the same as by transformers' own `generate`, one at a time."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_captioners import alike, request
from transformers import GenerationConfig, LlavaForConditionalGeneration

from tasks import continuous_batching, prompts
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, pixtral
from tasks.errors import TransientError
from tasks.mistral_layers import Cache, Prefix, read_prefix, read_prompts, read_tokens
from tasks.pixtral_inputs import PixtralInputs
from toyworld.tiny_captioner import build_tiny_captioner

SIZES = [(48, 32), (32, 48), (48, 32), (160, 16), (16, 16), (48, 32), (64, 64)]
TOKENS = 24
FLOAT_NOISE = 1e-4


@pytest.fixture(scope="module", params=[None, 40], ids=["full attention", "sliding window"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = build_tiny_captioner(tmp_path_factory.mktemp("tiny") / "captioner", seed=1)
    said = json.loads((path / "config.json").read_text())
    said["text_config"]["sliding_window"] = request.param
    (path / "config.json").write_text(json.dumps(said))
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> CaptionConfig:
    """A configuration with full attention alone."""
    path = build_tiny_captioner(tmp_path_factory.mktemp("tiny") / "captioner", seed=1)
    return CaptionConfig(checkpoint=str(path), max_new_tokens=TOKENS, device="cpu", batch_size=3)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a test spoils are not met again."""
    monkeypatch.setattr(pixtral, "_models", replace(pixtral._models, held=dict(pixtral._models.held)))


def asked(template: str = "groundcap-card", count: int = 12) -> list[CaptionRequest]:
    """Pictures of several sizes and prompts of several lengths."""
    made = [request(index, SIZES[index % len(SIZES)], objects=(5 * index) % 13) for index in range(count)]
    return [replace(one, prompt=prompts.render(template, one.detections)) for one in made]


def by_generate(folder: Path, requests: list[CaptionRequest]) -> list[tuple[str, int]]:
    """(text, tokens) by transformers alone: its vision tower, its cache, its loop."""
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    inputs = PixtralInputs(folder)
    settings: Any = GenerationConfig
    chosen = settings(max_new_tokens=TOKENS, do_sample=False, bos_token_id=1, eos_token_id=2, pad_token_id=11)
    found = []
    for one in requests:
        read = inputs(one.prompt, one.image)
        made = model.generate(
            input_ids=torch.tensor([read.ids]),
            attention_mask=torch.ones(1, len(read.ids), dtype=torch.long),
            pixel_values=read.pixels[None],
            image_sizes=torch.tensor([read.pixels.shape[1:]]),
            generation_config=chosen,
        )[0, len(read.ids) :].tolist()
        found.append((inputs.text(made), len(made)))
    return found


@pytest.mark.parametrize("template", [name for name, one in prompts.TEMPLATES.items() if "{detections}" in one.user])
def test_greedy_captions_are_those_of_generate_whatever_the_batch(folder: Path, template: str) -> None:
    requests = asked(template)
    expected = by_generate(folder, requests)
    assert len({tokens for _, tokens in expected}) > 2, "some end early, or nothing comes and goes"
    assert len({text for text, _ in expected}) > 6
    for rows in (1, 2, 5, 32):
        config = CaptionConfig(
            checkpoint=str(folder), max_new_tokens=TOKENS, device="cpu", template=template, batch_size=rows
        )
        captioner = pixtral.load(config)
        assert captioner.loaded.inputs.shared_ids(template), "prompts begin alike, and that is read once"
        assert [(one.text, one.completion_tokens) for one in captioner(requests)] == expected


def test_the_layers_are_transformers_own(folder: Path) -> None:
    """Hidden states of prompts of unequal length, with and without a prefix, and of the tokens after them."""
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    text = model.model.language_model
    generator = torch.Generator().manual_seed(0)
    words = text.config.vocab_size
    ids = [torch.randint(14, words, (length,), generator=generator) for length in (50, 9, 33)]
    for one in ids:
        one[:6] = ids[0][:6]
    after = torch.randint(14, words, (3, 7), generator=generator)
    with torch.inference_mode():
        for begins in (0, 6):
            prefix = read_prefix(text, ids[0][:begins].tolist())
            assert isinstance(prefix, Prefix)
            cache, longest = Cache(text), max(map(len, ids))
            padded = torch.stack([torch.nn.functional.pad(one, (0, longest - len(one)), value=5) for one in ids])
            lengths = [len(one) for one in ids]
            states = [read_prompts(text, text.embed_tokens(padded[:, begins:]), lengths, cache, 0, prefix)]
            for step in range(after.shape[1]):
                states.append(read_tokens(text, after[:, step].tolist(), [one + step for one in lengths], cache))
            for row, one in enumerate(ids):
                stock = text(input_ids=torch.cat([one, after[row]])[None]).last_hidden_state[0, len(one) - 1 :]
                assert torch.allclose(torch.stack([state[row] for state in states]), stock, atol=FLOAT_NOISE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sampled_caption_is_the_same_alone_and_among_others_that_come_and_go(
    plain: CaptionConfig, dtype: str
) -> None:
    config = replace(plain, temperature=0.9, top_p=0.95, dtype=dtype)
    requests = asked()
    alone = [pixtral.load(config)([one])[0] for one in requests]
    assert len({one.completion_tokens for one in alone}) > 2
    for rows in (3, 32):
        together = pixtral.load(replace(config, batch_size=rows))(requests)
        if dtype == "float32":
            assert all(alike(one, other) for one, other in zip(alone, together, strict=True))
        again = pixtral.load(replace(config, batch_size=rows))(requests)
        assert again == together, "to the bit"
        assert all(one.error is None for one in together)


def test_shared_beginnings_change_nothing(plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    with_prefix = pixtral.load(plain)(asked())
    monkeypatch.setattr(PixtralInputs, "shared_ids", lambda *_given: ())
    without = pixtral.load(plain)(asked())
    assert all(alike(one, other) for one, other in zip(with_prefix, without, strict=True))


def test_a_prompt_that_does_not_begin_as_the_template_does_is_read_whole(plain: CaptionConfig) -> None:
    others = asked("groundcap-story", 4)
    mine = asked("groundcap-card", 4)
    mixed = [one for pair in zip(mine, others, strict=True) for one in pair]
    expected = pixtral.load(replace(plain, template="groundcap-story"))(others)
    got = pixtral.load(plain)(mixed)
    assert all(alike(one, other) for one, other in zip(expected, got[1::2], strict=True))


def test_candidates_of_a_frame_are_read_once(plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(plain, temperature=1.0, batch_size=4)
    frames = asked(count=3)
    requests = [replace(one, candidate=n, seed=10 * one.seed + n) for one in frames for n in range(3)]
    captioner = pixtral.load(config)
    alone = [captioner([one])[0] for one in requests]
    read: list[int] = []
    embed = pixtral._embed

    def counted(loaded: Any, group: Any, start: int) -> torch.Tensor:
        read.append(len(group))
        return embed(loaded, group, start)

    monkeypatch.setattr(pixtral, "_embed", counted)
    together = captioner(requests)
    assert all(alike(one, other) for one, other in zip(alone, together, strict=True))
    assert sum(read) < len(requests)
    assert len({one.text for one in together}) > 6


class NoToken:
    """A limit that forbids one token, and a caption that ends when it has accepted as many as it is long."""

    def __init__(self, forbidden: int) -> None:
        self.forbidden, self.accepted, self.error = forbidden, list[int](), None

    def accept(self, token: int) -> None:
        assert token != self.forbidden
        self.accepted.append(token)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_row_keeps_to_its_own_limit_and_knows_what_is_left(
    plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    config = replace(plain, temperature=temperature)
    requests = asked()
    captioner = pixtral.load(config)
    encode = captioner.loaded.inputs.tokenizer
    free = [encode(one.text, add_special_tokens=False)["input_ids"] for one in captioner(requests)]
    forbidden = {one.seed: (ids or [20])[-1] for one, ids in zip(requests, free, strict=True)}
    made: dict[int, list[NoToken]] = {}

    def limited(**given: Any) -> continuous_batching.Settings:
        return continuous_batching.Settings(**{**given, "keep_to": keep_to})

    def keep_to(limits: Any, left: Any, scores: torch.Tensor) -> None:
        for row, (limit, rest) in enumerate(zip(limits, left, strict=True)):
            assert rest == TOKENS - len(limit.accepted)
            scores[row, limit.forbidden] = float("-inf")

    def prompt(ids: Any, source: Any, seed: int, who: Any, *_limit: Any) -> continuous_batching.Prompt:
        def begin() -> NoToken:
            made.setdefault(seed, []).append(NoToken(forbidden[seed]))
            return made[seed][-1]

        return continuous_batching.Prompt(ids, source, seed, who, begin)

    monkeypatch.setattr(pixtral, "Settings", limited)
    monkeypatch.setattr(pixtral, "Prompt", prompt)
    got = captioner(requests)
    assert set(made) == {one.seed for one in requests}
    for one in made.values():
        assert one[-1].forbidden not in one[-1].accepted
    assert [len(made[one.seed][-1].accepted) for one in requests] == [one.completion_tokens for one in got]


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_row_of_no_numbers_hurts_no_other_and_none_that_comes_after(
    plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = asked()
    expected = pixtral.load(plain)(requests)
    spoilt = {1, 4}
    read = PixtralInputs.__call__

    def spoil(inputs: PixtralInputs, prompt: str, image: Any) -> Any:
        one = read(inputs, prompt, image)
        if any(image is requests[index].image for index in spoilt):
            one.pixels[:] = float("nan")
        return one

    monkeypatch.setattr(PixtralInputs, "__call__", spoil)
    got = pixtral.load(plain)(requests)
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        if index in spoilt:
            assert "not a number" in (other.error or "")
        else:
            assert alike(one, other)


def test_a_request_that_cannot_be_read_is_that_requests_error(
    plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = asked()
    expected = pixtral.load(plain)(requests)
    read = PixtralInputs.__call__

    def fail(inputs: PixtralInputs, prompt: str, image: Any) -> Any:
        if any(image is requests[index].image for index in (0, 5, 11)):
            raise RuntimeError("a picture of another kind")
        return read(inputs, prompt, image)

    monkeypatch.setattr(PixtralInputs, "__call__", fail)
    got = pixtral.load(plain)(requests)
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        assert "another kind" in (other.error or "") if index in (0, 5, 11) else alike(one, other)


@pytest.mark.parametrize("where", ["read_tokens", "read_prompts", "choose"])
def test_memory_that_ends_in_the_middle_costs_no_finished_caption_and_changes_none(
    plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = replace(plain, temperature=0.9, batch_size=6)
    requests = asked()
    expected = pixtral.load(config)(requests)
    work, calls = getattr(continuous_batching, where), []

    def crowded(*given: Any, **named: Any) -> Any:
        calls.append(given)
        if len(calls) in (4, 5):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return work(*given, **named)

    captioner = pixtral.load(config)
    monkeypatch.setattr(continuous_batching, where, crowded)
    found = list(captioner.stream(requests))
    assert len(calls) > 5
    assert len(found) == len(requests), "each is answered once"
    assert {id(one) for one, _ in found} == {id(one) for one in requests}
    answers = dict(found)
    assert all(alike(one, answers[asked_for]) for one, asked_for in zip(expected, requests, strict=True))


def test_a_caption_that_does_not_fit_alone_is_a_memory_error(
    plain: CaptionConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def full(_text: Any, tokens: Any, *_given: Any) -> Any:
        sizes.append(len(tokens))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(continuous_batching, "read_tokens", full)
    with pytest.raises(MemoryError):
        list(pixtral.load(replace(plain, batch_size=8)).stream(asked()))
    assert sizes[0] > 4
    assert sizes[1:] == [4, 2, 1]


def test_what_the_requests_raise_is_raised_and_no_thread_stays(plain: CaptionConfig) -> None:
    def requests() -> Iterator[CaptionRequest]:
        yield from asked(count=5)
        raise TransientError("the store went away")

    before = threading.active_count()
    with pytest.raises(TransientError, match="went away"):
        list(pixtral.load(plain).stream(requests()))
    begun = pixtral.load(plain).stream(iter(asked()))
    next(begun)
    begun.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_answers_and_their_order_do_not_hang_on_how_fast_pictures_come(plain: CaptionConfig) -> None:
    config = replace(plain, temperature=0.7)

    def slowly() -> Iterator[CaptionRequest]:
        for one in asked():
            time.sleep(0.02)
            yield one

    def told(found: Iterator[tuple[CaptionRequest, CaptionResult]]) -> list[tuple[str, CaptionResult]]:
        return [(one.frame_id, result) for one, result in found]

    slow, fast = pixtral.load(config), pixtral.load(config)
    assert told(slow.stream(slowly())) == told(fast.stream(asked()))
    assert slow.waiting_seconds > 0


def test_finished_captions_come_before_the_last_request_is_drawn(plain: CaptionConfig) -> None:
    drawn = 0

    def requests() -> Iterator[CaptionRequest]:
        nonlocal drawn
        for index in range(60):
            drawn += 1
            yield request(index, (16, 16), objects=0)

    found = pixtral.load(plain).stream(requests())
    next(found)
    assert drawn < 60, "what is read ahead is bounded"
    found.close()  # type: ignore[attr-defined]


def test_another_text_model_is_refused(plain: CaptionConfig, tmp_path: Path) -> None:
    from tasks.errors import CheckpointError

    copy = Path(shutil.copytree(plain.checkpoint, tmp_path / "copy"))
    said = json.loads((copy / "config.json").read_text())
    said["text_config"]["model_type"] = "llama"
    (copy / "config.json").write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match="llama, not mistral"):
        pixtral.load(replace(plain, checkpoint=str(copy)))


def test_pictures_do_reach_the_captions(plain: CaptionConfig) -> None:
    base = request(0, (64, 64), objects=1)
    noise = np.random.default_rng(5)
    pictures = [replace(base, image=noise.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(6)]
    assert len({one.text for one in pixtral.load(plain)(pictures)}) > 3
