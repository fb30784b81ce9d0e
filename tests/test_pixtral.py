"""Pixtral on a tiny checkpoint with random weights: real classes, real files, compared with the stock path."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_captioners import alike, mixed, request
from test_captions import frame, people, put, rows
from transformers import LlavaForConditionalGeneration

from storage.store import Store
from tasks import continuous_batching
from tasks.captioners import CaptionConfig, pixtral
from tasks.captions import caption_frames
from tasks.errors import CheckpointError, ConfigError, TransientError
from tasks.pixtral_inputs import PixtralInputs
from toyworld.tiny_captioner import build_tiny_captioner, tiny_tokenizer

CPU = torch.device("cpu")
FLOAT_NOISE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_captioner(tmp_path_factory.mktemp("tiny") / "captioner")


@pytest.fixture(scope="module")
def config(folder: Path) -> CaptionConfig:
    return CaptionConfig(checkpoint=str(folder), max_new_tokens=24, device="cpu")


@pytest.fixture(scope="module")
def inputs(folder: Path) -> PixtralInputs:
    return PixtralInputs(folder)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """The checkpoint once more, to be spoilt."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that a test spoils are not met again."""
    monkeypatch.setattr(pixtral, "_models", replace(pixtral._models, held=dict(pixtral._models.held)))


# --- requests that cannot be read ------------------------------------------------------------------------------------


def test_a_picture_of_which_nothing_would_be_left_is_an_error_of_its_own(config: CaptionConfig) -> None:
    thread = replace(request(0), image=np.zeros((1, 3000, 3), np.uint8))
    good = request(1)
    captioner = pixtral.load(config)
    first, second = captioner([thread, good])
    assert "too narrow" in (first.error or "")
    assert alike(captioner([good])[0], second)


def test_a_prompt_that_does_not_fit_is_an_error_of_its_own(config: CaptionConfig, copied: Path) -> None:
    said = json.loads((copied / "config.json").read_text())
    said["text_config"]["max_position_embeddings"] = 300
    (copied / "config.json").write_text(json.dumps(said))
    long, short = request(0), request(1, objects=0)
    first, second = pixtral.load(replace(config, checkpoint=str(copied)))([long, short])
    assert "more than the model's 300" in (first.error or "")
    assert first.prompt_tokens > 276
    assert second.error is None


# --- the model against the stock path --------------------------------------------------------------------------------


