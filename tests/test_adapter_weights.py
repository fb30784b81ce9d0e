"""LoRA adapters as PEFT saves them: applied whole, or refused with the names of what was not."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from adapter_making import BARE_TEXT, FLOAT_NOISE, PEFT_ASKS, TEXT_MODEL, logits, retold, save_pixtral_adapter
from safetensors.torch import load_file
from test_captioners import alike, mixed, request
from test_captions import frame, people, put, rows
from transformers import LlavaForConditionalGeneration

from storage.store import Store
from tasks.adapter_weights import CONFIG, WEIGHTS, apply_adapter
from tasks.captioners import CaptionConfig, identify, pixtral
from tasks.captions import caption_frames
from tasks.errors import CheckpointError, ConfigError, TransientError
from tasks.training.recipes import LoraRecipe

pytestmark = PEFT_ASKS
BARE = ["q_proj", "v_proj"]


@pytest.fixture
def spoilt(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "lora"))


@pytest.fixture
def config(base: Path, adapter: Path) -> CaptionConfig:
    return CaptionConfig(checkpoint=str(base), adapter=str(adapter), max_new_tokens=16, device="cpu")


def test_rows_of_tokens_that_are_not_asked_for_are_an_error(base: Path, tmp_path: Path) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "lora", TEXT_MODEL, trainable_token_indices=[50, 60])
    said = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(said | {"trainable_token_indices": None}))
    with pytest.raises(CheckpointError, match=r"trainable_tokens_delta"):
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    (folder / CONFIG).write_text(json.dumps(said | {"trainable_token_indices": [50, 60, 70]}))
    with pytest.raises(CheckpointError, match=r"does not fit this model"):
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    for wrong in ([50, 10**6], [-1, 50], [50, 50], "ab", {"embed_tokens": [10**6]}):
        (folder / CONFIG).write_text(json.dumps(said | {"trainable_token_indices": wrong}))
        with pytest.raises(CheckpointError, match=r"not different tokens of this model"):
            apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)


def test_rows_of_tokens_beside_an_adapter_of_the_same_rows_are_refused(base: Path, tmp_path: Path) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "lora", [BARE_TEXT, "lm_head"], trainable_token_indices=[50, 60])
    with pytest.raises(CheckpointError, match=r"adapts lm_head too; take one of the two"):
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder, merge=True)
    with pytest.raises(ConfigError, match="take embed_tokens and lm_head out of targets"):
        LoraRecipe(rank=2, alpha=2, targets=("mlp.up_proj", "lm_head"), train_tokens=True)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ([], r"has no LoRA pair, only rows of tokens .* at least one module of target_modules too"),
        (None, "has no LoRA pair"),
        ("all-linear", "has no LoRA pair"),
        (["v_proj"], r"names 2 modules of the text model .* no tensors for: .*v_proj.* is not whole"),
    ],
    ids=["none", "null", "all", "lost"],
)
def test_rows_of_tokens_alone_are_refused_with_the_reason(base: Path, tmp_path: Path, targets: Any, words: str) -> None:
    """An adapter without targets is none that PEFT makes or reads; one that has lost its LoRA pairs is not whole."""
    folder = save_pixtral_adapter(base, tmp_path / "lora", BARE, trainable_token_indices=[50, 60])
    retold(folder, lambda tensors: {key: value for key, value in tensors.items() if "lora_" not in key})
    said = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(said | {"target_modules": targets}))
    with pytest.raises(CheckpointError, match=words):
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)


def test_captions_change_and_say_so(config: CaptionConfig) -> None:
    plain, adapted = pixtral.load(replace(config, adapter=None)), pixtral.load(config)
    assert [one.text for one in plain(mixed())] != [one.text for one in adapted(mixed())]
    assert {adapted.notes["adapter"][name] for name in ("present", "applied")} == {28}
    assert adapted.notes["adapter"]["ignored"] == 0
    assert "adapter" not in plain.notes
    origin = identify(config)
    assert set(origin.weights) == {"checkpoint", "adapter"}
    assert (origin.adapter or "").startswith("lora@")


def test_the_row_and_the_fingerprint_know_the_adapter(config: CaptionConfig, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    refs = put(store, [frame(0)], people(0))
    plain = caption_frames(*refs, store, replace(config, adapter=None))
    assert rows(store, plain)[0].adapter is None
    adapted = caption_frames(*refs, store, config)
    assert adapted.fingerprint != plain.fingerprint
    assert rows(store, adapted)[0].adapter == identify(config).adapter
    footer = store.footer(adapted.path)
    assert footer is not None
    assert footer.notes["adapter"]["modules"] == 14


def old_key(key: str) -> str:
    return key.replace("base_model.model.model.language_model.", "base_model.model.language_model.model.")


def test_an_adapter_with_the_old_module_paths_is_applied_just_so(config: CaptionConfig, spoilt: Path) -> None:
    """PEFT 0.13.2 on transformers 4.4x, as the published adapter."""
    retold(spoilt, lambda tensors: {old_key(key): value for key, value in tensors.items()})
    assert not any("base_model.model.model." in key for key in load_file(spoilt / WEIGHTS))
    said = json.loads((spoilt / CONFIG).read_text())
    said["target_modules"] = r"language_model\.model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"  # the old paths here too
    (spoilt / CONFIG).write_text(json.dumps(said))
    old = pixtral.load(replace(config, adapter=str(spoilt)))
    assert old.notes["adapter"]["renamed"] == 28
    for one, other in zip(pixtral.load(config)(mixed()), old(mixed()), strict=True):
        assert alike(one, other)


def test_patterns_by_old_path_keep_their_meaning(base: Path, tmp_path: Path) -> None:
    name = "language_model.layers.0.self_attn.q_proj"
    folder = save_pixtral_adapter(base, tmp_path / "a", TEXT_MODEL, rank_pattern={name: 2}, alpha_pattern={name: 64})
    old = Path(shutil.copytree(folder, tmp_path / "b"))
    retold(old, lambda tensors: {old_key(key): value for key, value in tensors.items()})
    said = json.loads((old / CONFIG).read_text())
    for pattern in ("rank_pattern", "alpha_pattern"):
        said[pattern] = {"language_model.model.layers.0.self_attn.q_proj": said[pattern][name]}
    (old / CONFIG).write_text(json.dumps(said))
    one, other = (
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), path)[0] for path in (folder, old)
    )
    assert torch.equal(logits(one), logits(other))


TOWER = "model.vision_tower.transformer.layers.0.attention.q_proj"


def on_vision_tower() -> dict[str, torch.Tensor]:
    """A LoRA pair that fits into the vision tower, in an adapter that was aimed at the text model."""
    return {f"base_model.model.{TOWER}.lora_{part}.weight": torch.ones(shape) for part, shape in PAIR.items()}


PAIR = {"A": (4, 32), "B": (32, 4)}


def renamed(old: str, new: str) -> Any:
    return lambda tensors: {key.replace(old, new): value for key, value in tensors.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (renamed("layers.1.", "layers.7."), "14 of 28 adapter tensors have no module"),
        (renamed("base_model.model.model.language_model", "base_model.model.transformer"), "28 of 28"),
        (lambda tensors: {**tensors, "base_model.model.model.language_model.score": torch.ones(2)}, "1 of 29"),
        (
            lambda tensors: {key: v for key, v in tensors.items() if "layers.0.mlp.up_proj.lora_B" not in key},
            "one half",
        ),
        (lambda tensors: {key: v[:2].clone() if "lora_A" in key else v for key, v in tensors.items()}, "does not fit"),
        (lambda tensors: {}, "no tensors"),
        (lambda tensors: {key: v for key, v in tensors.items() if "layers.1.mlp" not in key}, r"is not whole"),
        (lambda tensors: {**tensors, **on_vision_tower()}, r"does not name 1 of the modules.*attention\.q_proj"),
    ],
    ids=["layer", "prefix", "stray", "half", "shape", "empty", "missing", "vision-tower"],
)
def test_a_tensor_that_is_not_applied_is_an_error(config: CaptionConfig, spoilt: Path, change: Any, words: str) -> None:
    retold(spoilt, change)
    with pytest.raises(CheckpointError, match=words):
        pixtral.load(replace(config, adapter=str(spoilt)))


def test_the_error_names_the_tensors(config: CaptionConfig, spoilt: Path) -> None:
    retold(spoilt, renamed("layers.1.mlp.gate_proj", "layers.1.mlp.door_proj"))
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.door_proj\.lora_A"):
        pixtral.load(replace(config, adapter=str(spoilt)))


def test_bare_names_reach_the_vision_tower_and_that_is_reported(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "bare", BARE)
    theirs: Any = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), folder).eval()
    with caplog.at_level(logging.WARNING):
        ours, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), folder)
    assert (applied.modules, applied.outside_text_model) == (8, 4)
    assert "outside the language model" in caplog.text
    merged = theirs.merge_and_unload().get_submodule(TOWER).weight
    ours, _ = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), folder, merge=True)
    assert torch.allclose(ours.get_submodule(TOWER).weight, merged, atol=FLOAT_NOISE)


def test_old_module_paths_of_the_vision_tower_and_the_projector_are_known_too(base: Path, tmp_path: Path) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "bare", [*BARE, "linear_1"])
    new, _ = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), folder, merge=True)
    vision = "base_model.model.model."
    retold(folder, lambda tensors: {
        old_key(key).replace(vision, "base_model.model."): value for key, value in tensors.items()
    })  # fmt: skip
    old, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), folder, merge=True)
    assert applied.present == applied.applied == applied.renamed == 2 * 9
    assert applied.outside_text_model == 5
    for one, other in zip(new.parameters(), old.parameters(), strict=True):
        assert torch.equal(one, other)


def test_targets_without_tensors_stay_as_they_are_and_are_reported(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "bare", BARE)
    retold(folder, lambda tensors: {key: value for key, value in tensors.items() if "vision_tower" not in key})
    plain: Any = LlavaForConditionalGeneration.from_pretrained(base)
    with caplog.at_level(logging.WARNING):
        ours, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert (applied.modules, applied.outside_text_model, applied.targeted_without_tensors) == (4, 0, 4)
    assert "has no tensors" in caplog.text
    assert torch.equal(ours.get_submodule(TOWER).weight, plain.get_submodule(TOWER).weight)


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (pickled, "safetensors"),
        (lambda folder: (folder / CONFIG).unlink(), "cannot be read"),
        (lambda folder: (folder / CONFIG).write_text('{"peft_type": "IA3"}'), "only LoRA"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"x" * 64), "damaged"),
    ],
    ids=["pickled", "no-config", "not-lora", "damaged"],
)
def test_a_folder_that_is_no_adapter_is_refused(config: CaptionConfig, spoilt: Path, spoil: Any, words: str) -> None:
    spoil(spoilt)
    with pytest.raises(CheckpointError, match=words):
        pixtral.load(replace(config, adapter=str(spoilt)))


def test_keys_of_another_version_of_peft_do_no_harm(config: CaptionConfig, spoilt: Path) -> None:
    said = json.loads((spoilt / CONFIG).read_text())
    said["a_key_of_the_future"] = 1
    said["megatron_config"] = None
    for key in ("corda_config", "trainable_token_indices", "exclude_modules"):  # not there in 0.13.2
        said.pop(key, None)
    (spoilt / CONFIG).write_text(json.dumps(said))
    (result,) = pixtral.load(replace(config, adapter=str(spoilt)))([request(0)])
    assert alike(pixtral.load(config)([request(0)])[0], result)


def test_unmerged_is_what_peft_gives(base: Path, adapter: Path) -> None:
    theirs: Any = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), adapter).eval()
    ours, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), adapter)
    assert isinstance(ours, LlavaForConditionalGeneration)
    assert torch.equal(logits(ours.eval()), logits(theirs))
    assert applied.merge_loss is None


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_adapter_that_is_no_number_is_refused_by_name(config: CaptionConfig, spoilt: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        next(tensor for key, tensor in tensors.items() if "layers.1.mlp.up_proj.lora_B" in key)[0, 0] = value
        return tensors

    retold(spoilt, spoil)
    with pytest.raises(CheckpointError, match=r"no finite numbers in .*layers\.1\.mlp\.up_proj\.lora_B"):
        pixtral.load(replace(config, adapter=str(spoilt)))


def test_the_lm_head_belongs_to_the_language_model(base: Path, tmp_path: Path) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "head", ["lm_head", "linear_1"])
    _, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert (applied.modules, applied.outside_text_model) == (2, 1)


def test_a_pattern_that_matches_everything_below_names_no_module_twice(base: Path, tmp_path: Path) -> None:
    pattern = r".*language_model.*_proj"
    folder = save_pixtral_adapter(base, tmp_path / "wide", pattern)
    said = json.loads((folder / CONFIG).read_text())
    said["target_modules"] = pattern + ".*"
    (folder / CONFIG).write_text(json.dumps(said))
    _, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert applied.targeted_without_tensors == 0


@pytest.mark.parametrize("step", ["_wrap", "merge_layers"])
def test_memory_that_does_not_suffice_for_an_adapter_is_transient(
    config: CaptionConfig, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_args: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pixtral, "_models", replace(pixtral._models, held={}))
    monkeypatch.setattr(f"tasks.adapter_weights.{step}", full)
    with pytest.raises(TransientError, match="loading"):
        pixtral.load(replace(config, merge_adapter=True))


def test_an_adapter_for_chosen_layers_is_whole_without_the_others(base: Path, tmp_path: Path) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "one", ["self_attn.q_proj"], layers_to_transform=[1])
    _, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert (applied.modules, applied.targeted_without_tensors) == (1, 1)
