"""Grounding F1 of a caption against its frame's detections, in the `cited` definition of tasks/metrics/grounding.py.

Of clean captions, whose precision is 1, it prefers the one that cites most of what is there.
"""

from collections.abc import Sequence

from tasks import tags
from tasks.metrics import Cited, grounding, signature
from tasks.selectors import DIGITS, ChooseConfig, Contender, Selector

COMPARABLE, NEEDS_CHECKPOINT, NEEDS_PICTURES = True, False, False


def identify(_config: ChooseConfig) -> dict[str, str]:
    """The metric's signature: another version of it may choose another caption."""
    return {"grounding_f1": signature(grounding.METRIC)}


def load(_config: ChooseConfig) -> Selector:
    """The selector."""
    return _values


def _values(contenders: Sequence[Contender]) -> list[float | None]:
    return [_f1(one) for one in contenders]


def _f1(one: Contender) -> float:
    cited = Cited(
        parsed=tags.parse(one.caption.text),
        detections=one.detections,
        labels=frozenset(),  # words without tags do not count here
        consistent=True,
        failed=one.caption.error is not None,
    )
    return round(grounding.ratios(grounding.count(cited), "cited")["f1"], DIGITS)
