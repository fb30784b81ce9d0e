"""The shipped models' cards: what they are, how they were trained, what the report measured.

python -m toyworld.report --cards DETECTOR_RUN CAPTIONER_RUN
"""

import json
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open

WHAT = {
    "detector": (
        "A small Mask2Former (ResNet backbone) for the drawn world of this project: panoptic segmentation of its "
        "12 things and 8 kinds of stuff, named as COCO names them. It knows nothing else: on real movies what it finds "
        "means nothing."
    ),
    "captioner": (
        "A small Pixtral (vision tower, projector, Mistral) for the drawn world of this project: grounded captions in "
        "GroundCap's tags from a picture and its detections, template `groundcap-story`. It knows nothing else: on "
        "real movies what it says means nothing."
    ),
}
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: {tag}
---
# The drawn world's {kind}

{what}

{parameters:,} parameters, float16 in {megabytes:.1f} MB. It loads through the same code as a checkpoint of the hub.

## Training

`python -m toyworld.train_{kind}`; both models: `make toyworld-train`. Scenes are drawn while it trains, from seeds
that are used for nothing else (`toyworld/seeds.py`). Trained {steps:,} steps in {minutes:.0f} minutes, with

    {plan}

The weights are averaged over the last steps.
{notes}
## Measured

    Measured on {scenes} scenes that no training has seen.

    {table}

{words}
`make toyworld-report` measures it again.
"""
WORDS = {
    "detector": '"missed": below what the project asks for.',
    "captioner": (
        '"wrong picture": the same detections with the picture of another scene. What is as good with it was not seen '
        'but read off the detections. "constant": the one answer that would be right most often. "told": part of the '
        'visible facts that were told rightly. "missed": below what the project asks for; "control missed": with the '
        "wrong picture above what it allows."
    ),
}
"""What the table's words mean."""
TAGS = {"detector": "image-segmentation", "captioner": "image-text-to-text"}


def write_card(folder: Path, kind: str, run: Path, scenes: int, table: Iterable[str]) -> None:
    """Write the README.md of a checkpoint folder; `table` are the report's lines about so many scenes.

    `run` is the training's folder. Its notes.md, where there is one, is taken over: what its plan does not say, such as
    the weights it began with. Raises OSError where the checkpoint, or the run's plan or log, is not there.
    """
    weights = folder / "model.safetensors"
    with safe_open(weights, "numpy") as tensors:
        parameters = sum(_size(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    last = json.loads((run / "log.jsonl").read_text("utf-8").splitlines()[-1])
    plan = ", ".join(f"{key} {value}" for key, value in json.loads((run / "plan.json").read_text("utf-8")).items())
    notes = run / "notes.md"
    card = CARD.format(
        kind=kind,
        tag=TAGS[kind],
        what=WHAT[kind],
        parameters=parameters,
        megabytes=weights.stat().st_size / 1e6,
        steps=last["step"],
        minutes=last["seconds"] / 60,
        plan=plan,
        notes=f"\n{notes.read_text('utf-8').strip()}\n" if notes.exists() else "",
        scenes=scenes,
        words=WORDS[kind],
        table="\n    ".join(table),
    )
    (folder / "README.md").write_text("\n".join(line.rstrip() for line in card.splitlines()) + "\n", "utf-8")


def _size(shape: Iterable[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
