"""How often do captions break the tag grammar, or cite what is not there? Codes: docs/violations.md."""

import math
from collections.abc import Mapping

from tasks.metrics import CaptionMetric, Cited


def each(cited: Cited) -> dict[str, float]:
    """Faults, and whether there are any; a failed caption is at fault."""
    return {"violations": float(cited.violations), "at_fault": float(cited.failed or not cited.consistent)}


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """Per caption."""
    return {
        "violation_rate_macro": sums["at_fault"] / captions,
        "violations_per_caption": sums["violations"] / captions,
        "violations_total": sums["violations"],
    }


METRIC = CaptionMetric(
    name="violation_rate",
    values={"violations": "faults of its tags", "at_fault": "1 where there is a fault or no caption, else 0"},
    pooled={
        "violation_rate_macro": "share of captions with a fault, or without words",
        "violations_per_caption": "faults per caption",
        "violations_total": "sum: faults",
    },
    higher_is_better=False,
    highest={"violations_per_caption": math.inf},
    convention="caption-movies consistency: a failed caption is at fault, and adds no violation to the count",
    each=each,
    pool=pool,
)
