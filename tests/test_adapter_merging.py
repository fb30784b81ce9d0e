"""LoRA adapters added into the weights: what PEFT gives unmerged, and how much of it rounding takes."""

import logging
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from adapter_making import BARE_TEXT, FLOAT_NOISE, PEFT_ASKS, TEXT_MODEL, logits, retold, save_pixtral_adapter
from safetensors.torch import load_file
from test_captioners import alike, mixed
from transformers import LlavaForConditionalGeneration

from tasks.adapter_weights import WEIGHTS, apply_adapter
from tasks.captioners import CaptionConfig, pixtral
from tasks.errors import CheckpointError

pytestmark = PEFT_ASKS
ROWS = "base_model.model.model.language_model.embed_tokens.token_adapter.trainable_tokens_delta"


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


def with_tie(base: Path, folder: Path, *, tied: bool = True) -> Path:
    """The small Pixtral with one weight for what it reads and writes, or two."""
    plain: Any = LlavaForConditionalGeneration.from_pretrained(base)
    plain.config.tie_word_embeddings = plain.config.text_config.tie_word_embeddings = tied
    plain.tie_weights()
    plain.save_pretrained(folder)
    return folder


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings=True.:UserWarning")
@pytest.mark.parametrize("targets", [["lm_head"], ["embed_tokens"], ["lm_head", "embed_tokens", "q_proj"]])
def test_a_weight_that_two_modules_share_is_changed_for_those_that_are_adapted(
    base: Path, targets: list[str], tmp_path: Path
) -> None:
    """lm_head and embed_tokens are one weight here: added into it, the change of one would be the other's too."""
    tied = with_tie(base, tmp_path / "tied")
    plain: Any = LlavaForConditionalGeneration.from_pretrained(tied)
    reads, writes = plain.get_input_embeddings(), plain.get_output_embeddings()
    assert reads.weight is writes.weight
    folder = save_pixtral_adapter(tied, tmp_path / "lora", [name.replace("q_proj", BARE_TEXT) for name in targets])
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


def changed_rows(one: torch.Tensor, other: torch.Tensor) -> list[int]:
    return (one != other).any(dim=1).nonzero().flatten().tolist()


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_tokens_are_read_and_written_as_the_adapter_has_them(base: Path, tied: bool, tmp_path: Path) -> None:
    plain = with_tie(base, tmp_path / "base", tied=tied)
    folder = save_pixtral_adapter(plain, tmp_path / "lora", TEXT_MODEL, trainable_token_indices=[50, 60, 200])
    retold(folder, lambda tensors: tensors | {ROWS: 3 * tensors[ROWS] + 0.1})
    load = partial(LlavaForConditionalGeneration.from_pretrained, plain)
    theirs: Any = peft.PeftModel.from_pretrained(load(), folder).eval()
    without: Any = load().eval()
    beside, applied = apply_adapter(load().eval(), folder)
    merged, _ = apply_adapter(load().eval(), folder, merge=True)
    assert applied.present == applied.applied == 2 * 7 * 2 + 1
    assert (applied.modules, applied.outside_text_model) == (7 * 2 + 1, 0)
    assert torch.equal(logits(beside), logits(theirs))
    assert torch.allclose(logits(merged), logits(theirs), atol=FLOAT_NOISE)
    reads, writes = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
    assert (reads is writes) == tied
    assert changed_rows(reads, without.get_input_embeddings().weight) == [50, 60, 200]
    assert changed_rows(writes, without.get_output_embeddings().weight) == ([50, 60, 200] if tied else [])
    merged.save_pretrained(tmp_path / "merged")
    again: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(logits(again), logits(merged))


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.detach().float() - other.detach().float()).norm())


def lost(plain: Any, exact: Any, merged: Any) -> float:
    before, wanted, got = (torch.cat([p.float().flatten() for p in one.parameters()]) for one in (plain, exact, merged))
    return distance(got, wanted) / distance(before, wanted)


