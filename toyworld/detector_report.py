"""How well a detector sees the drawn world: panoptic quality on scenes that it was not trained on.

`python -m toyworld.detector_report CHECKPOINT` prints it for 500 of them.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tasks import detectors
from tasks.detectors import DetectConfig, Detector, Segment
from tasks.panoptic_quality import Counts, count, mean_quality, total
from toyworld.drawing import draw
from toyworld.picture import Picture
from toyworld.sampling import sample
from toyworld.seeds import TEST
from toyworld.vocabulary import LABELS, THINGS

BATCH = 8
HEADER = f"{'':24}{'PQ':>7}{'TP':>7}{'FP':>7}{'FN':>7}"


def measure(detector: Detector, seeds: Sequence[int]) -> dict[str, Any]:
    """Panoptic quality over the scenes of these seeds, through the pipeline's own detector and its thresholds.

    `pq`, `pq_things`, `pq_stuff` (0 to 1), `scenes`, and by label under `labels`: pq and the counts that it is made of.
    """
    pictures = []
    for start in range(0, len(seeds), BATCH):
        drawn = [draw(sample(seed)) for seed in seeds[start : start + BATCH]]
        found = detector([picture.image for picture in drawn])
        pictures += [picture_counts(*pair) for pair in zip(drawn, found, strict=True)]
    return {"scenes": len(seeds)} | summary(total(pictures))


def picture_counts(truth: Picture, found: Sequence[Segment]) -> dict[int, Counts]:
    """One picture's counts by category.

    Stuff has no instances: what was found of a category in several segments is one, as the panoptic format has it.
    """
    ids = np.zeros(truth.segment_map.shape, np.int32)
    categories: dict[int, int] = {}
    for segment in found:
        number = len(LABELS) + segment.segment_id if segment.is_thing else 1 + segment.category_id
        ids[segment.mask.pixels()] = number
        categories[number] = segment.category_id
    return count(truth.segment_map, true_categories(truth), ids, categories)


def true_categories(picture: Picture) -> dict[int, int]:
    """The category of each segment id of a drawn picture."""
    return {region.segment_id: region.category_id for region in picture.regions}


def summary(counts: Mapping[int, Counts]) -> dict[str, Any]:
    """Ratios and counts as a report says them, rounded to four places."""
    things = range(len(THINGS))
    stuff = range(len(THINGS), len(LABELS))
    return {
        "pq": _rounded(mean_quality(counts, range(len(LABELS)))),
        "pq_things": _rounded(mean_quality(counts, things)),
        "pq_stuff": _rounded(mean_quality(counts, stuff)),
        "labels": {
            LABELS[category]: {
                "pq": _rounded(one.quality),
                "iou_sum": _rounded(one.iou_sum),
                "true_positives": one.true_positives,
                "false_positives": one.false_positives,
                "false_negatives": one.false_negatives,
            }
            for category, one in sorted(counts.items())
        },
    }


def lines(measured: Mapping[str, Any]) -> Iterable[str]:
    """The measurement as a table for people."""
    yield HEADER
    for name, key in (("all", "pq"), ("things", "pq_things"), ("stuff", "pq_stuff")):
        yield f"{name:24}{measured[key]:7.3f}"
    yield from label_lines(measured)


def label_lines(measured: Mapping[str, Any]) -> Iterable[str]:
    """A line per label: panoptic quality, and true positives, false positives and false negatives."""
    for label, one in measured["labels"].items():
        counts = (one[f"{kind}_{sign}tives"] for kind, sign in (("true", "posi"), ("false", "posi"), ("false", "nega")))
        yield f"{label:24}{one['pq']:7.3f}" + "".join(f"{number:7d}" for number in counts)


def _rounded(value: float) -> float:
    return round(value, 4)


def main() -> None:
    """Print the report of a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", help="folder or hub id")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    given = parser.parse_args()
    if not 1 <= given.scenes <= len(TEST):
        parser.error(f"--scenes {given.scenes}: there are 1 to {len(TEST)}")
    measured = measure(detectors.load(DetectConfig(checkpoint=given.checkpoint)), TEST[: given.scenes])
    print(json.dumps(measured, indent=2) if given.json else "\n".join(lines(measured)))


if __name__ == "__main__":
    main()
