"""CAPTURE (Dong et al. 2024): objects, attributes and relations that captions and references share.

Its package parses both with a language model, needs a CUDA device, and brings its own models: it is asked where it is
installed, and nothing of it is installed by this project.
"""

import importlib.util
from itertools import product
from typing import Any

import numpy as np

from tasks.corpora import Corpus, Models
from tasks.errors import MetricUnavailableError
from tasks.metrics import CorpusMetric, Measured
from tasks.metrics.clipscore import NO_REFERENCES
from tasks.resampling import Statistics, of_sums_is_a_mean

NAMES = tuple("_".join(one) for one in product(("object", "attribute", "relation"), ("precision", "recall", "f1")))
WEIGHTS = {"object_f1": 0.5, "attribute_f1": 0.5, "relation_f1": 0.2}


def measure(corpus: Corpus) -> Measured:
    """Means over the captions of frames with references; a failed caption has 0 in all."""
    told = list(corpus.captions())
    asked = {one.caption_id: one for one in told if one.references and one.text}
    if not any(one.references for one in told):
        raise MetricUnavailableError(NO_REFERENCES)
    found = {one["sample_key"]: one for one in _parsed(asked)} if asked else {}
    rows = np.full((len(told), len(NAMES)), np.nan)
    for place, one in enumerate(told):
        if one.references:
            said = found.get(one.caption_id, dict.fromkeys(NAMES, 0.0))
            rows[place] = [float(said[name]) / 100 for name in NAMES]
    each = {f"capture_{name}": rows[:, place].tolist() for place, name in enumerate(NAMES)}
    score = sum(weight * rows[:, NAMES.index(name)] for name, weight in WEIGHTS.items()) / sum(WEIGHTS.values())
    each["capture"] = np.asarray(score).tolist()
    there = np.isfinite(rows[:, 0])
    table = np.column_stack([there, *(np.where(there, values, 0.0) for values in each.values())]).astype(np.float64)
    corpus_values = {name: float(np.nanmean(values)) for name, values in each.items()}
    return Measured(corpus=corpus_values, each=each, statistics=Statistics(table, of_sums_is_a_mean(list(each))))


def _parsed(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """What the package says of each caption, in percent rounded to two digits."""
    from capture_metric.capture import CAPTURE

    references = {key: list(one.references) for key, one in asked.items()}
    candidates = {key: [one.text] for key, one in asked.items()}
    try:
        _, _, found = CAPTURE().compute_score(references, candidates, return_parse_results=True)
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        raise MetricUnavailableError(f"CAPTURE failed: {type(error).__name__}: {error}") from error
    return list(found)


def missing(models: Models) -> str | None:
    """What is not installed."""
    for package in ("capture_metric", "factual_scene_graph", "sentence_transformers"):
        if importlib.util.find_spec(package) is None:
            return (
                f"CAPTURE needs {package} and a CUDA device. Install it from its makers: "
                "github.com/foundation-multimodal-models/CAPTURE"
            )
    import torch

    return None if torch.cuda.is_available() else "CAPTURE runs on a CUDA device only, and none is here"


METRIC = CorpusMetric(
    name="capture",
    values={f"capture_{name}": f"{name.replace('_', ' ')} against each reference, mean" for name in NAMES}
    | {"capture": "weighted mean of the three F1"},
    higher_is_better=True,
    convention="weights 0.5 objects, 0.5 attributes, 0.2 relations; sub-scores as printed by CAPTURE, to four digits",
    reads="captions, references",
    measure=measure,
    missing=missing,
    libraries=("capture_metric",),
)
