"""An adapter of the published layout on Pixtral-12B's own module tree, without its weights: on the meta device."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlavaConfig, LlavaForConditionalGeneration, MistralConfig, PixtralVisionConfig

from tasks.adapter_weights import CONFIG, WEIGHTS, apply_adapter
from tasks.errors import CheckpointError

WIDTHS = {
    "self_attn.q_proj": (5120, 4096), "self_attn.k_proj": (5120, 1024), "self_attn.v_proj": (5120, 1024),
    "self_attn.o_proj": (4096, 5120), "mlp.gate_proj": (5120, 14336), "mlp.up_proj": (5120, 14336),
    "mlp.down_proj": (14336, 5120),
}  # fmt: skip
"""(in, out) of a layer's linear modules."""
RANK, LAYERS = 16, 40


def pixtral_12b() -> Any:
    """All modules of mistral-community/pixtral-12b, without memory for their values."""
    vision = PixtralVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=1024,
        patch_size=16, hidden_act="silu", rope_parameters={"rope_type": "default", "rope_theta": 1e4},
    )  # fmt: skip
    text = MistralConfig(
        vocab_size=131072, hidden_size=5120, intermediate_size=14336, num_hidden_layers=LAYERS, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, max_position_embeddings=131072, sliding_window=None,
        rope_parameters={"rope_type": "default", "rope_theta": 1e9}, tie_word_embeddings=False,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=10, projector_hidden_act="gelu",
        vision_feature_layer=-1, vision_feature_select_strategy="full", tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        return LlavaForConditionalGeneration(config)


def published_layout(folder: Path, prefix: str, missing: str = "-", bare: bool = True) -> Path:
    """An adapter with the modules, shapes and rank of PixtralGroundCap, as PEFT 0.13 wrote them."""
    tensors = {}
    for layer in range(LAYERS):
        for module, (wide_in, wide_out) in WIDTHS.items():
            name = f"base_model.model.{prefix}layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = torch.zeros(RANK, wide_in, dtype=torch.bfloat16)
            tensors[f"{name}.lora_B.weight"] = torch.zeros(wide_out, RANK, dtype=torch.bfloat16)
    folder.mkdir()
    save_file({key: value for key, value in tensors.items() if missing not in key}, folder / WEIGHTS)
    targets = [name.rpartition(".")[2] if bare else name for name in WIDTHS]
    said = {"peft_type": "LORA", "r": RANK, "lora_alpha": 32, "target_modules": targets, "bias": "none"}
    (folder / CONFIG).write_text(json.dumps(said))
    return folder


NO_VALUES = pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter:UserWarning")


@NO_VALUES
@pytest.mark.parametrize(
    ("prefix", "bare", "renamed_", "reached"),
    [("language_model.model.", True, 560, 24 * 7), ("model.language_model.", False, 0, 0)],
    ids=["old", "new"],
)
def test_the_published_adapters_keys_all_find_their_place_in_pixtral_12b(
    tmp_path: Path, prefix: str, bare: bool, renamed_: int, reached: int
) -> None:
    """Bare names (q_proj) also reach modules of the vision tower; they stay as they are."""
    model = pixtral_12b()
    assert sum(value.numel() for value in model.parameters()) == pytest.approx(12.7e9, rel=0.01)
    model, applied = apply_adapter(model, published_layout(tmp_path / "lora", prefix, bare=bare))
    assert (applied.present, applied.applied, applied.ignored) == (560, 560, 0)
    assert (applied.modules, applied.renamed) == (280, renamed_)
    assert (applied.outside_text_model, applied.targeted_without_tensors) == (0, reached)
    adapted = {name.partition(".lora_")[0] for name, _ in model.named_parameters() if ".lora_" in name}
    assert len(adapted) == 280
    assert all(name.startswith("model.language_model.layers.") for name in adapted)


def test_what_the_published_adapters_file_lacks_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = published_layout(tmp_path / "lora", "language_model.model.", missing="layers.39.mlp.up_proj")
    with pytest.raises(CheckpointError, match=r"no tensors for: model\.language_model\.layers\.39\.mlp\.up_proj\."):
        apply_adapter(pixtral_12b(), folder)
