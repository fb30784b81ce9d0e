"""Which movies are trained on, and which are kept back. By movie, never by frame: no shot, no look of an actor, is in
two parts.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

from tasks.errors import ConfigError
from tasks.training.recipes import DataConfig

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


def split_movies(movie_ids: Collection[str], config: DataConfig) -> dict[str, str]:
    """movie_id to its part. The same movies and seed give the same parts, in whatever order they come.

    At least one movie is in each part. Raises ConfigError for fewer movies than that takes, for a pattern that no
    movie fits, and for movies that are meant for two parts.
    """
    named = {VALIDATION: _fitting(movie_ids, config.validation_movies), TEST: _fitting(movie_ids, config.test_movies)}
    if both := named[VALIDATION] & named[TEST]:
        raise ConfigError(f"movie {min(both)} is named for validation and for test. Name it once.")
    left = sorted(set(movie_ids) - named[VALIDATION] - named[TEST], key=lambda one: _rank(one, config.seed))
    for part, share in ((TEST, config.test), (VALIDATION, config.validation)):
        if not named[part]:
            number = max(1, round(share * len(movie_ids)))
            named[part], left = set(left[:number]), left[number:]
    if not left or not all(named.values()):
        raise ConfigError(
            f"{len(movie_ids)} movies with captions to learn from cannot be split into train, validation and test: no "
            "movie may be in two of them. Bring in more movies, or name fewer for validation and test."
        )
    return dict.fromkeys(left, TRAIN) | {one: part for part, some in named.items() for one in some}


def _fitting(movie_ids: Collection[str], patterns: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for pattern in patterns:
        some = {one for one in movie_ids if fnmatchcase(one, pattern)}
        if not some:
            raise ConfigError(f"no movie with captions to learn from is called {pattern!r}.")
        found |= some
    return found


def _rank(movie_id: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}/{movie_id}".encode()).hexdigest()


def count_parts(parts: Mapping[str, str]) -> dict[str, int]:
    """Movies of each part."""
    return {part: sum(one == part for one in parts.values()) for part in PARTS}
