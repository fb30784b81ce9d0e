"""CHAIR (Rohrbach et al. 2018): does a caption name objects that are not there? Held against the frame's detections.

An object is named where a noun phrase's head is a class that the detector can detect, by its name or a synonym of
tasks/lexicon.py, in a tag or not; every such phrase counts. It is hallucinated where no detection is of that class or
of a kind of it (`KINDS`). The original holds captions against COCO's annotations and needs references; this needs none,
and takes an object that the detector missed for hallucinated.
"""

from collections.abc import Mapping

from tasks import lexicon
from tasks.metrics import CaptionMetric, Cited

KINDS: Mapping[str, tuple[str, ...]] = {
    "wall": ("wall-brick", "wall-stone", "wall-tile", "wall-wood"),
    "floor": ("floor-wood",),
    "table": ("dining-table",),
    "dining-table": ("table",),
    "building": ("house",),
    "water": ("sea", "river"),
    "plant": ("potted-plant",),
    "window": ("window-blind",),
    "food": (
        "banana",
        "apple",
        "sandwich",
        "orange",
        "broccoli",
        "carrot",
        "hot-dog",
        "pizza",
        "donut",
        "cake",
        "fruit",
    ),
    "fruit": ("banana", "apple", "orange"),
    "road": ("pavement",),
    "pavement": ("road",),
}
"""A class to those whose detection makes naming it true too. What a blind hangs in front of is a window."""


def each(cited: Cited) -> dict[str, float]:
    """Objects named, those of them that are not there, and the ratios; of a failed caption one, which is not there."""
    if cited.failed:
        return {"chair_named": 1.0, "chair_hallucinated": 1.0, "chair_i": 1.0, "chair_s": 1.0}
    there = {detection.label for detection in cited.detections}
    named = [label for label, _, _ in lexicon.named_objects(cited.parsed.plain_text, cited.labels)]
    lost = sum(not there.intersection((label, *KINDS.get(label, ()))) for label in named)
    return {
        "chair_named": float(len(named)),
        "chair_hallucinated": float(lost),
        "chair_i": lost / len(named) if named else 0.0,
        "chair_s": float(lost > 0),
    }


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """CHAIR-i of the pooled counts, 0 where nothing is named; CHAIR-s over captions."""
    named = sums["chair_named"]
    return {
        "chair_i_micro": sums["chair_hallucinated"] / named if named else 0.0,
        "chair_s_macro": sums["chair_s"] / captions,
        "chair_named_total": named,
        "chair_hallucinated_total": sums["chair_hallucinated"],
    }


METRIC = CaptionMetric(
    name="chair",
    values={
        "chair_named": "objects that the caption names, each time it does",
        "chair_hallucinated": "those of them that were not detected in the frame",
        "chair_i": "hallucinated / named",
        "chair_s": "1 where an object is hallucinated, else 0",
    },
    pooled={
        "chair_i_micro": "hallucinated / named, of all captions together",
        "chair_s_macro": "share of captions that name an object that was not detected",
        "chair_named_total": "sum: objects named",
        "chair_hallucinated_total": "sum: objects named that were not detected",
    },
    higher_is_better=False,
    convention="against detections; synonyms of tasks/lexicon.py; a failed caption is one hallucinated object",
    each=each,
    pool=pool,
)
