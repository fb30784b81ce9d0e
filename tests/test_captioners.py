"""What every captioner has to keep, asked of each one that is there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_prompts import card_detections
from tiny_blip import build_tiny_blip, build_tiny_blip2

from tasks import captioners, consistency, prompts, tags
from tasks.captioners import CaptionConfig, CaptionRequest, CaptionResult, ServerConfig
from tasks.errors import CheckpointError, UnknownNameError
from toyworld.tiny_captioner import build_tiny_captioner

TOLERANCE = 1e-4
"""Of a mean log-probability: batches of other shapes add up in another order."""


@pytest.fixture(scope="module", params=captioners.available())
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CaptionConfig:
    """A configuration of each backend that needs no download."""
    if request.param == "scripted":
        return CaptionConfig(backend="scripted", checkpoint="")
    if request.param == "pixtral":
        folder = build_tiny_captioner(tmp_path_factory.mktemp("tiny"))
        return CaptionConfig(backend="pixtral", checkpoint=str(folder), max_new_tokens=24, device="cpu")
    if request.param == "server":
        folder = build_tiny_captioner(tmp_path_factory.mktemp("tiny"))
        url, _ = request.getfixturevalue("serve")({"tiny": CaptionConfig(checkpoint=str(folder), device="cpu")})
        return CaptionConfig(
            backend="server", checkpoint="tiny", max_new_tokens=24, server=ServerConfig(url=url, requests_in_flight=4)
        )
    if request.param in ("blip", "blip2"):
        folder = {"blip": build_tiny_blip, "blip2": build_tiny_blip2}[request.param](tmp_path_factory.mktemp("tiny"))
        return CaptionConfig(backend=request.param, checkpoint=str(folder), template="a-photo-of", device="cpu")
    pytest.fail(f"{request.param} is new: say here how to make a small checkpoint of it")


def request(
    index: int, size: tuple[int, int] = (48, 32), seed: int | None = None, objects: int = 12,
    template: str = "groundcap-card",
) -> CaptionRequest:  # fmt: skip
    found = card_detections()[:objects]
    return CaptionRequest(
        frame_id=f"m000_{index:06}",
        frame_number=index,
        candidate=0,
        image=np.random.default_rng(index).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8),
        detections=found,
        prompt=prompts.render(template, found),
        seed=index if seed is None else seed,
    )


def mixed(template: str = "groundcap-card") -> list[CaptionRequest]:
    sizes = [(48, 32), (32, 48), (48, 32), (160, 16), (16, 16)]
    return [request(index, size, objects=3 * index, template=template) for index, size in enumerate(sizes)]


def alike(one: CaptionResult, other: CaptionResult) -> bool:
    assert one.mean_logprob is not None
    assert other.mean_logprob == pytest.approx(one.mean_logprob, abs=TOLERANCE)
    return replace(one, mean_logprob=None) == replace(other, mean_logprob=None)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_hang_on_what_stands_beside_it(config: CaptionConfig, temperature: float) -> None:
    captioner = captioners.load(replace(config, temperature=temperature))
    requests = mixed(config.template)
    alone = [captioner([one])[0] for one in requests]
    together = captioner(requests)
    backwards = captioner(requests[::-1])[::-1]
    for one, two, three in zip(alone, together, backwards, strict=True):
        assert alike(one, two)
        assert alike(one, three)


def test_the_same_again_is_the_same(config: CaptionConfig) -> None:
    captioner = captioners.load(replace(config, temperature=0.8, top_p=0.9))
    first, again = captioner(mixed(config.template)), captioner(mixed(config.template))
    if config.backend == "server":  # which requests are worked on together there hangs on time
        assert all(alike(one, other) for one, other in zip(first, again, strict=True))
    else:
        assert first == again


def test_results_are_complete(config: CaptionConfig) -> None:
    most = captioners.completed(config).max_new_tokens
    for result in captioners.load(config)(mixed(config.template)):
        assert result.error is None
        assert result.text.strip()
        assert result.finish_reason in ("stop", "length")
        assert result.prompt_tokens > 0
        assert 0 < result.completion_tokens <= most or config.backend == "scripted"
        assert result.mean_logprob is not None
        assert result.mean_logprob <= 0
        assert "</s>" not in result.text


def test_nothing_asked_is_nothing_answered(config: CaptionConfig) -> None:
    assert captioners.load(config)([]) == []


def test_origin_is_known_without_loading_and_stable(config: CaptionConfig) -> None:
    origin = captioners.identify(config)
    assert origin == captioners.identify(replace(config, temperature=0.5, batch_size=3))
    assert origin.checkpoint
    assert origin.adapter is None
    assert all(isinstance(value, str) and value for value in origin.weights.values())


def test_notes_are_plain_values(config: CaptionConfig) -> None:
    import json

    notes = captioners.load(config).notes
    assert json.loads(json.dumps(dict(notes))) == dict(notes)


def test_the_pictures_are_left_as_they_are(config: CaptionConfig) -> None:
    requests = mixed(config.template)
    before = [one.image.copy() for one in requests]
    captioners.load(config)(requests)
    assert all(np.array_equal(one.image, copy) for one, copy in zip(requests, before, strict=True))


def test_an_unknown_captioner_answers_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'pixtral'"):
        captioners.load(CaptionConfig(backend="pixtal"))


def test_a_checkpoint_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        captioners.identify(CaptionConfig(checkpoint=str(tmp_path)))
    with pytest.raises(CheckpointError):
        captioners.identify(CaptionConfig(backend="scripted", checkpoint=str(tmp_path / "none.json")))


def scripted(requests: Sequence[CaptionRequest]) -> list[str]:
    return [result.text for result in captioners.load(CaptionConfig(backend="scripted"))(requests)]


@pytest.mark.parametrize("objects", range(13))
def test_the_scripted_caption_is_well_formed_and_cites_what_is_there(objects: int) -> None:
    (text,) = scripted([request(0, objects=objects)])
    parsed = tags.parse(text)
    assert parsed.well_formed
    assert consistency.check(text, card_detections()[:objects]).codes == []
    cited = {object_id for mention in parsed.mentions for object_id in mention.object_ids}
    assert cited <= {one.object_id for one in card_detections()[:objects]}
    assert bool(cited) == bool(objects)


def test_the_seed_varies_the_scripted_caption() -> None:
    assert len(set(scripted([request(0, seed=seed) for seed in range(8)]))) > 1


def test_a_script_is_played_back_by_frame_number_and_candidate(tmp_path: Path) -> None:
    script = tmp_path / "s.json"
    script.write_text('{"m000_000000": "by id", "0": "never", "1": ["first", "second"]}')
    captioner = captioners.load(CaptionConfig(backend="scripted", checkpoint=str(script)))
    base = request(1)
    again = [CaptionRequest(**{**vars(base), "candidate": candidate}) for candidate in range(3)]
    assert [one.text for one in captioner([request(0), *again])] == ["by id", "first", "second", "second"]
