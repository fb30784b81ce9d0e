"""LoRA adapters as PEFT saves them: applied whole, or refused with the names of what was not."""

import json
import logging
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import adapter_making
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from test_captioners import alike, mixed, request
from test_captions import frame, people, put, rows
from transformers import LlavaForConditionalGeneration

from storage.store import Store
from tasks.adapter_weights import CONFIG, WEIGHTS, apply_adapter
from tasks.captioners import CaptionConfig, identify, pixtral
from tasks.captions import caption_frames
from tasks.errors import CheckpointError, ConfigError, TransientError
from tasks.training.recipes import LoraRecipe
from toyworld.tiny_captioner import build_tiny_captioner

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
"""PEFT 0.21 asks transformers 5.23 in its old way."""

TEXT_MODEL = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
BARE = ["q_proj", "v_proj"]
BARE_TEXT = "language_model.layers.0.self_attn.q_proj"
FLOAT_NOISE = 1e-4


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_captioner(tmp_path_factory.mktemp("tiny") / "base")


def save_adapter(base: Path, folder: Path, targets: Any, **more: Any) -> Path:
    model: Any = LlavaForConditionalGeneration.from_pretrained(base)
    return adapter_making.save_adapter(model, folder, targets, lora_alpha=8, **more)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(base, tmp_path_factory.mktemp("adapter") / "lora", TEXT_MODEL)


@pytest.fixture
def spoilt(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "lora"))


@pytest.fixture
def config(base: Path, adapter: Path) -> CaptionConfig:
    return CaptionConfig(checkpoint=str(base), adapter=str(adapter), max_new_tokens=16, device="cpu")


def retold(folder: Path, change: Any) -> Path:
    """The adapter with its tensors put through `change`, from a dict to a dict."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=torch.tensor([[1, 3, 50, 60, 70, 4]])).logits)


def test_merged_is_what_peft_gives_unmerged(base: Path, adapter: Path) -> None:
    plain: Any = LlavaForConditionalGeneration.from_pretrained(base).eval()
    before = logits(plain)
    theirs: Any = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), adapter).eval()
    ours, applied = apply_adapter(plain, adapter, merge=True)
    assert torch.allclose(logits(ours), logits(theirs), atol=FLOAT_NOISE)
    assert applied.merge_loss == 0
    assert (logits(ours) - before).abs().max() > 0.1
    assert applied.present == applied.applied == 2 * applied.modules == 2 * 7 * 2
    assert applied.ignored == 0
    assert (applied.renamed, applied.outside_text_model, applied.targeted_without_tensors) == (0, 0, 0)
    assert not any("lora" in name for name, _ in ours.named_parameters())


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.:UserWarning")
@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens", "q_proj"]])
def test_a_weight_that_two_modules_share_is_changed_for_those_that_are_adapted(
    base: Path, targets: list[str], tmp_path: Path
) -> None:
    """lm_head and embed_tokens are one weight here: added into it, the change of one would be the other's too."""
    plain: Any = LlavaForConditionalGeneration.from_pretrained(base)
    plain.config.tie_word_embeddings = plain.config.text_config.tie_word_embeddings = True
    plain.tie_weights()
    tied = tmp_path / "tied"
    plain.save_pretrained(tied)
    reads, writes = plain.get_input_embeddings(), plain.get_output_embeddings()
    assert reads.weight is writes.weight
    folder = save_adapter(tied, tmp_path / "lora", [name.replace("q_proj", BARE_TEXT) for name in targets])
    theirs: Any = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(tied), folder).eval()
    beside, _ = apply_adapter(LlavaForConditionalGeneration.from_pretrained(tied).eval(), folder)
    merged, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(tied).eval(), folder, merge=True)
    assert torch.equal(logits(beside), logits(theirs))
    assert torch.allclose(logits(merged), logits(theirs), atol=FLOAT_NOISE)
    assert (logits(merged) - logits(plain.eval())).abs().max() > 0.1
    assert applied.outside_text_model == 0
    merged.save_pretrained(tmp_path / "merged")
    again: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(logits(again), logits(merged))


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_tokens_are_read_and_written_as_the_adapter_has_them(base: Path, tied: bool, tmp_path: Path) -> None:
    plain: Any = LlavaForConditionalGeneration.from_pretrained(base)
    plain.config.tie_word_embeddings = plain.config.text_config.tie_word_embeddings = tied
    plain.tie_weights()
    plain.save_pretrained(tmp_path / "base")
    folder = save_adapter(tmp_path / "base", tmp_path / "lora", TEXT_MODEL, trainable_token_indices=[50, 60, 200])
    rows = "base_model.model.model.language_model.embed_tokens.token_adapter.trainable_tokens_delta"
    retold(folder, lambda tensors: tensors | {rows: 3 * tensors[rows] + 0.1})
    load = partial(LlavaForConditionalGeneration.from_pretrained, tmp_path / "base")
    theirs: Any = peft.PeftModel.from_pretrained(load(), folder).eval()
    without: Any = load().eval()
    beside, applied = apply_adapter(load().eval(), folder)
    merged, _ = apply_adapter(load().eval(), folder, merge=True)
    assert applied.present == applied.applied == 2 * applied.modules + 1
    assert torch.equal(logits(beside), logits(theirs))
    assert torch.allclose(logits(merged), logits(theirs), atol=FLOAT_NOISE)
    reads, writes = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    assert (reads is writes) == tied
    changed = [
        one for one in range(len(reads)) if not torch.equal(reads[one], without.get_input_embeddings().weight[one])
    ]
    assert changed == [50, 60, 200]
    merged.save_pretrained(tmp_path / "merged")
    again: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(logits(again), logits(merged))