def test_merging_into_bfloat16_loses_of_a_small_adapter_and_says_how_much(
    base: Path, adapter: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A weight of 0.1 is told apart from its neighbour by 0.0005 there; the change is made as small as that."""
    small = Path(shutil.copytree(adapter, tmp_path / "lora"))
    retold(small, lambda tensors: {key: v * (0.02 if "lora_B" in key else 1) for key, v in tensors.items()})

    def load(dtype: torch.dtype) -> Any:
        return LlavaForConditionalGeneration.from_pretrained(base, dtype=dtype).eval()

    plain = load(torch.bfloat16)
    exact, _ = apply_adapter(load(torch.bfloat16).float(), small, merge=True)
    with caplog.at_level(logging.WARNING):
        merged, applied = apply_adapter(load(torch.bfloat16), small, merge=True)
    assert applied.merge_loss == pytest.approx(lost(plain, exact, merged), abs=1e-5)
    assert 0.05 < applied.merge_loss < 1
    assert "merge_adapter = false" in caplog.text
    beside, _ = apply_adapter(load(torch.bfloat16), small)
    layers = [one.get_submodule("model.language_model.layers.0.self_attn.q_proj") for one in (plain, exact, merged)]
    start, truth, rounded = (layer.weight.detach().float() for layer in layers)
    layer = beside.get_submodule("model.language_model.layers.0.self_attn.q_proj")
    kept = layer.get_delta_weight("default").detach()
    assert kept.dtype == torch.float32
    assert distance(kept, truth - start) < 1e-5 * float(kept.norm())
    assert distance(rounded - start, truth - start) > 0.05 * float(kept.norm())


@pytest.mark.parametrize("pairs", [0, 0.02], ids=["alone", "beside LoRA pairs"])
@pytest.mark.parametrize("tied", [True, False])
def test_merging_into_bfloat16_loses_of_rows_of_tokens_too(
    base: Path, tied: bool, pairs: float, tmp_path: Path
) -> None:
    """They are changed by a fiftieth, and told apart there by a 256th."""
    plain = with_tie(base, tmp_path / "base", tied=tied)
    folder = save_pixtral_adapter(plain, tmp_path / "lora", TEXT_MODEL, trainable_token_indices=[50, 60, 200])
    turned = 1 + 0.02 * torch.randn(load_file(folder / WEIGHTS)[ROWS].shape, generator=torch.Generator().manual_seed(1))
    retold(folder, lambda tensors: {
        key: value * (turned if key == ROWS else pairs if "lora_B" in key else 1) for key, value in tensors.items()
    })  # fmt: skip
    load = partial(LlavaForConditionalGeneration.from_pretrained, plain, dtype=torch.bfloat16)
    exact, whole = apply_adapter(load().float(), folder, merge=True)
    merged, applied = apply_adapter(load(), folder, merge=True)
    assert applied.merge_loss == pytest.approx(lost(load(), exact, merged), abs=1e-5)
    assert 0.05 < (applied.merge_loss or 0) < 1
    assert whole.merge_loss == 0


def test_rows_of_tokens_that_the_number_format_has_not_cannot_be_merged(base: Path, tmp_path: Path) -> None:
    folder = save_pixtral_adapter(base, tmp_path / "lora", TEXT_MODEL, trainable_token_indices=[50, 60])
    retold(folder, lambda tensors: tensors | {ROWS: tensors[ROWS] + 1e6})
    with pytest.raises(CheckpointError, match="cannot be added into the weights"):
        apply_adapter(LlavaForConditionalGeneration.from_pretrained(base, dtype=torch.float16), folder, merge=True)


def test_merged_and_unmerged_are_two_models_with_the_same_captions(base: Path, adapter: Path) -> None:
    config = CaptionConfig(checkpoint=str(base), adapter=str(adapter), max_new_tokens=16, device="cpu")
    beside, merged = pixtral.load(config), pixtral.load(replace(config, merge_adapter=True))
    assert beside.loaded is not merged.loaded
    assert (beside.notes["adapter"]["merge_loss"], merged.notes["adapter"]["merge_loss"]) == (None, 0)
    for one, other in zip(beside(mixed()), merged(mixed()), strict=True):
        assert alike(one, other)
