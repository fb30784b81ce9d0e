"""An answer of DuckDB for people: a table, or column by column where a row is wider than the terminal."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

import duckdb
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from storage.answers import as_text, names_of, rows_of, without_bytes
from tasks.visible_text import visible, visible_line

MOST_ROWS = 200
MOST_RECORDS = 20
"""Rows that are shown at most, as a table and column by column."""
WIDTH_OF_NO_TERMINAL = 160
WIDEST_WORD = 40
"""A column gets so many cells for its longest word; a longer one is broken."""
NARROWEST_TEXT = 24
"""Cells that a column of text has at least, where it has so much to say."""
GAP = 3
"""Cells that a column takes beside its text."""


@dataclass(frozen=True)
class Grid:
    """What is shown as a table, or column by column."""

    names: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numbers: Sequence[bool]
    """Which columns are aligned to the right."""


@dataclass(frozen=True)
class Shown:
    """How much of an answer was shown."""

    rows: int
    left_out: int


class Visible:
    """A terminal, which nothing that stands in a store steers."""

    def __init__(self, terminal: IO[str]) -> None:
        self._terminal = terminal

    def write(self, text: str, /) -> int:
        """Write what is visible of it."""
        return self._terminal.write(visible(text))


def terminal_width() -> int:
    """Cells across: the terminal's, $COLUMNS, or WIDTH_OF_NO_TERMINAL."""
    return shutil.get_terminal_size((WIDTH_OF_NO_TERMINAL, 24)).columns


def answer_console() -> Console:
    """Where answers are shown: stdout, without colours where it is no terminal."""
    return Console(width=terminal_width(), highlight=False)


def show_answer(answer: duckdb.DuckDBPyRelation, console: Console | None = None, most_rows: int | None = None) -> Shown:
    """Print an answer, `most_rows` of it at most (None: MOST_ROWS or MOST_RECORDS; 0: all), and say what is left out.

    Raises StoreError; Ctrl-C ends it.
    """
    console = console or answer_console()
    names = [visible_line(name) for name in names_of(answer)]
    if names == ["explain_key", "explain_value"]:
        plans = [as_text(plan) for _, plan in rows_of(answer)]
        console.print(Text("\n".join(plans)), soft_wrap=True)
        return Shown(len(plans), 0)
    most = MOST_ROWS if most_rows is None else most_rows
    rows = list(rows_of(answer.limit(most + 1) if most else answer))
    more = bool(most) and len(rows) > most
    cells = [[_cell(value) for value in row] for row in (rows[:most] if most else rows)]
    numbers = [_are_numbers([row[place] for row in rows]) for place in range(len(names))]
    grid = Grid(names, cells, numbers)
    if most_rows is None and not _is_table(grid, console) and len(cells) > MOST_RECORDS:
        grid, more = Grid(names, cells[:MOST_RECORDS], numbers), True
    show_grid(grid, console)
    left_out = max(0, _count(answer) - len(grid.rows)) if more else 0
    if left_out:
        told = f"{left_out:,} more row{'s' if left_out > 1 else ''} not shown, {len(grid.rows):,} shown"
        console.print(Text(told, style="yellow"))
    return Shown(len(grid.rows), left_out)


def show_grid(grid: Grid, console: Console) -> None:
    """Print a table, or column by column where it has one row or is too wide; of none the names of the columns."""
    if _is_table(grid, console):
        console.print(_table(grid))
    elif not grid.rows:
        console.print(Text(", ".join(grid.names), style="bold"))
    else:
        _print_records(grid, console)


def _is_table(grid: Grid, console: Console) -> bool:
    return len(grid.rows) != 1 and sum(_widths(grid)) + GAP * len(grid.names) + 1 <= console.width


def _count(answer: duckdb.DuckDBPyRelation) -> int:
    """How many rows there are. Asked anew, so that no picture is read for it."""
    ((number,),) = rows_of(answer.aggregate("count(*)"))
    return int(number)


def _are_numbers(values: Sequence[Any]) -> bool:
    there = [one for one in values if one is not None]
    return bool(there) and all(isinstance(one, int | float) and not isinstance(one, bool) for one in there)


def _cell(value: Any) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    if isinstance(value, float):
        return Text(f"{value:.10g}")
    return Text(visible(as_text(without_bytes(value))))


def _widths(grid: Grid) -> list[int]:
    """The least that each column needs: its longest word, and of a text some more."""
    widths = []
    for place, name in enumerate(grid.names):
        texts = [row[place].plain for row in grid.rows]
        longest = max((cell_len(line) for text in texts for line in text.splitlines()), default=0)
        word = max((cell_len(word) for text in texts for word in text.split()), default=0)
        widths.append(max(cell_len(name), min(word, WIDEST_WORD), min(longest, NARROWEST_TEXT)))
    return widths


def _table(grid: Grid) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name, least, number in zip(grid.names, _widths(grid), grid.numbers, strict=True):
        table.add_column(Text(name), justify="right" if number else "left", min_width=least, overflow="fold")
    for row in grid.rows:
        table.add_row(*row)
    return table


def _print_records(grid: Grid, console: Console) -> None:
    name_width = min(max((cell_len(name) for name in grid.names), default=0), WIDEST_WORD)
    for number, row in enumerate(grid.rows, 1):
        if len(grid.rows) > 1:
            console.print(Rule(f"row {number}", align="left", style="dim"))
        record = Table.grid(padding=(0, 2))
        record.add_column(style="bold", width=name_width, overflow="fold")
        record.add_column(overflow="fold")
        for name, value in zip(grid.names, row, strict=True):
            record.add_row(Text(name), value)
        console.print(record)
