"""Chat-format samples for training: `samples.jsonl` with `messages` and `images`, the pictures in `images/`.

The form that TRL's SFTTrainer takes for vision models, and most fine-tuning tools after it: content is a list of parts,
`{"type": "image"}` stands where the picture is read, `images` names the files in that order. The words are those that
inference asks with (tasks/prompts.py), so that what is trained is what is asked.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tasks.export_rows import write_picture
from tasks.export_samples import Sample
from tasks.exports import Options
from tasks.prompts import messages, template

FOLDER = True
ALL_FRAMES = False
DETECTED = False


def write(samples: Iterator[Sample], draft: Path, options: Options) -> None:
    """A line a caption. Captions of templates without detections are plain text.

    Raises UnknownNameError for a template that is not there, ConfigError when a caption or detection holds one of the
    tokenizer's control words.
    """
    grounded = template(options.template).grounded
    pictures = draft / "images"
    pictures.mkdir()
    with (draft / "samples.jsonl").open("w", encoding="utf-8", newline="\n") as lines:
        for sample in samples:
            name = write_picture(sample, pictures)
            for caption in sample.captions:
                text = caption.text if grounded else caption.plain_text
                row = {"id": caption.caption_id, "images": [f"images/{name}"],
                       "messages": messages(options.template, sample.detections, text)}  # fmt: skip
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
