"""What the shipped models can do, measured on unseen scenes: `python -m toyworld.report [--scenes 500]`.

Every figure with the bar it has to reach and the controls that tell what it is worth: the same with the picture of
another scene, and the best constant answer. Nothing is rounded up: a bar that is missed is marked, and so is a control
that is nearer than the project allows.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks import captioners, detectors
from tasks.captioners import CaptionConfig
from tasks.detectors import DetectConfig
from toyworld import detector_report, grounding_report
from toyworld.captioner_model import TEMPLATE
from toyworld.grounding_report import Row
from toyworld.model_cards import write_card
from toyworld.seeds import TEST

CHECKPOINTS = Path(__file__).parent / "checkpoints"
KINDS = ("detector", "captioner")
"""Folders of CHECKPOINTS."""
QUALITY_BARS = {"pq": 0.88, "pq_things": 0.80, "pq_stuff": 0.97}
QUALITY_NAMES = {
    "pq": "panoptic quality",
    "pq_things": "panoptic quality, things",
    "pq_stuff": "panoptic quality, stuff",
}
ON_DETECTOR = "grounding F1 strict"
"""The row whose bar counts on what the detector found, not on the true detections."""
MAX_NEW_TOKENS = 320
"""One in 150 of the grammar's own captions is longer than 256 tokens, none of 300 longer than 271."""


def measure(folder: Path, seeds: Sequence[int], *, texts: bool = True) -> dict[str, Any]:
    """Quality of `folder`/detector, then the captioner's rows on true and on found detections."""
    detector = detectors.load(DetectConfig(checkpoint=str(folder / "detector")))
    config = CaptionConfig(
        name="toyworld",
        backend="pixtral",
        checkpoint=str(folder / "captioner"),
        template=TEMPLATE,
        max_new_tokens=MAX_NEW_TOKENS,
    )
    captioner = captioners.load(config)
    return {
        "scenes": len(seeds),
        "detector": detector_report.measure(detector, seeds),
        "on_truth": grounding_report.measure(captioner, seeds, texts=texts),
        "on_detector": grounding_report.measure(captioner, seeds, detector, texts=texts),
    }


def lines(measured: Mapping[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"Measured on {measured['scenes']} scenes that no training has seen."
    for kind in KINDS:
        yield ""
        yield from lines_of(kind, measured)


def lines_of(kind: str, measured: Mapping[str, Any]) -> Iterator[str]:
    """The report on one of KINDS."""
    yield from _detector_lines(measured) if kind == "detector" else _captioner_lines(measured)


def _detector_lines(measured: Mapping[str, Any]) -> Iterator[str]:
    yield "Detector"
    yield f"{'':32}{'value':>8}{'at least':>10}"
    for key, bar in QUALITY_BARS.items():
        value = measured["detector"][key]
        yield f"{QUALITY_NAMES[key]:32}{value:8.3f}{bar:10.3f}{_mark(value, bar)}"
    yield ""
    yield detector_report.HEADER
    yield from detector_report.label_lines(measured["detector"])


def _captioner_lines(measured: Mapping[str, Any]) -> Iterator[str]:
    yield "Captioner, on the true detections"
    yield from _marked(measured["on_truth"], but=ON_DETECTOR)
    yield ""
    yield "Captioner, on what the detector found"
    yield from _marked(measured["on_detector"], only=ON_DETECTOR)


def _marked(rows: Sequence[Row], *, only: str = "", but: str = "") -> Iterator[str]:
    """The rows; those whose bar counts here say so when they miss it, or when it is reached without looking."""
    header, *printed = grounding_report.lines(rows)
    yield header
    for row, line in zip(rows, printed, strict=True):
        counts = row.at_least is not None and row.name != but and (not only or row.name == only)
        blind = "" if row.is_controlled else "   control missed"
        yield line + (_mark(row.value, row.at_least or 0) + blind if counts else "")


def _mark(value: float, bar: float) -> str:
    return "" if value >= bar else "   missed"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m toyworld.report", description=__doc__)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, metavar="FOLDER")
    parser.add_argument("--no-texts", action="store_true", help="leave out METEOR and CIDEr-D, which need Java")
    parser.add_argument(
        "--cards", type=Path, nargs=2, metavar=("DETECTOR_RUN", "CAPTIONER_RUN"), help="write the models' cards anew"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args()
    if not 2 <= given.scenes <= len(TEST):  # with one there is no other picture
        parser.error(f"--scenes {given.scenes}: there are 2 to {len(TEST)}")
    begun = time.perf_counter()
    measured = measure(given.checkpoints, TEST[: given.scenes], texts=not given.no_texts)
    print("\n".join(lines(measured)))
    for kind, run in zip(KINDS, given.cards or (), strict=False):
        write_card(given.checkpoints / kind, kind, run, measured["scenes"], lines_of(kind, measured))
    print(f"({time.perf_counter() - begun:.0f} seconds)", file=sys.stderr)
    if given.json:
        plain = {
            key: [asdict(row) for row in rows] if key.startswith("on_") else rows for key, rows in measured.items()
        }
        given.json.write_text(json.dumps(plain, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
