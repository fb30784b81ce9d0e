"""CSV with a header, RFC 4180: a caption a row; the detections are JSON in their column; without pictures."""

import csv
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
    """One row a caption, UTF-8, texts in quotes where they need them."""
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = None
        for sample in samples:
            for caption in sample.captions:
                row = caption_row(sample, caption)
                row["detections"] = json.dumps(row["detections"], ensure_ascii=False)
                if writer is None:
                    writer = csv.DictWriter(file, list(row), lineterminator="\r\n")
                    writer.writeheader()
                writer.writerow(row)
