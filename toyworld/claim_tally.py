"""How much of what captions claim is true, by what it is about, with the best constant answer beside it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from toyworld.claims import claims_of
from toyworld.facts import BROADER, NOT_VISIBLE, RELATIONS, RIGHT, Claim, Facts, Thing, judge

LOOKED_AT = {
    "kind of person": ("kind", ("person",)),
    "colour of clothing": ("colour", ("person",)),
    "colour of object": ("colour", ()),
    "action of person": ("action", ("person",)),
    "action of dog": ("action", ("dog",)),
    "action of cat": ("action", ("cat",)),
    "action of bird": ("action", ("bird",)),
    "action of car": ("action", ("car",)),
    "facing": ("facing", ()),
}
"""Name of a row to (what the claim is about, labels of its subject; none: all that no other row has)."""
RELATIONS_ROW = "relations"
KIND_ROWS = {about: f"- {about}" for about in RELATIONS}
"""Names of the rows of each kind of relation, which `relations` sums up."""


@dataclass
class Tally:
    """The claims of one kind."""

    right: int = 0
    asked: int = 0
    """Claims that are right or wrong; those about what is not to be seen are not counted."""
    unseen: int = 0
    told: int = 0
    """Visible facts that some right claim tells."""
    facts: int = 0
    """Visible facts of this kind."""
    constants: Counter[str] = field(default_factory=Counter)
    """How many of the claims asked would be right with this value in place of theirs."""

    @property
    def accuracy(self) -> float:
        """Right claims of those asked; 0 where nothing was claimed."""
        return self.right / self.asked if self.asked else 0.0

    @property
    def recall(self) -> float:
        """Visible facts told."""
        return self.told / self.facts if self.facts else 0.0

    @property
    def best_constant(self) -> float:
        """Accuracy of the value that would be right most often."""
        return max(self.constants.values(), default=0) / self.asked if self.asked else 0.0


def tally(captions: Iterable[tuple[str, Facts]]) -> dict[str, Tally]:
    """Captions with the facts of their pictures: a tally by row of LOOKED_AT, of all relations and by kind."""
    tallies = {name: Tally() for name in (*LOOKED_AT, RELATIONS_ROW, *KIND_ROWS.values())}
    for text, facts in captions:
        claims = claims_of(text)
        for claim in claims:
            if name := _row_of(claim, facts):
                _count(tallies[name], claim, facts)
            if claim.about in KIND_ROWS:
                _count(tallies[KIND_ROWS[claim.about]], claim, facts)
        _count_facts(tallies, claims, facts)
    return tallies


def _row_of(claim: Claim, facts: Facts) -> str | None:
    """A claim about an object that is not there belongs to the row of its id's label; who is no person has no kind."""
    if claim.about in RELATIONS:
        return RELATIONS_ROW
    thing = facts.thing(claim.subject)
    label = thing.label if thing else claim.subject.rpartition("-")[0]
    rows = [name for name, (about, labels) in LOOKED_AT.items() if about == claim.about and label in labels]
    rest = [name for name, (about, labels) in LOOKED_AT.items() if about == claim.about and about != "action"]
    return next(iter(rows or rest[-1:]), None)


def _count(one: Tally, claim: Claim, facts: Facts) -> None:
    verdict = judge(claim, facts)
    if verdict == NOT_VISIBLE:
        one.unseen += 1
        return
    one.asked += 1
    one.right += verdict == RIGHT
    thing = facts.thing(claim.subject)
    if claim.about in RELATIONS:
        holds = (Claim(claim.subject, relation, claim.value) for relation in RELATIONS)
        one.constants.update(other.about for other in holds if judge(other, facts) == RIGHT)
    elif thing and (value := getattr(thing, claim.about)):
        # "adult" is right of men and women: who always says that is right more often than with any one kind
        broader = (word for word, values in BROADER.items() if value in values)
        one.constants.update([value, *broader])


def _count_facts(tallies: Mapping[str, Tally], claims: frozenset[Claim], facts: Facts) -> None:
    attribute: Callable[[Thing, str], str | None] = getattr
    for thing in facts.things:
        for about in ("kind", "colour", "action", "facing"):
            value = attribute(thing, about)
            name = _row_of(Claim(thing.object_id, about, value or ""), facts)
            if value is None or name is None:
                continue
            tallies[name].facts += 1
            tallies[name].told += Claim(thing.object_id, about, value) in claims
    for about, name in KIND_ROWS.items():
        clear = {one for one in facts.relations if one.about == about}
        for row in (name, RELATIONS_ROW):
            tallies[row].facts += len(clear)
            tallies[row].told += len(clear & claims)
