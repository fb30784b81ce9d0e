"""Clauses of a caption: who does what where, and what relations there are to tell."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from toyworld.facts import Claim, Facts, Thing
from toyworld.phrases import Phrases
from toyworld.wordings import ALIKE, AUTOMATIC, SAME_COLOUR

DOERS = ("person", "dog", "cat", "bird", "car")
RELATION_WEIGHTS = {
    "holding": 3.0, "on": 3.0, "in front of": 1.5, "behind": 1.5, "looking at": 1.5, "same colour as": 0.5,
}  # fmt: skip
"""How likely a kind of relation is told, where there are several."""
DEPTH = ("in front of", "behind")


def listed(parts: Sequence[str]) -> str:
    """'a, b and c'."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def choose_relations(facts: Facts, things: Iterable[Thing], most: int, rng: np.random.Generator) -> list[Claim]:
    """At most so many relations between the things: each pair once, each kind of relation at most twice.

    None between two that no words tell apart.
    """
    left = sorted(_told_apart(facts, things))
    chosen: list[Claim] = []
    while left and len(chosen) < most:
        kinds = [one.about for one in left]
        weights = np.array([RELATION_WEIGHTS[kind] / kinds.count(kind) for kind in kinds])
        new = left[int(rng.choice(len(left), p=weights / weights.sum()))]
        chosen.append(new)
        full = sum(one.about == new.about for one in chosen) >= 2
        left = [
            one
            for one in left
            if {one.subject, one.value} != {new.subject, new.value} and not (full and one.about == new.about)
        ]
    return chosen


def evident_relations(facts: Facts, order: Sequence[Thing]) -> list[Claim]:
    """The relations that one tells who goes through the things in this order and leaves out nothing one sees.

    Everyone who does something tells what they hold and sit on, and the largest thing they are in front of or behind,
    of those who do nothing or were told before. So whether there is something to tell hangs on the picture, not on
    chance. Whom one looks at and who has the same colour is left to the human style: with them here, the small
    captioner told them rightly one time in twenty and one in four.
    """
    place = {one.object_id: index for index, one in enumerate(order)}
    things = {one.object_id: one for one in order}
    clear = sorted(one for one in _told_apart(facts, order) if one.subject in place and one.value in place)
    told: list[Claim] = []
    for thing in order:
        own = [one for one in clear if one.subject == thing.object_id]
        if thing.label not in DOERS:
            beside = [one for one in own if one.about == "behind" and things[one.value].label not in DOERS]
            if not any(things[one.subject].label not in DOERS for one in told):
                told += _largest(beside, things)
            continue
        before = [one for one in own if things[one.value].label not in DOERS or place[one.value] < place[one.subject]]
        mine = [one for one in own if one.about in ("holding", "on")]
        mine += _largest([one for one in before if one.about in DEPTH], things)
        told += mine
    return told


def _told_apart(facts: Facts, things: Iterable[Thing]) -> Iterator[Claim]:
    """The relations between things that words tell apart."""
    names = {one.object_id: (one.label, one.kind, one.colour) for one in things}
    for one in facts.relations:
        if one.subject in names and one.value in names and names[one.subject] != names[one.value]:
            yield one


def _largest(claims: Sequence[Claim], things: Mapping[str, Thing]) -> list[Claim]:
    """The claim whose value is the largest thing, in a list; none of none."""
    return sorted(claims, key=lambda one: things[one.value].area, reverse=True)[:1]


