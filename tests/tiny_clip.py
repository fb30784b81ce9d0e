"""A CLIP of two layers with random weights, in the hub's classes and file layout."""

import json
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizerFast

DIMENSIONS = 8


def build_tiny_clip(folder: Path) -> Path:
    """Write it; gives the folder. Texts have 32 tokens at most, letters are its words."""
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *(one + end for one in map(chr, range(97, 123)) for end in ("", "</w>")),
    ]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizerFast(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=32
    ).save_pretrained(folder)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(words), "max_position_embeddings": 32, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**small, **text, "pad_token_id": 1},
        vision_config={**small, "image_size": 32, "patch_size": 8},
        projection_dim=DIMENSIONS,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder
