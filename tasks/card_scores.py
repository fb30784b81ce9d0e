"""The scores of a captioner in the row order of PixtralGroundCap's model card, beside the card's own figures.

The one home of those figures. Source: the model card of daniel3303/PixtralGroundCap on the model hub: GroundCap's test
split, 10,000 frames, 70 of them with captions that people wrote. They have no intervals there.
What the card counts as an object mentioned is not public; the rows here are `strict`, which also counts untagged
phrases, and `cited`, which counts tags alone, stands beside them.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from storage.store import Store
from storage.tables import Alarm, Summary
from tasks.counted_captions import uncaptioned_frames
from tasks.metrics import ALL

CARD_MODEL = "PixtralGroundCap"
CARD_DATA = "GroundCap's test split, 10,000 frames"
SHARD = "all"
"""The shard of what is made of all captions of a captioner."""


@dataclass(frozen=True)
class CardFigure:
    """One row of the card."""

    label: str
    """As the card writes it."""
    metric: str
    """Ours that it stands beside."""
    published: float
    cited: str | None = None
    """The same of tags alone."""


CARD = (
    CardFigure("P", "grounding_precision_strict_macro", 0.58, "grounding_precision_cited_macro"),
    CardFigure("R", "grounding_recall_strict_macro", 0.96, "grounding_recall_cited_macro"),
    CardFigure("F1", "grounding_f1_strict_macro", 0.69, "grounding_f1_cited_macro"),
    CardFigure("BLEU-4", "bleu4", 0.19),
    CardFigure("METEOR", "meteor", 0.23),
    CardFigure("CIDEr", "cider_d", 0.51),
    CardFigure("SPICE", "spice", 0.30),
    CardFigure("ROUGE-L", "rouge_l", 0.37),
    CardFigure("gMETEOR", "gmeteor_strict", 0.35, "gmeteor_cited"),
)
NOT_COMPUTED = "not among the metrics that were computed"


@dataclass(frozen=True, kw_only=True)
class CardRow:
    """One row: ours, its 95 % interval, the card's. Without a value, `reason` says why."""

    label: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    cited: float | None
    published: float
    captions: int
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class CardTable:
    """All rows of one captioner, and its alarms."""

    captioner: str
    rows: Sequence[CardRow]
    alarms: Sequence[Alarm]
    captions: int
    """How many captions count, whatever the metrics."""
    compared: int
    """How many of them have references that a metric of the card was to compare them with."""
    uncaptioned: int
    """Frames of the same movies that the captioner has no captions of: they are not among the scores."""

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Why there is no value, to the labels of which. What needs another value lacks it for the same reason."""
        found: dict[str, list[str]] = defaultdict(list)
        for row in self.rows:
            if row.reason:
                found[re.sub(r"^it needs \w+: ", "", row.reason)].append(row.label)
        return dict(found)


def card_table(captioner: str, store: Store) -> CardTable | None:
    """The table of a captioner from its summaries; None where it has none yet."""
    summaries, alarms = (store.ref(table, SHARD, captioner) for table in ("summaries", "alarms"))
    if summaries is None:
        return None
    found = {row.metric: row for row in store.read(summaries, Summary) if row.group == ALL}
    rows = [_row(figure, found.get(figure.metric), found.get(figure.cited or "")) for figure in CARD]
    compared = [found[one.metric].captions for one in CARD if one.cited is None and one.metric in found]
    return CardTable(
        captioner=captioner,
        rows=rows,
        alarms=list(store.read(alarms, Alarm)) if alarms else [],
        captions=max((row.captions for row in found.values()), default=0),
        compared=max(compared, default=0),
        uncaptioned=uncaptioned_frames(captioner, store),
    )


def _row(figure: CardFigure, ours: Summary | None, cited: Summary | None) -> CardRow:
    return CardRow(
        label=figure.label,
        metric=figure.metric,
        value=ours.value if ours else None,
        low=ours.low if ours else None,
        high=ours.high if ours else None,
        cited=cited.value if cited else None,
        published=figure.published,
        captions=ours.captions if ours else 0,
        reason=ours.reason if ours else NOT_COMPUTED,
    )
