"""Who rates captions, models and people, and where their judgements lie: side by side in one table."""

import hashlib
import re

from storage.store import Store
from tasks.errors import ConfigError

RATER = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What a rater may be called: it is part of a file's name."""
TABLE = "judgements"
DIGITS = 16


def check_rater(name: str) -> None:
    """Raises ConfigError for what cannot be a rater's name."""
    if not re.fullmatch(RATER, name):
        raise ConfigError(f"the rater's name is {name!r}; it has to be letters, digits, dots, dashes and underscores.")


def rater_of_model(model: str) -> str:
    """A model's name as a rater's: dashes stand for what a file's name cannot hold."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-._")


def shard_of_model(rater: str, shard: str) -> str:
    """Where a model's judgements of the captions of '<movie_id>/<shard>' lie."""
    movie_id, _, name = shard.rpartition("/")
    return f"{movie_id}/{rater}@{name}"


def shard_of_person(rater: str, movie_id: str) -> str:
    """Where a person's ratings of a movie's captions lie: no rater has an `@` in the name."""
    return f"{movie_id}/{rater}"


def kinds_of(rater: str, store: Store) -> set[str]:
    """'model' and 'person', as far as there are judgements by one of this name. Asks for names of files only."""
    names = {path.rpartition("/")[2].removesuffix(".parquet") for path in store.files.under(TABLE)}
    kinds = {"person"} if rater in names else set()
    return kinds | ({"model"} if any(name.startswith(f"{rater}@") for name in names) else set())


def text_digest(text: str) -> str:
    """Of the text of a caption: judgements are about this text, whatever stands there later."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
