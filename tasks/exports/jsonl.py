"""JSON Lines: a caption a line, with its frame's detections; without pictures."""

import json
from collections.abc import Iterator
from pathlib import Path

from tasks.export_rows import caption_row
from tasks.export_samples import Sample
from tasks.exports import Options

FOLDER = False
ALL_FRAMES = False
DETECTED = False


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """One object a line, UTF-8."""
    with draft.open("w", encoding="utf-8", newline="\n") as lines:
        for sample in samples:
            for caption in sample.captions:
                lines.write(json.dumps(caption_row(sample, caption), ensure_ascii=False) + "\n")
