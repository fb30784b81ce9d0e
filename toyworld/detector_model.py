"""The drawn world's detector: a small Mask2Former on a ResNet, of the hub's classes and in its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessorPil

from toyworld.vocabulary import LABELS, THINGS

SIZE = (448, 256)
"""(width, height) that the processor makes of every picture, in pixels. Twice the drawn world's pictures: the finest
masks a ResNet allows are a quarter of its input, and at a quarter of 224 x 128 chairs have no legs."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUERIES = 24
"""Twice as many segments as the fullest scenes have."""

MODEL: Any = Mask2FormerForUniversalSegmentation


def detector_config(**changes: Any) -> Mask2FormerConfig:
    """The architecture. `changes` replace single settings, `backbone` those of the backbone."""
    backbone: dict[str, Any] = {
        "model_type": "resnet",
        "embedding_size": 24,
        "hidden_sizes": [24, 48, 96, 128, 160],
        "depths": [1, 2, 3, 2, 1],
        "layer_type": "basic",
        "out_features": ["stage1", "stage2", "stage3", "stage4", "stage5"],
    } | changes.pop("backbone", {})
    settings: dict[str, Any] = {
        "feature_size": 64,
        "mask_feature_size": 64,
        "hidden_dim": 64,
        "encoder_feedforward_dim": 256,
        "encoder_layers": 1,
        "dim_feedforward": 256,
        "decoder_layers": 7,
        "feature_strides": [4, 8, 16, 32, 64],
        "num_attention_heads": 4,
        "num_queries": QUERIES,
        "no_object_weight": 0.1,
        "train_num_points": 1024,
    } | changes
    return Mask2FormerConfig(
        backbone_config=backbone,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        thing_ids=list(range(len(THINGS))),
        **settings,
    )


def detector_processor(size: tuple[int, int] = SIZE) -> Any:
    """Resizes every picture to size (width, height), whatever its shape, without padding."""
    return Mask2FormerImageProcessorPil(
        size={"height": size[1], "width": size[0]},
        image_mean=MEAN,
        image_std=DEVIATION,
        ignore_index=255,
        size_divisor=1,  # no padding
        num_labels=len(LABELS),
    )


def new_detector(seed: int, **changes: Any) -> Any:
    """An untrained model, in evaluation mode; the same for the same seed and settings."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODEL(detector_config(**changes))
    return model.eval()


def model_input(images: Tensor) -> Tensor:
    """What the processor makes of uint8 pictures of its size (n, height, width, 3): float32 (n, 3, height, width)."""
    mean, deviation = (255 * torch.tensor(values, device=images.device)[:, None, None] for values in (MEAN, DEVIATION))
    # contiguous: in the order that pictures have, torch 2.13 trains slower on a CPU, and writes beyond its memory
    return (images.permute(0, 3, 1, 2).float().contiguous() - mean) / deviation


def write_detector(model: Any, weights: Mapping[str, Tensor], folder: Path) -> Path:
    """Write config.json, preprocessor_config.json and model.safetensors in half precision; give back the folder.

    `weights` replace those of `model`, which stays as it is: a training run writes its averaged ones.
    """
    halved = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    copy = MODEL(model.config).half()
    copy.load_state_dict(halved)
    copy.save_pretrained(folder)
    detector_processor().save_pretrained(folder)
    return folder
