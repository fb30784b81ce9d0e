"""ROUGE-L (Lin 2004) as COCO's caption evaluation computes it."""

from collections.abc import Sequence

from tasks.java_metrics import COCO_TOKENS, coco, missing
from tasks.metrics import Measured, Pair, TextMetric


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """F-measure of the longest common subsequence; the corpus value is the mean."""
    rouge = coco("rouge.rouge").Rouge()
    each = [float(rouge.calc_score([pair.candidate], list(pair.references))) for pair in pairs]
    return Measured(corpus={"rouge_l": sum(each) / len(each)}, each={"rouge_l": each})


METRIC = TextMetric(
    name="rouge_l",
    values={"rouge_l": "longest common subsequence with a reference, beta 1.2, mean over captions"},
    higher_is_better=True,
    convention=f"{COCO_TOKENS}; best precision and best recall over the references",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap",),
)
