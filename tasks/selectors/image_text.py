"""Cosine between picture and caption in a dual encoder's space (CLIP, SigLIP ...): does the text fit the picture?

Any checkpoint of transformers with get_image_features and get_text_features. The caption goes in without its tags, and
is cut off where the text encoder's positions end (CLIP: 77 tokens), so of a long caption only the beginning counts.
Hessel et al. 2021 (CLIPScore) use the same cosine, without the part below 0 and times 2.5, which changes no order.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasks.checkpoints import Checkpoint, find_checkpoint
from tasks.errors import CheckpointError
from tasks.selectors import DIGITS, ChooseConfig, Contender, Selector

COMPARABLE, NEEDS_CHECKPOINT, NEEDS_PICTURES = True, True, True
FEATURES = ("get_image_features", "get_text_features")

_loaded: dict[tuple[str, str], "DualEncoder"] = {}
_lock = threading.Lock()


def identify(config: ChooseConfig) -> dict[str, str]:
    """The checkpoint's digest. Raises CheckpointError."""
    return {"image_text": find_checkpoint(config.checkpoint, config.revision).digest}


def load(config: ChooseConfig) -> Selector:
    """The selector; its model is loaded once per process and device. Raises CheckpointError, TransientError."""
    from tasks.accelerator import pick_device

    checkpoint, device = find_checkpoint(config.checkpoint, config.revision), pick_device(config.device)
    with _lock:
        key = (checkpoint.digest, str(device))
        if key not in _loaded:
            _loaded[key] = _load(checkpoint, device)
        encoder = _loaded[key]
    return lambda contenders: encoder.values(contenders, config.batch_size)


def _load(checkpoint: Checkpoint, device: Any) -> "DualEncoder":
    from safetensors import SafetensorError
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    from tasks.accelerator import loading

    auto: Any = AutoModel
    processor: Any = AutoImageProcessor
    try:
        # Always Pillow's: torchvision's resizing rounds otherwise, and it may be installed on one machine only.
        pictures = processor.from_pretrained(checkpoint.folder, backend="pil")
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.folder, local_files_only=True)
        with loading(checkpoint.source):
            model, report = auto.from_pretrained(
                checkpoint.folder, use_safetensors=True, local_files_only=True, output_loading_info=True
            )
            model.to(device).float().eval().requires_grad_(False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{checkpoint.source} does not load as a dual encoder: {error}") from error
    if lacking := [name for name in FEATURES if not hasattr(model, name)]:
        raise CheckpointError(
            f"{checkpoint.source} is a {type(model).__name__}, which has no {' and no '.join(lacking)}. "
            "Give a dual encoder such as CLIP or SigLIP."
        )
    if missing := sorted(map(str, report["missing_keys"])):
        raise CheckpointError(f"{checkpoint.source} lacks {len(missing)} of the model's weights, such as {missing[0]}.")
    return DualEncoder(model, pictures, tokenizer)


@dataclass
class DualEncoder:
    """A loaded checkpoint. One request at a time: a device has one holder."""

    model: Any
    pictures: Any
    tokenizer: Any

    def values(self, contenders: Sequence[Contender], batch_size: int) -> list[float | None]:
        """Cosines, -1 to 1; None where there is no picture or no caption."""
        ready = [place for place, one in enumerate(contenders) if one.image is not None and one.caption.error is None]
        values: list[float | None] = [None] * len(contenders)
        for start in range(0, len(ready), batch_size):
            places = ready[start : start + batch_size]
            for place, value in zip(places, self._cosines([contenders[place] for place in places]), strict=True):
                values[place] = round(value, DIGITS)
        return values

    def _cosines(self, contenders: Sequence[Contender]) -> list[float]:
        import torch

        from tasks.accelerator import device_errors

        with device_errors(), torch.inference_mode():
            pixels = self.pictures(images=[one.image for one in contenders], return_tensors="pt")["pixel_values"]
            seen = _normal(self.model.get_image_features(pixel_values=pixels.to(self.model.device)))
            # Padded to the text encoder's length, as SigLIP was trained; the mask keeps it from others, such as CLIP.
            texts = self.tokenizer(
                [one.caption.plain_text for one in contenders],
                padding="max_length", truncation=True, max_length=self._positions(), return_tensors="pt",
            ).to(self.model.device)  # fmt: skip
            read = _normal(self.model.get_text_features(**texts))
            return [float(cosine) for cosine in (seen * read).sum(dim=-1).cpu()]

    def _positions(self) -> int:
        config = self.model.config
        positions: int = getattr(config, "text_config", config).max_position_embeddings
        return positions


def _normal(features: Any) -> Any:
    """Features (b, d) of length 1; transformers 5 gives them as `pooler_output`."""
    features = getattr(features, "pooler_output", features)
    return features / features.norm(dim=-1, keepdim=True).clamp_min(1e-12)