class Clauses:
    """Writes clauses, and keeps the list of relations that are still to be told."""

    def __init__(self, phrases: Phrases, relations: Sequence[Claim]) -> None:
        self.phrases = phrases
        self.untold = list(relations)

    def sentence(self, group: Sequence[Thing]) -> str:
        """Who does what where; now and then where first."""
        if self.phrases.chance(0.15) and (place := self.phrases.ground(group)):
            return f"{place}, {self.about(group, place=False)}"
        return self.about(group)

    def about(self, group: Sequence[Thing], *, place: bool = True, verb: bool = True) -> str:
        """Who does what where: things that do the same. With what one alone holds, sits on or looks at.

        Without `verb` it is no sentence: 'a man walking on the grass'.
        """
        phrases = self.phrases
        who = phrases.several(group) if phrases.look_alike(group) else listed([phrases.thing(one) for one in group])
        if group[0].action is None:
            does = f"{'is' if len(group) == 1 else 'are'} {phrases.pick('in view', 'to be seen')}" if verb else ""
        else:
            does = phrases.doing(group, verb=verb)
        where = self._seat(group) or phrases.ground(group, again=0.5) if place else ""
        words = " ".join(part for part in (who, does, where) if part)
        return words if len(group) > 1 else words + self._besides(group[0])

    def _seat(self, group: Sequence[Thing]) -> str:
        """'on a red chair'."""
        claim = self._take(group[0], "on") if len(group) == 1 else None
        seat = self.phrases.facts.thing(claim.value) if claim else None
        if claim is None or seat is None:
            return ""
        self.phrases.said.add(claim)
        return self.phrases.place_at(seat, "on")

    def _besides(self, thing: Thing) -> str:
        """', holding a red umbrella, behind a tree', ', in the same colour as the dog', ', facing left'."""
        phrases, parts = self.phrases, []
        if claim := self._take(thing, "holding"):
            parts.append(phrases.relating(claim, verb=False))
        if claim := self._take(thing, "looking at"):
            parts.append(phrases.relating(claim, verb=False))
        parts += [self._beside(claim) for about in DEPTH if (claim := self._take(thing, about))]
        if claim := self._take(thing, "same colour as"):
            parts.append(f"{'in ' if thing.label == 'person' else ''}{ALIKE} {self._colour_of(claim)}")
        if thing.facing and not parts and self._tells_facing(thing):
            parts.append(phrases.facing(thing))
        return "".join(f", {part}" for part in parts)

    def _tells_facing(self, thing: Thing) -> bool:
        """Whether it is said where one faces who has nothing else to tell.

        In automatic captions the action decides, not chance: else after each action there may come something, and a
        captioner that is half sure of a relation tells it.
        """
        if self.phrases.style == AUTOMATIC:
            return thing.action == "stand"
        return self.phrases.chance(0.3)

    def _beside(self, claim: Claim) -> str:
        """'behind a tree'."""
        other = self.phrases.facts.thing(claim.value)
        assert other is not None
        self.phrases.said.add(claim)
        if other.label in DOERS:
            return f"{claim.about} {self.phrases.thing(other)}"
        return self.phrases.place_at(other, claim.about)

    def _colour_of(self, claim: Claim) -> str:
        """'the man's shirt'."""
        other = self.phrases.facts.thing(claim.value)
        assert other is not None
        self.phrases.said.add(claim)
        return self.phrases.coloured_part(other)

    def _take(self, subject: Thing, about: str) -> Claim | None:
        """A relation of the subject that is still to be told; it counts as told then."""
        found = next((one for one in self.untold if (one.subject, one.about) == (subject.object_id, about)), None)
        if found:
            self.untold.remove(found)
        return found

    def relations(self) -> list[str]:
        """A clause for each relation that is still to be told."""
        told, self.untold = [self._related(claim) for claim in self.untold], []
        return told

    def _related(self, claim: Claim) -> str:
        phrases = self.phrases
        subject, other = phrases.facts.thing(claim.subject), phrases.facts.thing(claim.value)
        assert subject is not None
        assert other is not None
        if claim.about in ("holding", "looking at"):
            return f"{phrases.thing(subject)} {phrases.relating(claim)}"
        if claim.about == "same colour as":
            words = phrases.pick(*SAME_COLOUR)
            return f"{phrases.coloured_part(subject)} {words} {self._colour_of(claim)}"
        return f"{phrases.thing(subject)} is {self._beside(claim)}"


def together(things: Sequence[Thing], phrases: Phrases, part: float, alone: Collection[str] = ()) -> list[list[Thing]]:
    """The things in their order, neighbours that do the same in pairs as often as `part` says.

    Those whose ids are in `alone` stand alone.
    """
    groups: list[list[Thing]] = []
    for one in things:
        last = groups[-1] if groups else []
        alike = bool(last) and one.action is not None and _likeness(last[0]) == _likeness(one)
        if alike and len(last) < 2 and not {last[0].object_id, one.object_id} & {*alone} and phrases.chance(part):
            last.append(one)
        else:
            groups.append([one])
    return groups


def _likeness(thing: Thing) -> tuple[str, str | None, str | None]:
    return thing.label, thing.action, thing.ground


def by_label(things: Iterable[Thing]) -> Mapping[str, list[Thing]]:
    """The things of each label, both in their order."""
    groups: dict[str, list[Thing]] = {}
    for one in things:
        groups.setdefault(one.label, []).append(one)
    return groups
