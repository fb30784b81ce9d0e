"""What gates read: a captioner's summaries as they are now, and as they were when a gate first asked, or were accepted.

The baseline of a captioner is a file of its own, not "what stood in summaries before": scoring that was interrupted, or
a run that failed and is begun again, would else be compared with itself and pass; and a captioner that gets a little
worse with every run would pass every time.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from storage.store import Store
from storage.tables import Baseline, Summary
from tasks.metrics import ALL

VERSION = 1
SHARD = "all"
"""The shard of what is made of all captions of a captioner."""
VARIES = ("references ", "interval:")
"""How the parts of a signature begin that may differ between values that compare: other frames, other references."""


@dataclass(frozen=True)
class Known:
    """One value of a captioner, or why it has none."""

    value: float | None
    reason: str | None
    signature: str
    captions: int
    more: int = 0
    """By how much the value may be higher, for the reason: alarms that could not be decided."""

    def computed_as(self, other: "Known") -> bool:
        """Whether both were computed in the same way: metric, version, tokenizer, settings, libraries, models."""
        return _how(self.signature) == _how(other.signature)


def _how(signature: str) -> list[str]:
    return [part for part in signature.split("; ") if not part.startswith(VARIES)]


def current_values(captioner: str, store: Store) -> dict[str, Known] | None:
    """The values over all captions by metric, as they stand in summaries; None where there are none."""
    ref = store.ref("summaries", SHARD, captioner)
    if ref is None:
        return None
    rows = (row for row in store.read(ref, Summary) if row.group == ALL)
    return {row.metric: Known(row.value, row.reason, row.signature, row.captions) for row in rows}


def baseline_values(captioner: str, store: Store) -> dict[str, Known] | None:
    """The values of the captioner's own baseline by metric; None where it has none."""
    ref = store.ref("baselines", SHARD, captioner)
    if ref is None:
        return None
    lost = "it had no value when the baseline was taken. Take a new one: run once with --accept."
    rows: Iterable[Baseline] = store.read(ref, Baseline)
    return {row.metric: Known(row.value, lost, row.signature, row.captions) for row in rows}


def take_baseline(captioner: str, store: Store) -> None:
    """Make the summaries of a captioner its baseline. Without summaries nothing happens."""
    ref, values = store.ref("summaries", SHARD, captioner), current_values(captioner, store)
    if ref is None or values is None:
        return
    output = store.output(
        [Baseline],
        stage="baseline",
        shard=SHARD,
        version=VERSION,
        config={"summaries": ref.fingerprint},  # no input: it stays when the summaries are made anew
        captioner=captioner,
    )
    if output.is_current():
        return
    with output.writer() as write:
        for metric, known in values.items():
            write(
                Baseline(
                    captioner=captioner,
                    metric=metric,
                    value=known.value,
                    captions=known.captions,
                    signature=known.signature,
                )
            )
