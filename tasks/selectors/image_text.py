"""Cosine between picture and caption in a dual encoder's space (CLIP, SigLIP ...): does the text fit the picture?

Any checkpoint of transformers with get_image_features and get_text_features. The caption goes in without its tags, and
is cut off where the text encoder's positions end (CLIP: 77 tokens), so of a long caption only the beginning counts.
Hessel et al. 2021 (CLIPScore) use the same cosine, without the part below 0 and times 2.5, which changes no order.
"""

import math
import threading
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tasks.checkpoints import find_checkpoint
from tasks.selectors import DIGITS, ChooseConfig, Contender, Selector

if TYPE_CHECKING:
    from tasks.encoders import DualEncoder

COMPARABLE, NEEDS_CHECKPOINT, NEEDS_PICTURES = True, True, True

_loaded: "dict[tuple[str, str], DualEncoder]" = {}
_lock = threading.Lock()


def identify(config: ChooseConfig) -> dict[str, str]:
    """The checkpoint's digest. Raises CheckpointError."""
    return {"image_text": find_checkpoint(config.checkpoint, config.revision).digest}


def load(config: ChooseConfig) -> Selector:
    """The selector; its model is loaded once per process and device. Raises CheckpointError, TransientError."""
    from tasks.accelerator import pick_device
    from tasks.encoders import DualEncoder

    key = (find_checkpoint(config.checkpoint, config.revision).digest, str(pick_device(config.device)))
    with _lock:
        if key not in _loaded:
            _loaded[key] = DualEncoder.load(config.checkpoint, config.device, config.revision)
    return partial(_values, _loaded[key], config.batch_size)


def _values(encoder: "DualEncoder", batch_size: int, contenders: Sequence[Contender]) -> list[float | None]:
    """Cosines, -1 to 1; None where there is no picture or no caption, or the model gives no number."""
    ready = [place for place, one in enumerate(contenders) if one.image is not None and one.caption.error is None]
    values: list[float | None] = [None] * len(contenders)
    for start in range(0, len(ready), batch_size):
        places = ready[start : start + batch_size]
        seen = encoder.of_pictures([image for place in places if (image := contenders[place].image) is not None])
        read = encoder.of_texts([contenders[place].caption.plain_text for place in places])
        for place, cosine in zip(places, (seen * read).sum(axis=1), strict=True):
            values[place] = round(float(cosine), DIGITS) if math.isfinite(cosine) else None
    return values
