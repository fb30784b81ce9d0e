"""LoRA adapters with weights that matter, saved as PEFT saves them."""

from pathlib import Path
from typing import Any

import peft
import torch


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
