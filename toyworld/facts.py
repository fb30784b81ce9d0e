"""What a picture shows, as plain values: the truth that captions are written from and claims are judged by.

toyworld/seeing.py makes them. What is too small or too hidden to be told is no fact (None): a caption says nothing of
it, and a claim about it is neither right nor wrong.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from toyworld.vocabulary import KINDS

ATTRIBUTES = ("kind", "colour", "action", "facing")
"""What a claim can say of one object, with a word of vocabulary for its value."""
RELATIONS = ("in front of", "behind", "holding", "on", "looking at", "same colour as")
"""What a claim can say of a thing and another thing, with an object id for its value. "on" is on a chair or table."""
GROUND = "ground"
"""What a claim says of a thing and the stuff it is on or in; its value is an object id of that stuff."""
SCENE = "scene"
"""Subject of claims about the whole picture; they are about 'place', 'weather' or 'light'."""
BROADER = {"child": ("boy", "girl"), "adult": ("man", "woman")}
"""Values of a claim that are right for several kinds."""


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """One thing that a caption says."""

    subject: str
    """An object id, or SCENE."""
    about: str
    """One of ATTRIBUTES or RELATIONS, GROUND, or 'place', 'weather', 'light'."""
    value: str
    """A word of vocabulary (or of BROADER), or an object id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing that the picture shows and somebody has named. None: not to be seen, or there is none."""

    object_id: str
    label: str
    """As ids write it."""
    actor_id: int
    kind: str | None
    colour: str | None
    action: str | None
    facing: str | None
    area: float
    """What is seen of it, as a fraction of the picture."""
    ground: str | None
    """Label of the stuff it is on or in, as ids write it; None also where that stuff has no id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuff:
    """All of one stuff class."""

    label: str
    """As ids write it."""
    object_ids: tuple[str, ...]
    area: float
    """As a fraction of the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one picture shows."""

    place: str
    weather: str
    light: str
    seen: frozenset[str]
    """Those of 'place', 'weather', 'light' that the picture tells."""
    things: tuple[Thing, ...]
    """In prompt order."""
    stuff: tuple[Stuff, ...]
    """In prompt order of their first box."""
    relations: frozenset[Claim]
    """Relations that hold and that one sees at a glance; symmetric ones both ways, in-front-of with its behind."""
    faint: frozenset[Claim]
    """Relations that hold too, but are hard to see, or ask for a second look: not worth saying, yet not wrong."""

    def thing(self, object_id: str) -> Thing | None:
        """The thing of that id; None when it is no thing's."""
        return next((one for one in self.things if one.object_id == object_id), None)


RIGHT, WRONG, NOT_VISIBLE = "right", "wrong", "not visible"


def judge(claim: Claim, facts: Facts) -> str:
    """RIGHT, WRONG or NOT_VISIBLE. Ids that stand for nothing in the picture make a claim WRONG."""
    if claim.subject == SCENE:
        return _judged([claim.value], getattr(facts, claim.about) if claim.about in facts.seen else None)
    thing = facts.thing(claim.subject)
    if claim.about in ATTRIBUTES:
        if thing is None:
            is_stuff = any(claim.subject in stuff.object_ids for stuff in facts.stuff)
            return NOT_VISIBLE if is_stuff else WRONG
        said = BROADER.get(claim.value, (claim.value,))
        if claim.about == "kind" and thing.label not in KINDS:
            return WRONG
        return _judged(said, getattr(thing, claim.about))
    if claim.about == GROUND:
        if thing is None or thing.ground is None:
            return WRONG if thing is None else NOT_VISIBLE
        ids = next((stuff.object_ids for stuff in facts.stuff if stuff.label == thing.ground), ())
        return RIGHT if claim.value in ids else WRONG
    if claim in facts.relations or claim in facts.faint:
        return RIGHT
    other = facts.thing(claim.value)
    return NOT_VISIBLE if thing and other and _is_hidden(claim.about, thing, other) else WRONG


def _is_hidden(relation: str, thing: Thing, other: Thing) -> bool:
    """Whether what decides on a relation cannot be seen: the colour of either, where somebody looks."""
    if relation == "same colour as":
        return thing.colour is None or other.colour is None
    return relation == "looking at" and thing.facing is None


def _judged(said: Iterable[str], true: str | None) -> str:
    if true is None:
        return NOT_VISIBLE
    return RIGHT if true in said else WRONG
