"""docs/tables.md and docs/queries.md, from the dataclasses and the queries themselves."""

from storage.catalog import CAPTIONS_CHOSEN_COMMENT, CAPTIONS_OK_COMMENT, FILES_COMMENT, Query, queries
from storage.parquet import columns, schema
from storage.tables import TABLES, Box, Image

STRUCTS = {Box: "struct Box(x, y, w, h)", Image: "struct Image(bytes, path)"}


def tables_markdown() -> str:
    """docs/tables.md: every table with its columns, from the dataclasses."""
    parts = ["# Tables", "", "Generated from `storage/tables.py` by `make docs`. Do not edit.", ""]
    for name, row in TABLES.items():
        parts += [f"## {name}", "", " ".join((row.__doc__ or "").split()), ""]
        parts += [f"Key: {', '.join(f'`{column}`' for column in row.key)}.", ""]
        parts += ["| column | type | may be null | meaning |", "| --- | --- | --- | --- |"]
        for column, field in zip(columns(row), schema(row), strict=True):
            kind = STRUCTS.get(column.kind, str(field.type))
            parts.append(f"| {column.name} | {kind} | {'yes' if column.nullable else ''} | {column.comment} |")
        parts.append("")
    parts += [
        "## Views beside them",
        "",
        f"- `captions_ok`: {CAPTIONS_OK_COMMENT}.",
        f"- `captions_chosen`: {CAPTIONS_CHOSEN_COMMENT}.",
        f"- `files`: {FILES_COMMENT}.",
        "",
    ]
    parts.append("[queries.md](queries.md) lists the ready queries.")
    return "\n".join(parts) + "\n"


def queries_markdown() -> str:
    """docs/queries.md: every ready query with its question and its SQL."""
    parts = ["# Ready queries", "", "Made from `storage/queries/` by `make docs`; do not edit.", ""]
    parts += ["| ask | question |", "|---|---|"]
    parts += [f"| [`{_asked(query)}`](#{query.name}) | {query.question} |" for query in queries().values()]
    for query in queries().values():
        body = query.sql.strip().partition("\n")[2]
        parts += ["", f"## {query.name} {{ #{query.name} }}", "", f"{query.question}.", ""]
        parts += ["```sh", f"caption-movies sql {_asked(query)}", "```", "", "```sql", body, "```"]
    return "\n".join(parts) + "\n"


def _asked(query: Query) -> str:
    wanted = [name for name in query.parameters if name not in query.defaults]
    return " ".join([query.name, *(f"{name}={name.upper()}" for name in wanted)])
