"""What a training is worth as COCO's caption evaluation writes it: one JSON file, metrics under their names there."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.training_tables import AdapterScore

METRICS = "metrics.json"
COCO_NAMES = {
    "bleu1": "Bleu_1", "bleu2": "Bleu_2", "bleu3": "Bleu_3", "bleu4": "Bleu_4", "meteor": "METEOR",
    "rouge_l": "ROUGE_L", "cider_d": "CIDEr", "spice": "SPICE",
}  # fmt: skip
"""Ours by pycocoevalcap's; what it calls CIDEr is CIDEr-D."""


def write_coco_metrics(scores: Sequence[AdapterScore], frames: int, target: Path) -> None:
    """Write `after` and `before`, value by COCO's name, and `frames`, of the test movies.

    A metric that was not asked for, or of which there is nothing to say (SPICE without its models), is left out.
    """
    found = {COCO_NAMES[one.metric]: one for one in scores if one.metric in COCO_NAMES}
    told = {name: one for name, one in found.items() if one.after is not None}
    said: dict[str, Any] = {
        "after": {name: one.after for name, one in told.items()},
        "before": {name: one.before for name, one in told.items()},
        "frames": frames,
    }
    draft = target.with_name(f".{target.name}.tmp")
    draft.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    os.replace(draft, target)
