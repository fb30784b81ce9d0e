"""How much of what was detected does a caption speak of, in tags or in plain words?

Unlike grounding's recall, which counts objects that are cited by their id, this counts classes: a caption that says
"two men at a table" without any tag covers persons and tables.
"""

from collections.abc import Mapping

from tasks import lexicon
from tasks.metrics import CaptionMetric, Cited
from tasks.metrics.chair import KINDS


def each(cited: Cited) -> dict[str, float]:
    """Classes detected, those of them that are named or cited, and the ratio: 1 where nothing was detected."""
    label_of = {detection.object_id: detection.label for detection in cited.detections}
    there = set(label_of.values())
    covered: set[str] = set()
    if not cited.failed:
        named = {label for label, _, _ in lexicon.named_objects(cited.parsed.plain_text, cited.labels)}
        named |= {kind for label in named for kind in KINDS.get(label, ())}
        ids = {object_id for mention in cited.parsed.mentions for object_id in mention.object_ids}
        covered = there & (named | {label_of[one] for one in ids if one in label_of})
    ratio = len(covered) / len(there) if there else float(not cited.failed)
    return {"coverage_detected": float(len(there)), "coverage_covered": float(len(covered)), "coverage": ratio}


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """Of the pooled counts, and the mean over captions."""
    detected = sums["coverage_detected"]
    return {
        "coverage_micro": sums["coverage_covered"] / detected if detected else 1.0,
        "coverage_macro": sums["coverage"] / captions,
    }


METRIC = CaptionMetric(
    name="coverage",
    values={
        "coverage_detected": "different classes detected in the frame",
        "coverage_covered": "those of them that the caption names or cites",
        "coverage": "covered / detected",
    },
    pooled={
        "coverage_micro": "covered / detected, of all captions together",
        "coverage_macro": "covered / detected, mean over captions",
    },
    higher_is_better=True,
    convention="classes named by words of tasks/lexicon.py, or cited; nothing detected is 1, a failed caption 0",
    each=each,
    pool=pool,
)
