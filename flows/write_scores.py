"""Tables of scores as text: for the terminal, and as Markdown for Prefect's artifacts."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flows.escape_markdown import as_code
from tasks.card_scores import CARD_DATA, CARD_MODEL, CardRow, CardTable

if TYPE_CHECKING:
    from flows.run_state import Failed
    from tasks.gates import Decision

OTHER_DATA = f"card: {CARD_MODEL}'s own figures, on {CARD_DATA}: other pictures and references than these"
COLUMNS = ("metric", "value", "95 % interval", "tags alone", "card")


def as_lines(table: CardTable) -> Iterator[str]:
    """The table of one captioner for a terminal."""
    yield f"Scores of {table.captioner} over {table.captions} captions, {table.compared} with references"
    rows = [COLUMNS, *(_cells(row) for row in table.rows)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    for row in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        yield "    " + "  ".join([f"{row[0]:{widths[0]}}", *cells]).rstrip()
    yield f"    {OTHER_DATA}"
    if table.uncaptioned:
        yield f"    {_not_captioned(table)}"
    for reason, labels in table.reasons.items():
        yield f"    no {', '.join(labels)}: {reason}"
    for alarm in table.alarms:
        yield f"    ALARM {alarm.code}: {alarm.message}"


def as_markdown(
    tables: Sequence[CardTable], decisions: "Sequence[Decision]" = (), failures: "Sequence[Failed]" = ()
) -> str:
    """All of it as a page."""
    lines = [f"- **{as_code(one.step)}** failed: {as_code(one.error)}" for one in failures]
    lines += [f"- gate {one}" for one in decisions]
    for table in tables:
        lines += ["", f"# Scores of `{table.captioner}`", ""]
        lines += [f"{table.captions} captions, {table.compared} with references.", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(_cells(row))} |" for row in table.rows]
        lines += ["", OTHER_DATA, ""]
        lines += [f"- {_not_captioned(table)}"] if table.uncaptioned else []
        lines += [f"- no {', '.join(labels)}: {reason}" for reason, labels in table.reasons.items()]
        lines += [f"- **alarm {alarm.code}**: {alarm.message}" for alarm in table.alarms]
    return "\n".join(lines).strip() + "\n"


def _not_captioned(table: CardTable) -> str:
    frames = (
        "1 frame of these movies has" if table.uncaptioned == 1 else f"{table.uncaptioned} frames of these movies have"
    )
    return f"{frames} no caption by {table.captioner} yet, and are not among these scores; run its captioning again"


def _cells(row: CardRow) -> tuple[str, ...]:
    between = f"{_number(row.low)} to {_number(row.high)}" if row.low is not None else "-"
    cited = "" if row.cited is None else _number(row.cited)
    return row.label, _number(row.value), between, cited, f"{row.published:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
