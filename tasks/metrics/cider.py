"""CIDEr-D (Vedantam et al. 2015) as COCO's caption evaluation computes it; 10 is a perfect match."""

from collections.abc import Sequence

from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, coco, missing
from tasks.metrics import Measured, Pair, TextMetric


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Mean over captions. Word weights come from the references at hand, so single values depend on the corpus."""
    if len({pair.frame_id for pair in pairs}) < 2:
        raise MetricUnavailableError(
            "CIDEr-D weighs words by how many frames use them: it needs references of two frames."
        )
    scorer = coco("cider.cider").Cider()
    references = {str(index): list(pair.references) for index, pair in enumerate(pairs)}
    candidates = {str(index): [pair.candidate] for index, pair in enumerate(pairs)}
    corpus, each = scorer.compute_score(references, candidates)
    return Measured(corpus={"cider_d": float(corpus)}, each={"cider_d": [float(value) for value in each]})


METRIC = TextMetric(
    name="cider",
    values={"cider_d": "agreement of weighted n-grams with the references, 0 to 10, mean over captions"},
    higher_is_better=True,
    convention=f"{COCO_TOKENS}; sigma 6, document frequencies of these references",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap",),
)
