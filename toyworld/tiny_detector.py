"""A tiny Mask2Former with random weights: the real classes and file formats at a ten-thousandth of the size.

It finds nothing sensible, but it finds something, the same thing for the same seed and picture: enough to exercise all
that surrounds a detector.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import (
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    Mask2FormerImageProcessorPil,
)

from tasks.coco_panoptic import LABELS
from toyworld.random_weights import redraw

COCO_SIZE = {"height": 384, "width": 384}
"""What the COCO checkpoints resize pictures to."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASS_GAIN, MASK_GAIN, MASK_OFFSET = 150.0, 200.0, 8.0
"""Random weights say everything a little; these make them say one thing loudly, as trained ones do, and each query's
mask a part of the picture."""


def build_tiny_detector(
    folder: Path,
    labels: Sequence[str] = LABELS,
    *,
    seed: int = 0,
    queries: int = 20,
    size: dict[str, int] | None = None,
) -> Path:
    """Write config.json, preprocessor_config.json and model.safetensors; give back the folder.

    `labels` are the categories by index, COCO's 133 unless told otherwise. `size` is the processor's, as transformers
    writes it: the COCO checkpoints' 384 x 384 unless told otherwise; {"shortest_edge": 96, "longest_edge": 160} keeps
    the picture's shape instead.
    """
    config = tiny_config(labels, queries)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Mask2FormerForUniversalSegmentation(config)
    redraw(model, np.random.default_rng(seed))
    _speak_up(model)
    model.save_pretrained(folder)
    processor = Mask2FormerImageProcessorPil(
        size=size or COCO_SIZE, image_mean=MEAN, image_std=DEVIATION, ignore_index=255, size_divisor=32
    )
    processor.save_pretrained(folder)
    return folder


def tiny_config(labels: Sequence[str], queries: int = 20) -> Mask2FormerConfig:
    """The architecture of the COCO checkpoints with as few and as narrow layers as it takes."""
    backbone = {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 2, 2],
        "window_size": 4,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
    return Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=64,
        num_queries=queries,
        train_num_points=128,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
    )


@torch.no_grad()
def _speak_up(model: Mask2FormerForUniversalSegmentation) -> None:
    """Make the random heads decided: nearly one-hot classes, masks with inside and outside."""
    model.class_predictor.weight.mul_(CLASS_GAIN)
    features = model.model.pixel_level_module.decoder.mask_projection
    weight, bias = list(model.model.transformer_module.decoder.mask_predictor.mask_embedder.parameters())[-2:]
    weight.mul_(MASK_GAIN)
    # One channel of the features is made constant: it carries the offset that keeps masks small.
    features.weight[0], features.bias[0] = 0.0, 1.0
    weight[0], bias[0] = 0.0, -MASK_OFFSET
