"""The command `describe`: what stands in a store, table by table, column by column."""

import argparse

from rich.console import Console
from rich.text import Text

from flows.show_answers import Grid, answer_console, show_grid
from storage import catalog
from storage.descriptions import TableDescription, TableSummary, describe, summaries
from tasks.visible_text import visible_line


def describe_store(options: argparse.Namespace) -> int:
    """Run the command."""
    console = answer_console()
    with catalog.connect(options.store) as store:
        if options.table is not None:
            show_table(describe(store, options.table), console)
            return 0
        show_tables(summaries(store), console)
        console.print("\nReady queries (caption-movies sql NAME):\n")
        show_queries(console)
    return 0


def show_tables(tables: list[TableSummary], console: Console) -> None:
    """One line a table."""
    rows = [[Text(one.name, style="bold"), Text(f"{one.rows:,}"), Text(_first_sentence(one.meaning))] for one in tables]
    show_grid(Grid(["table", "rows", "what a row is"], rows, [False, True, False]), console)


def show_table(told: TableDescription, console: Console) -> None:
    """A table with its columns."""
    console.print(Text.assemble((told.name, "bold"), f", {told.rows:,} rows. {told.meaning}"))
    if told.key:
        console.print(f"Key: {', '.join(told.key)}")
    rows = [
        [Text(one.name, style="bold"), Text(one.type), Text(_percent(one.nulls)), Text(visible_line(one.values)),
         Text(one.meaning)]
        for one in told.columns
    ]  # fmt: skip
    show_grid(Grid(["column", "type", "null", "values", "meaning"], rows, [False, False, True, False, False]), console)


def show_queries(console: Console) -> None:
    """The ready queries with their parameters, what these are, and the questions."""
    for query in catalog.queries().values():
        console.print(Text.assemble((query.name, "bold"), "".join(f" {one}" for one in catalog.usage(query))))
        console.print(Text(f"    {query.question}"))
        for name in query.parameters:
            if name in query.meanings:
                console.print(Text(f"        {name}: {query.meanings[name]}", style="dim"))


def _first_sentence(text: str) -> str:
    return text.split(". ", 1)[0].removesuffix(".")


def _percent(share: float) -> str:
    if share == 0:
        return ""
    return "<1 %" if share < 0.005 else f"{100 * share:.0f} %" if share <= 0.995 or share == 1 else ">99 %"
