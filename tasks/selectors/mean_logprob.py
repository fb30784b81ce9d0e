"""The captioner's own mean log-probability of the caption's tokens: what it found least surprising itself.

A repaired caption has that of the text it was made from. Of different models the values do not compare.
"""

from collections.abc import Sequence

from tasks.selectors import ChooseConfig, Contender, Selector

COMPARABLE, NEEDS_CHECKPOINT, NEEDS_PICTURES = False, False, False


def identify(_config: ChooseConfig) -> dict[str, str]:
    """Nothing: it stands in the captions."""
    return {}


def load(_config: ChooseConfig) -> Selector:
    """The selector."""
    return _values


def _values(contenders: Sequence[Contender]) -> list[float | None]:
    return [one.caption.mean_logprob for one in contenders]
