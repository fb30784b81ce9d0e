"""How long are captions? No quality, but what many other numbers hang on."""

import math
import re
from collections.abc import Mapping

from tasks.metrics import CaptionMetric, Cited

WORD = re.compile(r"\w+(?:['’-]\w+)*")
SENTENCE_END = re.compile(r"[.!?]+(?=\s|$)")


def each(cited: Cited) -> dict[str, float]:
    """Words, sentences and characters of the plain text; of a failed caption none."""
    text = "" if cited.failed else cited.parsed.plain_text
    words = len(WORD.findall(text))
    sentences = len([one for one in SENTENCE_END.split(text) if WORD.search(one)])
    return {"length_words": float(words), "length_sentences": float(sentences), "length_characters": float(len(text))}


def pool(sums: Mapping[str, float], captions: float) -> dict[str, float]:
    """Means over captions."""
    return {f"{name}_macro": sums[name] / captions for name in METRIC.values}


METRIC = CaptionMetric(
    name="length",
    values={
        "length_words": "words of the plain text",
        "length_sentences": "sentences of it: what ends with . ! or ?",
        "length_characters": "characters of it",
    },
    pooled={
        "length_words_macro": "words, mean over captions",
        "length_sentences_macro": "sentences, mean over captions",
        "length_characters_macro": "characters, mean over captions",
    },
    higher_is_better=None,
    highest=math.inf,
    tokenizer=f"regular expression {WORD.pattern}",
    convention="plain text without tags; a failed caption has none",
    each=each,
    pool=pool,
)
