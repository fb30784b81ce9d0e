"""A caption cut into runs: pieces of its tagged text, each with the tags it stands in and the faults that lie on it.

The page shows the runs one after another: the words alone, or tags and all. It does no counting of characters, which
Python and browsers do not do alike.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks import tags

WORDS, MARKUP = 0, 1


@dataclass(frozen=True, slots=True)
class Run:
    """A piece of the tagged text with nothing beginning or ending inside."""

    text: str
    role: int
    """WORDS, or MARKUP: a tag or what is left of one."""
    mentions: tuple[int, ...]
    """Indices of the mentions it stands in, the outermost first."""
    faults: tuple[int, ...]
    """Indices of the violations that lie on it."""


def runs_of(text: str, faults: Sequence[tuple[int, int]]) -> list[Run]:
    """Cut a tagged text at every tag and at both ends of every fault (start, end).

    A fault of no width becomes a run without text. Together the runs' texts are the text.
    """
    parsed = tags.parse(text)
    spans = [(start, max(start, min(end, len(text)))) for start, end in faults]
    edges = {0, len(text)} | {edge for span in spans for edge in span}
    edges |= {segment.start for segment in parsed.segments}
    for mention in parsed.mentions:
        edges |= {mention.source_start, mention.open_end, mention.source_end}
    cuts = sorted(edges)
    roles = _roles(parsed)
    mentions = _covering(((one.source_start, one.source_end) for one in parsed.mentions), cuts)
    covering = _covering(spans, cuts)
    empty = defaultdict(list)
    for index, (start, end) in enumerate(spans):
        if start == end:
            empty[start].append(index)
    runs = []
    for place, start in enumerate(cuts):
        if start in empty:
            runs.append(Run("", MARKUP, (), tuple(empty[start])))
        if place + 1 < len(cuts):
            role = roles[bisect_left(roles, (start + 1, -1)) - 1][1]
            runs.append(Run(text[start : cuts[place + 1]], role, mentions[place], covering[place]))
    return runs


def _roles(parsed: tags.Parsed) -> list[tuple[int, int]]:
    """(start, role) of every segment, in order."""
    return [(one.start, WORDS if one.role == "text" else MARKUP) for one in parsed.segments] or [(0, WORDS)]


def _covering(spans: Iterable[tuple[int, int]], cuts: Sequence[int]) -> list[tuple[int, ...]]:
    """For each piece between two cuts the indices of the spans over it, in order."""
    begins, ends = defaultdict(list), defaultdict(list)
    for index, (start, end) in enumerate(spans):
        if start < end:
            begins[start].append(index)
            ends[end].append(index)
    active: dict[int, None] = {}
    found = []
    for cut in cuts[:-1]:
        for index in ends[cut]:
            del active[index]
        for index in begins[cut]:
            active[index] = None
        found.append(tuple(sorted(active)))
    return found
