"""N-grams of many texts as arrays: what BLEU, CIDEr-D and distinct-n count. Texts are tokens with one blank between."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """How often each n-gram stands in each text, for one n. Sorted by text, then n-gram; only what is there."""

    texts: Integers
    grams: Integers
    """Numbers of n-grams, from 0, the same in all texts."""
    counts: Integers
    different: int
    """How many n-grams there are in all texts together."""

    @property
    def keys(self) -> Integers:
        """Text and n-gram in one number, sorted."""
        return self.texts * self.different + self.grams


def words_of(texts: Sequence[str]) -> tuple[Integers, Integers]:
    """(the words of all texts as numbers, how many each text has)."""
    numbers: dict[str, int] = {}
    words: list[int] = []
    lengths = np.zeros(len(texts), dtype=np.int64)
    for place, text in enumerate(texts):
        split = text.split()
        lengths[place] = len(split)
        words += [numbers.setdefault(word, len(numbers)) for word in split]
    return np.array(words, dtype=np.int64), lengths


def count_ngrams(words: Integers, lengths: Integers, longest: int) -> list[Counts]:
    """The n-grams of n = 1 to `longest`, of texts as `words_of` gives them."""
    text_of = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    vocabulary = int(words.max()) + 1 if len(words) else 1
    grams, found = words, [_count(text_of, words)]
    for n in range(2, longest + 1):  # an n-gram is the (n-1)-gram that starts at its first word, and its last word
        starts = max(0, len(words) - n + 1)
        within = text_of[:starts] == text_of[len(words) - starts :]
        joined = np.where(within, grams[:starts] * vocabulary + words[len(words) - starts :], -1)
        _, grams = np.unique(joined, return_inverse=True)
        grams -= int(not within.all())  # those that reach into the next text are -1
        found.append(_count(text_of[:starts][within], grams[within]))
    return found


def _count(texts: Integers, grams: Integers) -> Counts:
    different = int(grams.max()) + 1 if len(grams) else 1
    keys, counts = np.unique(texts * different + grams, return_counts=True)
    return Counts(keys // different, keys % different, counts.astype(np.int64), different)


def looked_up(keys: Integers, values: NDArray[np.float64], wanted: Integers) -> NDArray[np.float64]:
    """The value of each wanted key; 0 where it is not among the sorted keys."""
    if not len(keys):
        return np.zeros(len(wanted))
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
