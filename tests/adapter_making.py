"""LoRA adapters with weights that matter, saved as PEFT saves them."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlavaForConditionalGeneration

from tasks.adapter_weights import WEIGHTS

TEXT_MODEL = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
BARE_TEXT = "language_model.layers.0.self_attn.q_proj"
FLOAT_NOISE = 1e-4
PEFT_ASKS = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
"""PEFT 0.21 asks transformers 5.23 in its old way."""


def save_adapter(model: Any, folder: Path, targets: Any, std: float = 0.2, **more: Any) -> Path:
    """An adapter of rank 4 on a model's target modules; nothing is trained, its weights are random, always the same."""
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets, **more))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=std, generator=generator)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def save_pixtral_adapter(base: Path, folder: Path, targets: Any, **more: Any) -> Path:
    """Likewise, on the small Pixtral in a folder."""
    model: Any = LlavaForConditionalGeneration.from_pretrained(base)
    return save_adapter(model, folder, targets, lora_alpha=8, **more)


def retold(folder: Path, change: Any) -> Path:
    """The adapter with its tensors put through `change`, from a dict to a dict."""
    save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def logits(model: Any) -> torch.Tensor:
    """What a small Pixtral writes after some tokens."""
    with torch.inference_mode():
        return torch.as_tensor(model(input_ids=torch.tensor([[1, 3, 50, 60, 70, 4]])).logits)
