"""Distinct-n (Li et al. 2016): how many different n-grams a captioner uses, over all that it uses.

It falls with the number of words, so it compares only captioners with about as many. An interval from frames drawn with
repetition would lie below the value, for what is drawn twice adds nothing new; it comes from a grouped jackknife, which
leaves captions out instead.
"""

import numpy as np

from tasks.corpora import Corpus, Models
from tasks.metrics import CorpusMetric, Measured
from tasks.metrics.length import WORD
from tasks.ngrams import Counts, Integers, count_ngrams, words_of
from tasks.resampling import GROUPS, groups_of, jackknife_interval

LENGTHS = (1, 2, 3)


def measure(corpus: Corpus) -> Measured:
    """Of all captions together; `each` has no values."""
    told = [(one.frame_id, " ".join(word.lower() for word in WORD.findall(one.text))) for one in corpus.captions()]
    words, lengths = words_of([text for _, text in told])
    groups = groups_of([frame_id for frame_id, _ in told], corpus.models.seed)
    values, intervals, reasons = {}, {}, {}
    for n, grams in enumerate(count_ngrams(words, lengths, max(LENGTHS)), 1):
        name, number = f"distinct{n}", int(grams.counts.sum())
        if not number:
            reasons[name] = f"no caption has {n} words"
            continue
        values[name] = len(np.unique(grams.grams)) / number
        if bounds := jackknife_interval(values[name], _without(grams, groups)):
            intervals[name] = bounds
    return Measured(corpus=values, each={}, intervals=intervals, reasons=reasons)


def _without(grams: Counts, groups: Integers) -> list[float]:
    """The value without each group of captions."""
    owner = groups[grams.texts]
    pairs = np.unique(grams.grams * GROUPS + owner)
    in_groups = np.bincount(pairs // GROUPS, minlength=grams.different)
    only_there = np.bincount((pairs % GROUPS)[in_groups[pairs // GROUPS] == 1], minlength=GROUPS)
    numbers = grams.counts.sum() - np.bincount(owner, weights=grams.counts, minlength=GROUPS)
    different = np.count_nonzero(in_groups) - only_there
    used = np.bincount(groups, minlength=GROUPS) > 0
    return [one / number for one, number, there in zip(different, numbers, used, strict=True) if number and there]


def missing(models: Models) -> None:
    """Nothing is needed."""


METRIC = CorpusMetric(
    name="distinct",
    values={f"distinct{n}": f"different {n}-grams / {n}-grams, over all captions" for n in LENGTHS},
    higher_is_better=True,
    tokenizer=f"regular expression {WORD.pattern}, lower case",
    convention=f"over all captions; a failed one adds nothing; interval: jackknife over {GROUPS} groups of frames",
    measure=measure,
    missing=missing,
)
