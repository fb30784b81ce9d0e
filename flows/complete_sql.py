"""What may come next in a question: completion for the shell. It knows names and no grammar, and asks no store."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from storage.catalog import Query

COLUMN, TABLE, QUERY, PARAMETER, KEYWORD, COMMAND, VALUE = (
    "column", "table", "ready query", "parameter", "keyword", "command", "value",
)  # fmt: skip
FUNCTIONS = ("avg", "count", "list", "max", "median", "min", "round", "sum", "unnest", "string_agg", "starts_with")
_WORD = re.compile(r'["\w.$]*\Z')
_NAMED = re.compile(
    r'\b(?:from|join)\s+"?(\w+)"?(?:\s+(?:as\s+)?(?!on\b|using\b|where\b|join\b|left\b|group\b|order\b)(\w+))?', re.I
)
_TEXT = re.compile(r"'(?:[^']|'')*(?:'|\Z)|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Suggestion:
    """A word that may stand in place of the last `typed` characters."""

    word: str
    kind: str
    typed: int


@dataclass(frozen=True)
class Names:
    """What can be named in the shell."""

    columns: Mapping[str, Sequence[str]]
    """By table or view."""
    queries: Mapping[str, Query]
    commands: Mapping[str, Sequence[str]]
    """By command of the shell, such as `.describe`, the words that it may be given."""
    keywords: Sequence[str]


def keywords() -> list[str]:
    """DuckDB's reserved words and some functions, in lower case."""
    with duckdb.connect() as connection:
        found = connection.execute("select keyword_name from duckdb_keywords() where keyword_category = 'reserved'")
        reserved = [word for (word,) in found.fetchall()]
    return sorted({*reserved, *FUNCTIONS, "by", "exclude", "explain", "filter", "over", "partition", "values"})


def without_texts(sql: str) -> str:
    """SQL with its texts and comments emptied, those that are not closed too."""
    return _TEXT.sub(lambda found: "''" if found[0].startswith("'") else " ", sql)


def in_text(before: str) -> bool:
    """Whether what follows stands in a text or a comment."""
    last = next((one[0] for one in _TEXT.finditer(before) if one.end() == len(before)), "")
    if last.startswith("'"):
        return last.count("'") % 2 == 1
    return last.startswith("--") or (last.startswith("/*") and not (last.endswith("*/") and len(last) > 3))


def suggest(before: str, after: str, names: Names) -> list[Suggestion]:
    """The words that may stand at the cursor, between `before` and `after`; the likeliest kind first.

    Columns of the tables that the question names come before all; none inside a text or a comment.
    """
    question = before.rpartition(";")[2].lstrip() if not before.lstrip().startswith(".") else before.lstrip()
    if in_text(question):
        return []
    found = _WORD.search(question)
    word = found[0] if found else ""
    first, _, rest = question.partition(" ")
    if question.startswith("."):
        return _of_command(question, names)
    if (rest or question.endswith(" ")) and first in names.queries:
        given = set(re.findall(r"(\w+)=", question))
        wanted = [f"{one}=" for one in names.queries[first].parameters if one not in given]
        return _matching(question.rpartition(" ")[2], [(PARAMETER, wanted)])
    tables = _named(question + after, names.columns)
    if "." in word:
        alias, _, typed = word.replace('"', "").rpartition(".")
        return _matching(typed, [(COLUMN, names.columns.get(tables.get(alias, alias), ()))])
    kinds: list[tuple[str, Iterable[str]]] = [(COLUMN, _columns(set(tables.values()), names.columns))]
    if re.search(r"\b(from|join|describe|summarize|table)\s+\w*\Z", question, re.IGNORECASE):
        kinds = [(TABLE, names.columns)]
    elif word == question:
        kinds = [(QUERY, names.queries), (KEYWORD, names.keywords)]
    else:
        kinds += [(KEYWORD, names.keywords), (TABLE, names.columns)]
        kinds += [(COLUMN, _columns(names.columns.keys(), names.columns))] if not tables else []
    return _matching(word, kinds)


def _of_command(question: str, names: Names) -> list[Suggestion]:
    command, gap, rest = question.partition(" ")
    if not gap:
        return _matching(command, [(COMMAND, names.commands)])
    return _matching(rest.rpartition(" ")[2], [(VALUE, names.commands.get(command, ()))])


def _named(question: str, columns: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The tables that a question names, by their names there: aliases and their own."""
    tables = {}
    for table, alias in _NAMED.findall(without_texts(question)):
        if table in columns:
            tables[table] = table
            if alias:
                tables[alias] = table
    return tables


def _columns(tables: Iterable[str], columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    wanted = set(tables)
    return (column for table, own in columns.items() if table in wanted for column in own)


def _matching(typed: str, kinds: Iterable[tuple[str, Iterable[str]]]) -> list[Suggestion]:
    """Of every kind the words that begin as typed, once each."""
    start = typed.replace('"', "").lower()
    found: dict[str, Suggestion] = {}
    for kind, words in kinds:
        for word in words:
            if word.lower().startswith(start) and word.lower() != start:
                found.setdefault(word, Suggestion(word, kind, len(typed)))
    return list(found.values())
