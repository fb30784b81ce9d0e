"""How many captions have no violation at all: the share of them that the view `captions_ok` holds."""

from collections.abc import Mapping

from tasks.metrics import CaptionMetric, Cited


def each(cited: Cited) -> dict[str, float]:
    """1 for a caption without violations, else 0."""
    return {"consistent": float(cited.consistent and not cited.failed)}


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """The share of 1 among the captions, of which there is one at least."""
    return {"consistent_macro": sums["consistent"] / captions}


METRIC = CaptionMetric(
    name="consistent",
    values={"consistent": "1 for a caption without violations, else 0"},
    pooled={"consistent_macro": "share of captions without violations"},
    higher_is_better=True,
    convention="caption-movies consistency: a failed caption is not consistent",
    each=each,
    pool=pool,
)
