"""Which relations between things a picture shows."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations

from toyworld.facts import Claim, Thing
from toyworld.picture import Region
from toyworld.scene import Actor

COVERED = 0.1
"""Part of a thing that another one has to cover before one sees at a glance that it is behind that one."""
HELD_HIDDEN = 0.6
"""A hand or seat of which more is covered cannot be seen to hold or carry anything."""
LOOKING_DEPTH, LOOKING_FAR = 0.1, 0.4
"""Largest difference of ground between who looks and what is looked at, as a fraction of the world's height, and
largest distance, as one of its width."""
LOOKING_DEPTH_CLEAR, LOOKING_NEAR = 0.06, 0.25
"""Likewise, for one to see it at a glance."""
LOOKERS = ("person", "dog", "cat")
LOOKED_AT = ("person", "dog", "cat", "bird", "car", "sports-ball", "chair", "potted-plant")
"""Who sits on a chair is looked at before the chair."""


def relations_of(
    things: Sequence[Thing], actors: Mapping[int, Actor], regions: Mapping[int, Region]
) -> tuple[frozenset[Claim], frozenset[Claim]]:
    """(those one sees at a glance, those that hold but are hard to see) between the things; regions by actor_id."""
    clear: set[Claim] = set()
    faint: set[Claim] = set()
    for one, other in permutations(things, 2):
        a, b = actors[one.actor_id], actors[other.actor_id]
        belongs = a.held_by == b.actor_id or a.on == b.actor_id
        if belongs:
            seen = max(regions[a.actor_id].hidden, regions[b.actor_id].hidden) <= HELD_HIDDEN
            held = a.held_by == b.actor_id
            claim = _claim(other, "holding", one) if held else _claim(one, "on", other)
            (clear if seen else faint).add(claim)
        if covered := regions[a.actor_id].behind.get(b.actor_id):
            tied = belongs or b.held_by == a.actor_id or b.on == a.actor_id
            seen = covered >= COVERED and not tied
            (clear if seen else faint).update({_claim(one, "behind", other), _claim(other, "in front of", one)})
        if one.colour is not None and one.colour == other.colour:
            clear.add(_claim(one, "same colour as", other))
    for one in things:
        for place, (target, evident) in enumerate(_looked_at(one, things, actors)):
            (clear if evident and not place else faint).add(_claim(one, "looking at", target))
    return frozenset(clear), frozenset(faint - clear)


def _claim(subject: Thing, relation: str, value: Thing) -> Claim:
    return Claim(subject.object_id, relation, value.object_id)


def _looked_at(one: Thing, things: Sequence[Thing], actors: Mapping[int, Actor]) -> Iterator[tuple[Thing, bool]]:
    """What lies where it looks, at about its depth, the nearest first; and whether one sees that at a glance."""
    if one.label not in LOOKERS or one.facing not in ("left", "right"):
        return
    a, sign = actors[one.actor_id], -1 if one.facing == "left" else 1
    found = []
    for other in things:
        b = actors[other.actor_id]
        if other is one or other.label not in LOOKED_AT or a.on == b.actor_id or b.held_by is not None:
            continue
        distance, deep = sign * (b.x - a.x), abs(a.ground - b.ground)
        if deep <= LOOKING_DEPTH and b.action != "fly" and 0.04 <= distance <= LOOKING_FAR:
            evident = deep <= LOOKING_DEPTH_CLEAR and distance <= LOOKING_NEAR
            found.append((distance, LOOKED_AT.index(other.label), other.object_id, other, evident))
    yield from (pair[3:] for pair in sorted(found, key=lambda each: each[:3]))