def test_rows_of_tokens_that_are_not_asked_for_are_an_error(base: Path, tmp_path: Path) -> None:
    folder = save_adapter(base, tmp_path / "lora", TEXT_MODEL, trainable_token_indices=[50, 60])
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
    folder = save_adapter(base, tmp_path / "lora", [BARE_TEXT, "lm_head"], trainable_token_indices=[50, 60])
    with pytest.raises(CheckpointError, match=r"adapts lm_head too; take one of the two"):
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder, merge=True)
    with pytest.raises(ConfigError, match="leave it and lm_head out of targets"):
        LoraRecipe(rank=2, alpha=2, targets=("mlp.up_proj", "lm_head"), train_tokens=True)


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
    folder = save_adapter(base, tmp_path / "a", TEXT_MODEL, rank_pattern={name: 2}, alpha_pattern={name: 64})
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
    folder = save_adapter(base, tmp_path / "bare", BARE)
    theirs: Any = peft.PeftModel.from_pretrained(LlavaForConditionalGeneration.from_pretrained(base), folder).eval()
    with caplog.at_level(logging.WARNING):
        ours, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), folder)
    assert (applied.modules, applied.outside_text_model) == (8, 4)
    assert "outside the language model" in caplog.text
    merged = theirs.merge_and_unload().get_submodule(TOWER).weight
    ours, _ = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base).eval(), folder, merge=True)
    assert torch.allclose(ours.get_submodule(TOWER).weight, merged, atol=FLOAT_NOISE)


def test_old_module_paths_of_the_vision_tower_and_the_projector_are_known_too(base: Path, tmp_path: Path) -> None:
    folder = save_adapter(base, tmp_path / "bare", [*BARE, "linear_1"])
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
    folder = save_adapter(base, tmp_path / "bare", BARE)
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


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.detach().float() - other.detach().float()).norm())


def test_merging_into_bfloat16_loses_of_a_small_adapter_and_says_how_much(
    base: Path, spoilt: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A weight of 0.1 is told apart from its neighbour by 0.0005 there; the change is made as small as that."""
    retold(spoilt, lambda tensors: {key: v * (0.02 if "lora_B" in key else 1) for key, v in tensors.items()})

    def load(dtype: torch.dtype) -> Any:
        return LlavaForConditionalGeneration.from_pretrained(base, dtype=dtype).eval()

    plain = load(torch.bfloat16)
    exact, _ = apply_adapter(load(torch.bfloat16).float(), spoilt, merge=True)
    with caplog.at_level(logging.WARNING):
        merged, applied = apply_adapter(load(torch.bfloat16), spoilt, merge=True)
    before, wanted, got = (torch.cat([p.float().flatten() for p in one.parameters()]) for one in (plain, exact, merged))
    assert applied.merge_loss == pytest.approx(distance(got, wanted) / distance(before, wanted), abs=1e-5)
    assert 0.05 < applied.merge_loss < 1
    assert "merge_adapter = false" in caplog.text
    beside, _ = apply_adapter(load(torch.bfloat16), spoilt)
    layers = [one.get_submodule("model.language_model.layers.0.self_attn.q_proj") for one in (plain, exact, merged)]
    start, truth, rounded = (layer.weight.detach().float() for layer in layers)
    layer = beside.get_submodule("model.language_model.layers.0.self_attn.q_proj")
    kept = layer.get_delta_weight("default").detach()
    assert kept.dtype == torch.float32
    assert distance(kept, truth - start) < 1e-5 * float(kept.norm())
    assert distance(rounded - start, truth - start) > 0.05 * float(kept.norm())


def test_merged_and_unmerged_are_two_models_with_the_same_captions(config: CaptionConfig) -> None:
    beside, merged = pixtral.load(config), pixtral.load(replace(config, merge_adapter=True))
    assert beside.loaded is not merged.loaded
    assert (beside.notes["adapter"]["merge_loss"], merged.notes["adapter"]["merge_loss"]) == (None, 0)
    for one, other in zip(beside(mixed()), merged(mixed()), strict=True):
        assert alike(one, other)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_an_adapter_that_is_no_number_is_refused_by_name(config: CaptionConfig, spoilt: Path, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        next(tensor for key, tensor in tensors.items() if "layers.1.mlp.up_proj.lora_B" in key)[0, 0] = value
        return tensors

    retold(spoilt, spoil)
    with pytest.raises(CheckpointError, match=r"no finite numbers in .*layers\.1\.mlp\.up_proj\.lora_B"):
        pixtral.load(replace(config, adapter=str(spoilt)))


def test_the_lm_head_belongs_to_the_language_model(base: Path, tmp_path: Path) -> None:
    folder = save_adapter(base, tmp_path / "head", ["lm_head", "linear_1"])
    _, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert (applied.modules, applied.outside_text_model) == (2, 1)


def test_a_pattern_that_matches_everything_below_names_no_module_twice(base: Path, tmp_path: Path) -> None:
    pattern = r".*language_model.*_proj"
    folder = save_adapter(base, tmp_path / "wide", pattern)
    said = json.loads((folder / CONFIG).read_text())
    said["target_modules"] = pattern + ".*"
    (folder / CONFIG).write_text(json.dumps(said))
    _, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert applied.targeted_without_tensors == 0


@pytest.mark.parametrize("step", ["_wrap", "_merge"])
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
    folder = save_adapter(base, tmp_path / "one", ["self_attn.q_proj"], layers_to_transform=[1])
    _, applied = apply_adapter(LlavaForConditionalGeneration.from_pretrained(base), folder)
    assert (applied.modules, applied.targeted_without_tensors) == (1, 1)
