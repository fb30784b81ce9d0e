"""Self-retrieval: does a caption find its own picture among others? It punishes captions that fit any picture.

R@1 against 99 other frames of the captioner's, chosen at random but always the same for a frame, and against the other
frames of the shot, which look most alike. Similarity is a dual encoder's cosine. Pictures that are equally similar
share the hit: two equal frames have a half each.
"""

import random
from typing import TYPE_CHECKING

import numpy as np

from tasks.corpora import Corpus
from tasks.metrics import CorpusMetric, Measured
from tasks.metrics.clipscore import PREFIX, missing, weights
from tasks.resampling import Statistics, of_sums_is_a_mean

if TYPE_CHECKING:
    from tasks.embedded_captions import Embedded

OTHERS = 99
NAMES = ("self_retrieval_random", "self_retrieval_shot")
SAME = 1e-6
"""Cosines closer than that count as equal: the same picture twice differs by rounding."""


def measure(corpus: Corpus) -> Measured:
    """Means over captions; within shots over those of shots with two frames or more."""
    from tasks.embedded_captions import embed  # brings torch

    found = embed(corpus)
    each = np.full((len(found.told), 2), np.nan)
    for place, (frame_id, told) in enumerate(found.told):
        row = found.picture_of[frame_id]
        if len(found.shot_of) > OTHERS:
            rows = _others(row, len(found.shot_of), f"{corpus.models.seed}/{frame_id}")
            each[place, 0] = _hit(found, place, row, rows) if told else 0.0
        if len(shot := found.shots[found.shot_of[row]]) > 1:
            each[place, 1] = _hit(found, place, row, [one for one in shot if one != row]) if told else 0.0
    there = np.isfinite(each)
    table = np.column_stack([part for n in (0, 1) for part in (there[:, n], np.where(there[:, n], each[:, n], 0.0))])
    first, second = (of_sums_is_a_mean([name]) for name in NAMES)
    reasons = {
        NAMES[0]: f"it needs {OTHERS + 1} frames with captions; there are {len(found.shot_of)}",
        NAMES[1]: "no shot has two frames with captions",
    }
    return Measured(
        corpus={name: float(each[there[:, n], n].mean()) for n, name in enumerate(NAMES) if there[:, n].any()},
        each={name: each[:, n].tolist() for n, name in enumerate(NAMES)},
        statistics=Statistics(table.astype(np.float64), lambda sums: first(sums[:, :2]) | second(sums[:, 2:])),
        reasons=reasons,
    )


def _others(row: int, frames: int, seed: str) -> list[int]:
    """Rows of 99 other frames."""
    return [one + (one >= row) for one in random.Random(seed).sample(range(frames - 1), OTHERS)]


def _hit(found: "Embedded", place: int, row: int, others: list[int]) -> float:
    """1 where the caption's own picture is the most similar; a share where others are as similar."""
    caption = found.captions[place]
    own, rest = float(found.pictures[row] @ caption), found.pictures[others] @ caption
    if (rest > own + SAME).any():
        return 0.0
    return 1.0 / (1 + int((rest >= own - SAME).sum()))


METRIC = CorpusMetric(
    name="self_retrieval",
    values={
        NAMES[0]: f"captions that find their picture among {OTHERS} random others first; chance is 0.01",
        NAMES[1]: "captions that find their picture first among those of the same shot",
    },
    higher_is_better=True,
    convention=f"R@1 by cosine, prompt '{PREFIX.strip()}'; equal pictures share the hit; a failed caption has 0",
    reads="captions, frames",
    measure=measure,
    missing=missing,
    weights=weights,
    libraries=("transformers",),
)
