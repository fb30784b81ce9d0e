"""How two raters agree: Pearson, Spearman, Kendall's tau-c and Krippendorff's alpha of pairs of numbers, with weights.

A weight says how often a pair is there: so a bootstrap's resamples are nothing but weights, and each coefficient is
computed anew from them. (scipy takes no weights for the rank coefficients; that these agree with scipy on pairs written
out as often, a test holds to 1e-12.)

What has no value is NaN: a correlation with a side that is constant, alpha where all numbers are equal.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
LEVELS = ("nominal", "ordinal", "interval")
"""Of measurement: what two different ratings differ by, for alpha. `ratio` is left out: ratings have no zero."""


@dataclass(frozen=True)
class Coded:
    """Pairs of numbers by their places among the different numbers of either side, and of both."""

    one: Numbers
    """(different numbers of the first side,), rising."""
    other: Numbers
    both: Numbers
    at_one: Places
    """(pairs,): where each pair's first number stands in `one`."""
    at_other: Places
    one_in_both: Places
    """(different numbers of the first side,): where each stands in `both`."""
    other_in_both: Places

    @classmethod
    def of(cls, one: Numbers, other: Numbers) -> "Coded":
        """Of pairs, (pairs,) each."""
        first, at_one = np.unique(one, return_inverse=True)
        second, at_other = np.unique(other, return_inverse=True)
        both = np.unique(np.concatenate([first, second]))
        return cls(
            first, second, both, at_one, at_other, np.searchsorted(both, first), np.searchsorted(both, second)
        )  # fmt: skip


def pearson(pairs: Coded, weights: Numbers) -> float:
    """The product-moment correlation."""
    return _correlation(pairs.one[pairs.at_one], pairs.other[pairs.at_other], weights)


def spearman(pairs: Coded, weights: Numbers) -> float:
    """The correlation of ranks; equal numbers share the middle of their ranks."""
    one, other = _counts(pairs, weights)
    return _correlation(_middle_ranks(one)[pairs.at_one], _middle_ranks(other)[pairs.at_other], weights)


def kendall_tau_c(pairs: Coded, weights: Numbers) -> float:
    """Stuart's tau-c [Stuart 1953]: 2 (P - Q) / (n^2 (m - 1) / m), where P and Q are the pairs of captions in the same
    and in the opposite order, and m is the smaller number of different values of a side.
    """
    shape = (len(pairs.other), len(pairs.one))
    table = np.bincount(pairs.at_other * shape[1] + pairs.at_one, weights, shape[0] * shape[1]).reshape(shape)
    table = table if shape[0] <= shape[1] else np.ascontiguousarray(table.T)  # it is the same either way round
    fewer = min(np.count_nonzero(table.any(axis=0)), np.count_nonzero(table.any(axis=1)))
    if fewer < 2:
        return float("nan")
    balance, above = 0.0, np.zeros(max(shape))  # of rows with a smaller number on the other side
    for row in table:
        smaller = np.cumsum(above) - above
        larger = above.sum() - smaller - above
        balance += float(row @ (smaller - larger))
        above = above + row
    return float(2 * balance * fewer / (float(table.sum()) ** 2 * (fewer - 1)))


def krippendorff_alpha(pairs: Coded, weights: Numbers, level: str = "ordinal") -> float:
    """Krippendorff's alpha of two raters: 1 - observed / expected disagreement."""
    one, other = pairs.one_in_both[pairs.at_one], pairs.other_in_both[pairs.at_other]
    return alpha_of_pairs(one, other, weights, pairs.both, level)


def alpha_of_pairs(one: Places, other: Places, weights: Numbers, values: Numbers, level: str) -> float:
    """Krippendorff's alpha [Computing Krippendorff's Alpha-Reliability, 2011] from pairs of ratings of the same unit.

    `one` and `other`, (pairs,): places in `values`, which rise. A unit that m raters rated gives each of its
    m (m - 1) / 2 pairs with the weight 1 / (m - 1), so that each rating counts once.

    The ordinal difference of two values, the sum of the frequencies between them with half of either end's, is the
    difference of their middle ranks: the ordinal level is the interval level of those.
    """
    if level != "nominal":
        numbers = values
        if level == "ordinal":
            numbers = _middle_ranks(_count(one, weights, values) + _count(other, weights, values))
        return _interval_alpha(numbers[one], numbers[other], weights)
    counts = _count(one, weights, values) + _count(other, weights, values)
    if np.count_nonzero(counts) < 2:
        return float("nan")
    total = float(counts.sum())
    observed = 2 * float(np.sum(weights * (one != other)))
    return 1 - observed * (total - 1) / (total**2 - float(np.sum(counts**2)))


def alpha_of_ranks(pairs: Coded, weights: Numbers) -> float:
    """The interval alpha of the ranks that each side gives to the captions: for sides with scales of their own."""
    one, other = _counts(pairs, weights)
    return _interval_alpha(_middle_ranks(one)[pairs.at_one], _middle_ranks(other)[pairs.at_other], weights)


def _interval_alpha(one: Numbers, other: Numbers, weights: Numbers) -> float:
    """Of pairs of numbers; the expected disagreement is that of all numbers with each other, from their sums."""
    there = weights > 0
    one, other, weights = one[there], other[there], weights[there]
    if not len(one) or one.min() == one.max() == other.min() == other.max():
        return float("nan")
    total = 2 * float(weights.sum())
    middle = float(weights @ (one + other)) / total
    one, other = one - middle, other - middle  # less is lost to rounding
    expected = 2 * total * float(weights @ (one**2 + other**2)) / (total - 1)
    return 1 - 2 * float(weights @ (one - other) ** 2) / expected


def _counts(pairs: Coded, weights: Numbers) -> tuple[Numbers, Numbers]:
    return _count(pairs.at_one, weights, pairs.one), _count(pairs.at_other, weights, pairs.other)


def _count(places: Places, weights: Numbers, values: Numbers) -> Numbers:
    return np.asarray(np.bincount(places, weights, len(values)), dtype=np.float64)


def _middle_ranks(counts: Numbers) -> Numbers:
    """Of each value the middle of the ranks that its occurrences take, up to a constant."""
    return np.asarray(np.cumsum(counts) - counts / 2, dtype=np.float64)


def _correlation(one: Numbers, other: Numbers, weights: Numbers) -> float:
    there = weights > 0
    one, other, weights = one[there], other[there], weights[there]
    if not len(one) or one.min() == one.max() or other.min() == other.max():
        return float("nan")
    total = weights.sum()
    one, other = one - weights @ one / total, other - weights @ other / total
    found = weights @ (one * other) / np.sqrt((weights @ one**2) * (weights @ other**2))
    return float(np.clip(found, -1, 1))
