"""Does a caption say the same again? The share of its n-grams that stand earlier in it [Welleck et al. 2020]."""

from collections.abc import Mapping

from tasks.metrics import CaptionMetric, Cited
from tasks.metrics.length import WORD

LENGTHS = (1, 4)


def each(cited: Cited) -> dict[str, float]:
    """1 - different n-grams / n-grams, 0 where there is none; of a failed caption 1."""
    words = [word.lower() for word in WORD.findall(cited.parsed.plain_text)]
    return {f"repetition{n}": 1.0 if cited.failed else repeated(words, n) for n in LENGTHS}


def repeated(words: list[str], n: int) -> float:
    """The share of n-grams that stand earlier in the text."""
    grams = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """Means over captions."""
    return {f"{name}_macro": sums[name] / captions for name in METRIC.values}


METRIC = CaptionMetric(
    name="repetition",
    values={f"repetition{n}": f"share of its {n}-grams that stand earlier in the caption" for n in LENGTHS},
    pooled={f"repetition{n}_macro": f"share of repeated {n}-grams, mean over captions" for n in LENGTHS},
    higher_is_better=False,
    tokenizer=f"regular expression {WORD.pattern}, lower case",
    convention="within a caption; a failed caption has 1",
    each=each,
    pool=pool,
)
