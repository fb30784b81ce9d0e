"""Captions made at random, of words that tokenizers treat in special ways."""

import numpy as np

from tasks.java_metrics import tokenize
from tasks.metrics import Pair

WORDS = [
    "a",
    "the",
    "man",
    "woman",
    "dogs",
    "dog",
    "runs",
    "running",
    "ran",
    "quickly",
    "on",
    "grass",
    "beside",
    "two",
    "cars",
    "red",
    "couch",
    "isn't",
    "3,000",
    "1/2",
    "naïve",
    "well-known",
    "(small)",
    "U.S.",
    "–",
    "o'clock",
    "...",
    "!",
    '"quoted"',
    "a/b",
    "don't",
    "e-mail",
]


def captions(count: int, seed: int = 0) -> list[tuple[str, list[str]]]:
    """(candidate, references) of one to five references; some candidates are empty, some equal a reference."""
    random = np.random.default_rng(seed)

    def text(least: int) -> str:
        return " ".join(random.choice(WORDS, random.integers(least, 14))) + "."

    rows = [(text(1), [text(1) + " man" for _ in range(random.integers(1, 6))]) for _ in range(count)]
    rows[1] = ("", rows[1][1])
    rows[2] = (rows[2][1][0], rows[2][1])
    return rows


def tokenised_pairs(rows: list[tuple[str, list[str]]], seconds: float = 300.0) -> list[Pair]:
    """Captions and their references as text metrics take them."""
    tokens = iter(tokenize([text for candidate, references in rows for text in (candidate, *references)], seconds))
    return [
        Pair(
            caption_id=f"m_{index:06}/c/0",
            frame_id=f"m_{index:06}",
            candidate=next(tokens),
            references=tuple(next(tokens) for _ in references),
        )
        for index, (_, references) in enumerate(rows)
    ]
