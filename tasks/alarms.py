"""Scores that cannot be, or are too good to be true. Summaries in, rows of `alarms` out; nothing is stopped by them.

`out_of_range`: a value outside what its metric can give, by the metric's own declaration.
`too_high`: a value that no captioner reaches on references that people wrote, see LIMITS.
`equals_reference`: too many captions are, word for word, a reference of their frame.

All three were told of a published BLIP card with BLEU-4 .97 and CIDEr 9.33: what was scored had been seen in training.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage.tables import Alarm
from tasks.metrics import Metric, Pair, highest, names_in_summaries

EQUAL_SHARE = 0.05
"""Share of captions equal to a reference, above which there is an alarm. People who describe the same picture do not
write the same sentence: of the 40 captions of COCO's debug sample none equals another of its image (a test counts
them). One in twenty leaves room for captions of a few words."""
EQUAL_LEAST = 2
"""Fewer equal captions are no alarm: one may be chance."""
ROUNDING = 1e-6
LEAK = (
    "the references, or captions like them, were probably seen in training or given in the prompt (leakage), or are "
    "the captioner's own captions"
)
GRAMMAR = (
    "References that one grammar writes, as those of the drawn world, can reach about 3 for CIDEr-D honestly; natural "
    "ones cannot"
)


@dataclass(frozen=True)
class Limit:
    """What natural references do not let a captioner pass."""

    highest: float
    why: str


LIMITS: Mapping[str, Limit] = {
    "cider_d": Limit(
        3.0,
        "on COCO's five natural references people reach .85 to .91 [Chen and others 2015] and BLIP-2 1.46 [Li and "
        "others 2023], PixtralGroundCap .51 on GroundCap",
    ),
    "bleu4": Limit(
        0.6, "on COCO's five natural references people reach .22 [Chen and others 2015] and the best models about .45"
    ),
}
"""CIDEr-D on its scale to 10; cards that give it in per cent divide by 100."""


def undecided(reasons: Mapping[str, str]) -> dict[str, str]:
    """Of metrics that were to be computed and have no value, with the reasons: those that could have been too high."""
    return {name: reason for name, reason in reasons.items() if name in LIMITS}


@dataclass(frozen=True)
class Equals:
    """How many captions are, token for token, a reference of their frame."""

    equal: int = 0
    compared: int = 0
    """Captions with words, of frames with references."""

    @classmethod
    def among(cls, pairs: Iterable[Pair]) -> "Equals":
        """Of tokenised pairs: case and punctuation do not count."""
        told = [pair for pair in pairs if pair.counts and pair.candidate]
        return cls(sum(pair.candidate in pair.references for pair in told), len(told))


def alarms(captioner: str, values: Mapping[str, float], metrics: Sequence[Metric], equals: Equals) -> Iterator[Alarm]:
    """The alarms of a captioner: `values` over all its captions by name, `metrics` those that gave them."""
    by_name = {name: metric for metric in metrics for name in names_in_summaries(metric)}
    for name, value in values.items():
        most = highest(by_name[name], name)
        if not -ROUNDING <= value <= most + ROUNDING:  # not a number is neither
            message = f"{name} is {value:.4g}, and can only be 0 to {most:g}: it was computed wrongly, or not by us"
            yield Alarm(captioner=captioner, code="out_of_range", metric=name, value=value, bound=most, message=message)
        elif (limit := LIMITS.get(name)) and value > limit.highest:
            message = f"{name} is {value:.3f}, above {limit.highest:g}: {limit.why}. So {LEAK}. {GRAMMAR}"
            yield Alarm(
                captioner=captioner, code="too_high", metric=name, value=value, bound=limit.highest, message=message
            )
    share = equals.equal / equals.compared if equals.compared else 0.0
    if equals.equal >= EQUAL_LEAST and share > EQUAL_SHARE:
        message = (
            f"{equals.equal} of {equals.compared} captions are a reference of their frame word for word, more than "
            f"{EQUAL_SHARE:.0%}: {LEAK}. References that one grammar writes can be met honestly"
        )
        yield Alarm(
            captioner=captioner, code="equals_reference", metric=SHARE_EQUAL, value=share, bound=EQUAL_SHARE,
            message=message,
        )  # fmt: skip


SHARE_EQUAL = "share_equal_to_a_reference"
"""Stands in the column `metric` of equals_reference."""