def test_vision_side_by_side_is_the_stock_towers_long_sequence(folder: Path) -> None:
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    pixels = torch.randn(3, 3, 48, 80, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([[48, 80]] * 3)
    with torch.inference_mode():
        stock = model.get_image_features(pixels, image_sizes=sizes).pooler_output
        ours = pixtral.image_features(model, pixels)
    assert torch.allclose(ours, torch.stack(list(stock)), atol=FLOAT_NOISE)
    assert not torch.allclose(ours[0], ours[1], atol=0.1)


def test_greedy_text_and_logprob_are_the_stock_models(config: CaptionConfig, folder: Path) -> None:
    """One request through transformers' own forward, ids and pixels, token after token."""
    one = request(0)
    result = pixtral.load(config)([one])[0]
    model: Any = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    inputs = PixtralInputs(folder)
    read = inputs(one.prompt, one.image)
    ids, logprobs = torch.tensor([read.ids]), []
    with torch.inference_mode():
        for _ in range(config.max_new_tokens):
            out = model(
                input_ids=ids, pixel_values=read.pixels[None], image_sizes=torch.tensor([read.pixels.shape[1:]])
            )
            step = out.logits[0, -1].log_softmax(-1)
            token = int(step.argmax())
            logprobs.append(float(step[token]))
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            if token == 2:
                break
    made = ids[0, len(read.ids) :].tolist()
    assert result.text == inputs.text(made)
    assert result.completion_tokens == len(made)
    assert result.prompt_tokens == len(read.ids)
    assert result.mean_logprob == pytest.approx(sum(logprobs) / len(logprobs), abs=FLOAT_NOISE)
    assert result.finish_reason == ("stop" if made[-1] == 2 else "length")


def test_picture_and_detections_reach_the_text(config: CaptionConfig) -> None:
    captioner = pixtral.load(config)
    base = request(0, (160, 128), objects=1)
    pictures = [replace(base, image=request(index, (160, 128)).image) for index in range(6)]
    lists = [request(0, (160, 128), objects=2 * index) for index in range(6)]
    assert len({one.text for one in captioner(pictures)}) > 3
    assert len({one.text for one in captioner(lists)}) > 3


def test_both_ways_to_finish_are_met_and_told_apart(config: CaptionConfig) -> None:
    results = pixtral.load(replace(config, temperature=1.0))([request(index) for index in range(12)])
    assert {one.finish_reason for one in results} == {"stop", "length"}
    for one in results:
        assert (one.completion_tokens == config.max_new_tokens) or one.finish_reason == "stop"


def test_settings_of_the_checkpoint_change_nothing(config: CaptionConfig, copied: Path) -> None:
    surprising = {
        "do_sample": True, "temperature": 5.0, "top_k": 2, "repetition_penalty": 9.0, "max_new_tokens": 2,
        "num_beams": 3, "eos_token_id": [2, 300], "no_repeat_ngram_size": 1, "suppress_tokens": list(range(14, 400)),
        "min_new_tokens": 20, "num_return_sequences": 2, "_from_model_config": False,
    }  # fmt: skip
    (copied / "generation_config.json").write_text(json.dumps(surprising))
    told = pixtral.load(replace(config, checkpoint=str(copied)))(mixed())
    assert told == pixtral.load(config)(mixed())


def test_logits_that_are_not_numbers_are_errors_not_captions(config: CaptionConfig, copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    weights["language_model.lm_head.weight"] *= float("nan")
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    (result,) = pixtral.load(replace(config, checkpoint=str(copied)))([request(0)])
    assert "not a number" in (result.error or "")
    assert result.text == ""


# --- sampling --------------------------------------------------------------------------------------------------------


def test_seeds_decide_and_differ(config: CaptionConfig) -> None:
    captioner = pixtral.load(replace(config, temperature=1.0))
    same = [request(0, seed=7), request(0, seed=8), request(0, seed=7), request(0, seed=2**63 - 1)]
    one, two, three, four = (result.text for result in captioner(same))
    assert one == three
    assert len({one, two, four}) == 3


# --- memory and devices ----------------------------------------------------------------------------------------------


def test_a_batch_that_does_not_fit_the_gpu_is_halved_with_the_same_captions(
    config: CaptionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, temperature=0.9)
    frames = [frame(index) for index in range(5)]
    whole = Store(str(tmp_path / "whole"))
    expected = rows(whole, caption_frames(*put(whole, frames, people(1)), whole, config))
    read, sizes = continuous_batching.read_prompts, []

    def crowded(text: Any, embeddings: torch.Tensor, *given: Any) -> Any:
        sizes.append(len(embeddings))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return read(text, embeddings, *given)

    monkeypatch.setattr(continuous_batching, "read_prompts", crowded)
    store = Store(str(tmp_path / "store"))
    ref = caption_frames(*put(store, frames, people(1)), store, config)
    got, footer = rows(store, ref), store.footer(ref.path)
    assert footer is not None
    assert footer.notes["rows_at_once"] > 2 == footer.notes["rows_halved_to"]
    assert "rows_halved_to" not in whole.footer(ref.path).notes  # type: ignore[union-attr]
    assert sizes[:2] == [5, 2]
    assert sum(sizes[1:]) == 5, "and nothing is read twice"
    assert all(one.error is None for one in got)
    assert [(one.text, one.seed, one.completion_tokens) for one in got] == [
        (one.text, one.seed, one.completion_tokens) for one in expected
    ]


def test_halving_is_told_also_when_streaming_gives_way_to_batches(
    config: CaptionConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory suffices for two captions; then the stream breaks, and what is left is asked for a few at a time."""
    read, calls = continuous_batching.read_prompts, []

    def crowded(text: Any, embeddings: torch.Tensor, *given: Any) -> Any:
        calls.append(len(embeddings))
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if len(calls) == 3:
            raise RuntimeError("a kernel that does not like this")
        return read(text, embeddings, *given)

    monkeypatch.setattr(continuous_batching, "read_prompts", crowded)
    store = Store(str(tmp_path / "store"))
    ref = caption_frames(*put(store, [frame(index) for index in range(5)], people(1)), store, config)
    footer = store.footer(ref.path)
    assert footer is not None
    assert all(one.error is None for one in rows(store, ref))
    assert calls[:2] == [5, 2]
    assert footer.notes["rows_at_once"] > 2 == footer.notes["rows_halved_to"]


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), MemoryError),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), MemoryError),
        (torch.AcceleratorError("CUDA error: device-side assert"), TransientError),
        (RuntimeError("sizes do not match"), RuntimeError),
    ],
)
def test_the_devices_errors_are_translated(
    config: CaptionConfig, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    captioner = pixtral.load(config)

    def fail(*_given: Any) -> Any:
        raise raised

    monkeypatch.setattr(continuous_batching, "read_tokens", fail)
    with pytest.raises(expected) as caught:
        captioner([request(0)])
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "raised",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["gpu", "cpu"],
)
def test_memory_that_does_not_suffice_for_loading_is_transient(
    config: CaptionConfig, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    def full(*_args: Any, **_given: Any) -> Any:
        raise raised

    monkeypatch.setattr(pixtral, "_models", replace(pixtral._models, held={}))
    monkeypatch.setattr(pixtral.LLAVA, "from_pretrained", full)
    with pytest.raises(TransientError, match="loading"):
        pixtral.load(config)


def test_a_device_that_is_not_there_says_so(config: CaptionConfig) -> None:
    with pytest.raises(ConfigError):
        pixtral.load(replace(config, device="cuda:99"))


def test_bfloat16_runs_and_is_another_model_than_float32(config: CaptionConfig) -> None:
    half = pixtral.load(replace(config, dtype="bfloat16"))
    assert half.notes["dtype"] == "bfloat16"
    assert half.loaded is not pixtral.load(config).loaded
    (result,) = half([request(0)])
    assert result.error is None


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_one_model_per_process_whatever_the_sampling(config: CaptionConfig) -> None:
    first = pixtral.load(config).loaded
    assert pixtral.load(replace(config, temperature=1.0, max_new_tokens=3, batch_size=2)).loaded is first


def test_the_tiny_checkpoint_is_the_same_for_the_same_seed(folder: Path, tmp_path: Path) -> None:
    again, other = build_tiny_captioner(tmp_path / "a"), build_tiny_captioner(tmp_path / "b", seed=1)
    names = sorted(path.name for path in folder.iterdir())
    assert [(again / name).read_bytes() for name in names] == [(folder / name).read_bytes() for name in names]
    assert (other / "model.safetensors").read_bytes() != (folder / "model.safetensors").read_bytes()
    assert len(tiny_tokenizer()) < 1000


def test_weights_under_the_hubs_names_and_under_todays_are_found(config: CaptionConfig, copied: Path) -> None:
    """The hub's checkpoint, and so the tiny one, says language_model.model; transformers says model.language_model."""
    weights = load_file(copied / "model.safetensors")
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in weights
    renamed = {todays_name(key): value for key, value in weights.items()}
    assert not set(renamed) & set(weights)
    save_file(renamed, copied / "model.safetensors", metadata={"format": "pt"})
    assert pixtral.load(replace(config, checkpoint=str(copied)))(mixed()) == pixtral.load(config)(mixed())


def todays_name(key: str) -> str:
    if key.startswith("language_model.lm_head"):
        return key.removeprefix("language_model.")
    return f"model.{key}".replace("model.language_model.model.", "model.language_model.", 1)


def spoil_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["multi_modal_projector.linear_1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def spoil_config(folder: Path, **changes: Any) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**said, **changes}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_weights, "does not have all"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "cannot be loaded"),
        (lambda folder: spoil_config(folder, image_token_index=11), r"\[IMG\] is 10"),
        (lambda folder: spoil_config(folder, vision_feature_layer=-2), "another layer"),
        (lambda folder: (folder / "preprocessor_config.json").write_text("["), "cannot be read"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(config: CaptionConfig, copied: Path, spoil: Any, words: str) -> None:
    spoil(copied)
    with pytest.raises(CheckpointError, match=words):
        pixtral.load(replace(config, checkpoint=str(copied)))


def test_the_whole_stage_twice_is_the_same_bytes(config: CaptionConfig, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        store = Store(str(tmp_path / name))
        frames = [frame(index, (48, 32) if index % 3 else (32, 32)) for index in range(6)]
        ref = caption_frames(*put(store, frames, people(1)), store, replace(config, temperature=0.7, candidates=2))
        files.append((Path(store.location) / ref.path).read_bytes())
        assert len(rows(store, ref)) == 12
    assert files[0] == files[1]
