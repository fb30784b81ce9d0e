"""Tables about scores beside `scores`, `summaries` and `metrics`: alarms, and what gates compare with."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from storage.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm(Row):
    """A summary that cannot be, or is too good to be true. Nothing is stopped by it; no row: no alarm."""

    table: ClassVar[str] = "alarms"
    key: ClassVar[tuple[str, ...]] = ("captioner", "code", "metric")
    references: ClassVar[dict[str, str]] = {}

    captioner: Annotated[str, "summaries.captioner"]
    code: Annotated[str, "out_of_range (no such value can be) | too_high (above what natural references let anyone "
                         "reach) | equals_reference (too many captions are a reference word for word)"]  # fmt: skip
    metric: Annotated[str, "summaries.metric; share_equal_to_a_reference of equals_reference"]
    value: Annotated[float, "the value that gave the alarm, over all captions"]
    bound: Annotated[float, "what it is above (out_of_range: or below 0)"]
    message: Annotated[str, "what is wrong, why that is the bound, and what may be the cause"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline(Row):
    """What a gate compares a captioner's next scores with: its summaries when a gate first asked, or when accepted."""

    table: ClassVar[str] = "baselines"
    key: ClassVar[tuple[str, ...]] = ("captioner", "metric")
    references: ClassVar[dict[str, str]] = {}

    captioner: Annotated[str, "summaries.captioner"]
    metric: Annotated[str, "summaries.metric"]
    value: Annotated[float | None, "summaries.value of group 'all' then; null where there was none"]
    captions: Annotated[int, "summaries.captions then"]
    signature: Annotated[str, "summaries.signature then: a gate compares only what was computed in the same way"]
