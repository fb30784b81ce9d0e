"""A tagged caption as tokens, and what each of them tells, how much it counts, and whom it is about."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks import tags
from toyworld.captioner_heads import ASKS
from toyworld.claims import Span, attribute_spans
from toyworld.facts import RELATIONS

WEIGHTS = {
    "": 1.0, "kind": 3.0, "colour": 3.0, "action": 3.0, "facing": 2.0, "ground": 1.5, "relation": 2.0, "id": 2.0,
    "more": 2.0,
}  # fmt: skip
"""What a token counts by what it tells: most of a caption can be written without looking. A relation counts no more
than what may stand in its place (`more`), or the captioner tells relations that it does not see."""


_FULL_STOP = re.compile(r"[.!?](?=\s|\Z)")


@dataclass
class Words:
    """A caption's tokens, the last one `</s>`."""

    ids: list[int]
    weights: list[float]
    asks: list[int]
    pointers: list[tuple[int, int]] = field(default_factory=list)
    """(place, index of the detection it is about): tokens inside a tag of one object, from the end of its id on; and
    those after a tag, up to the next one or the sentence's end, of whom the sentence is about."""
    plans: list[tuple[int, int]] = field(default_factory=list)
    """(place, index of the detection that is going to be cited): tokens of an opening tag, up to before the number."""


def spell(caption: str, object_ids: Sequence[str], tokenizer: Any) -> Words:
    """`object_ids`: the listed detections', in prompt order."""
    read = tokenizer(caption, add_special_tokens=False, return_offsets_mapping=True)
    asked = _asked(caption, object_ids)
    told = []
    for start, end in read["offset_mapping"]:
        told.append(next((name for name, first, last in asked if start < last and end > first), ""))
    words = Words(
        ids=[*read["input_ids"], tokenizer.eos_token_id],
        weights=[*(WEIGHTS[name] for name in told), WEIGHTS[""]],
        asks=[*(ASKS.index(name) for name in told), 0],
    )
    places = {object_id: index for index, object_id in enumerate(object_ids)}
    mentions = tags.parse(caption).mentions
    for start, end, object_id in _gaps(caption, mentions):
        if object_id in places:
            words.pointers += [
                (place, places[object_id])
                for place, (_, last) in enumerate(read["offset_mapping"])
                if start <= last <= end
            ]
    for mention in mentions:
        words.plans += _plans(caption, mention, places, read["offset_mapping"])
        if len(mention.object_ids) == 1 and mention.object_ids[0] in places:
            words.pointers += [
                (place, places[mention.object_ids[0]])
                for place, (_, end) in enumerate(read["offset_mapping"])
                if mention.open_end <= end < mention.source_end
            ]
    return words


def _gaps(caption: str, mentions: Sequence[tags.Mention]) -> Iterator[tuple[int, int, str]]:
    """Where it is decided what a sentence goes on with, and whom it is about: from each closing tag to the next opening
    one, or to before the full stop. None where the sentence is about several."""
    about: tuple[str, ...] = ()
    ends = [mention.source_start for mention in mentions[1:]] + [len(caption)]
    for mention, end in zip(mentions, ends, strict=True):
        if mention.kind == "action" or not about:
            about = mention.object_ids
        stop = _FULL_STOP.search(caption, mention.source_end, end)
        if len(about) == 1:
            yield mention.source_end, stop.start() if stop else end, about[0]
        if stop:
            about = ()


def _plans(
    caption: str, mention: tags.Mention, places: Mapping[str, int], offsets: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """From each token of an opening tag to the next id in it."""
    start, opening = mention.source_start, caption[mention.source_start : mention.open_end]
    for found in re.finditer(r"(?<= )(\S+)-(\d+)(?=[ >])", opening):
        number = mention.source_start + found.start(2) - 1  # the dash belongs to the number's token
        if found.group() in places:
            yield from (
                (place, places[found.group()])
                for place, (_, end) in enumerate(offsets)
                if start < end <= number and end - start > 1
            )
        start = mention.source_start + found.end()


def _asked(caption: str, object_ids: Sequence[str]) -> list[tuple[str, int, int]]:
    """(name in ASKS, start, end) of places that tell something; numbers of ids where there are several to choose."""
    labels = [object_id.rpartition("-")[0] for object_id in object_ids]
    asked = []
    mentions = tags.parse(caption).mentions
    for mention in mentions:
        opening = caption[mention.source_start : mention.open_end]
        for found in re.finditer(r"(?<= )(\S+)-(\d+)(?=[ >])", opening):
            if labels.count(found[1]) > 1:
                asked.append(("id", mention.source_start + found.start(2) - 1, mention.source_start + found.end(2)))
    gaps = [("more", start, end + 1) for start, end, _ in _gaps(caption, mentions)]
    for span in attribute_spans(caption):
        if span.about in ASKS:
            asked.append((span.about, span.start, span.end))
        elif span.about in RELATIONS:
            asked.append(("relation", span.start, span.end))
            asked += [("relation", first, last) for first, last in _openings(mentions, span)]
    return asked + gaps


def _openings(mentions: Sequence[tags.Mention], span: Span) -> Iterator[tuple[int, int]]:
    """Openings of the tag that says a relation, and of that which says to whom: class and ids are chosen there."""
    for mention in mentions:
        if mention.source_start <= span.start < mention.source_end:
            yield mention.source_start, mention.open_end
        elif mention.source_start > span.start:
            yield mention.source_start, mention.open_end
            return
        if mention.kind == "location" and mention.source_start <= span.start < mention.source_end:
            return
