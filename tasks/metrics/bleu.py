"""BLEU-1 to BLEU-4 (Papineni et al. 2002) as COCO's caption evaluation computes them."""

from collections.abc import Sequence

from tasks.java_metrics import COCO_TOKENS, coco, missing
from tasks.metrics import Measured, Pair, TextMetric


def measure(pairs: Sequence[Pair], timeout_seconds: float) -> Measured:
    """Corpus BLEU; `each` is sentence BLEU, whose mean it is not."""
    scorer = coco("bleu.bleu").Bleu(4)
    references = {str(index): list(pair.references) for index, pair in enumerate(pairs)}
    candidates = {str(index): [pair.candidate] for index, pair in enumerate(pairs)}
    corpus, each = scorer.compute_score(references, candidates, verbose=0)
    names = [f"bleu{n}" for n in range(1, 5)]
    return Measured(
        corpus=dict(zip(names, map(float, corpus), strict=True)),
        each={name: [float(value) for value in values] for name, values in zip(names, each, strict=True)},
    )


METRIC = TextMetric(
    name="bleu",
    values={f"bleu{n}": f"n-gram precision up to {n} words, with brevity penalty, of the corpus" for n in range(1, 5)},
    higher_is_better=True,
    convention=f"{COCO_TOKENS}; corpus level; the reference closest in length counts",
    measure=measure,
    missing=missing,
    libraries=("pycocoevalcap",),
)
