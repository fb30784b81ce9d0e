"""Phrases of a caption: facts to tagged words. Every phrase notes what it has said."""

from collections.abc import Iterable, Sequence

import numpy as np

from tasks import tags
from tasks.lexicon import plural
from toyworld import wordings
from toyworld.facts import GROUND, SCENE, Claim, Facts, Stuff, Thing
from toyworld.wordings import AUTOMATIC


class Phrases:
    """Writes the phrases of one caption. Things are met once with all that is seen of them, then briefly."""

    def __init__(self, facts: Facts, style: str, rng: np.random.Generator) -> None:
        self.facts, self.style, self.rng = facts, style, rng
        self.said: set[Claim] = set()
        self.met: set[str] = set()
        """Object ids already spoken of."""
        self.described: set[str] = set()
        """Object ids of which all that is seen has been told, so that a name is enough."""

    def pick(self, *options: str) -> str:
        """One of them."""
        return options[int(self.rng.integers(len(options)))]

    def chance(self, part: float) -> bool:
        """True as often as that."""
        return bool(self.rng.random() < part)

    def thing(self, thing: Thing) -> str:
        """An object tag: 'a man in a red shirt' when it is met first, then 'the man'."""
        text = self._named(thing)
        self.described.add(thing.object_id)
        return self._object([thing], text)

    def coloured_part(self, thing: Thing) -> str:
        """An object tag around what has the thing's colour, its colour untold: 'the man's shirt', 'the car'."""
        part = wordings.COLOURED_PARTS.get(thing.kind or thing.label, "")
        return self._object([thing], self._named(thing, untold_colour=True) + part)

    def place_at(self, thing: Thing, preposition: str) -> str:
        """A location tag: 'in front of a white house'."""
        text = self._named(thing)
        self._meet([thing])
        self.described.add(thing.object_id)
        return tags.render("location", thing.label, [thing.object_id], f"{preposition} {text}")

    def counted(self, things: Sequence[Thing]) -> str:
        """One object tag for things of one label, told by that only: 'two people', 'a dog'."""
        noun = wordings.NOUNS[AUTOMATIC][things[0].label][0]
        words = with_article(noun) if len(things) == 1 else f"{_number(things)} {_plural(noun)}"
        return self._object(things, words)

    def several(self, things: Sequence[Thing]) -> str:
        """One object tag for several things of one label and colour: 'two women', 'two other people', 'three red cars'.

        What they have in common is told. One thing is told as `thing` does.
        """
        if len(things) == 1:
            return self.thing(things[0])
        kinds = {one.kind for one in things}
        kind = kinds.pop() if len(kinds) == 1 else None
        noun = self.pick(*wordings.NOUNS[self.style][kind or things[0].label])
        words = _plural(noun)
        if kind:
            self._say(things, "kind", wordings.KIND_WORDS[noun])
        colours = {one.colour for one in things}
        if len(colours) == 1 and None not in colours and things[0].label not in ("person", "potted-plant"):
            colour = colours.pop() or ""
            words = f"{colour} {words}"
            self._say(things, "colour", colour)
        others = any(one.label == things[0].label and one.object_id in self.met for one in self.facts.things)
        self.described.update(one.object_id for one in things)
        return self._object(things, f"{_number(things)} {'other ' if others else ''}{words}")

    def look_alike(self, things: Sequence[Thing]) -> bool:
        """Whether `several` tells all there is to tell of them: more than one, no people, of one label and colour."""
        labels, colours = {one.label for one in things}, {one.colour for one in things}
        return len(things) > 1 and len(labels) == len(colours) == 1 and not labels & {"person", "potted-plant"}

    def doing(self, things: Sequence[Thing], *, verb: bool = True) -> str:
        """An action tag for things that do the same: 'are walking'; without `verb` 'walking'."""
        action = things[0].action
        assert action is not None
        self._say(things, "action", action)
        words = self.pick(*wordings.ACTIONS[self.style][action])
        return self._action(things, action, self._be(things, words, verb))

    def facing(self, thing: Thing, *, verb: bool = False) -> str:
        """An action tag: 'facing left'."""
        assert thing.facing is not None
        self._say([thing], "facing", thing.facing)
        words = [words for words, facing in wordings.FACING_WORDS.items() if facing == thing.facing]
        return self._action([thing], wordings.FACING_LEMMA, self._be([thing], self.pick(*words), verb))

    def relating(self, claim: Claim, *, verb: bool = True) -> str:
        """What follows the subject of 'holding' and 'looking at': an action tag and the object's."""
        subject, other = self.facts.thing(claim.subject), self.facts.thing(claim.value)
        assert subject is not None
        assert other is not None
        self.said.add(claim)
        lemma, words = wordings.DOING[claim.about]
        told = self._action([subject], lemma, self._be([subject], self.pick(*words), verb))
        return f"{told} {self.thing(other)}"

    def ground(self, things: Sequence[Thing], again: float = 1.0) -> str:
        """A location tag: 'on the grass'; nothing where the things are not all on the same stuff.

        Stuff that was spoken of is spoken of `again` as often as that.
        """
        label = things[0].ground
        stuff = next((one for one in self.facts.stuff if one.label == label), None)
        if stuff is None or stuff.label not in wordings.GROUND_WORDS[self.style]:
            return ""
        if any(one.ground != label for one in things):
            return ""
        if self.met.intersection(stuff.object_ids) and not self.chance(again):
            return ""
        for one in things:
            self.said.update(Claim(one.object_id, GROUND, object_id) for object_id in stuff.object_ids)
        self.met.update(stuff.object_ids)
        words = self._ground_words(stuff)
        return tags.render("location", stuff.label, stuff.object_ids, self.pick(*words))

    def _ground_words(self, stuff: Stuff) -> tuple[str, ...]:
        if stuff.label == "road":
            if self.facts.place in ("park", "countryside"):
                return (wordings.PATH,)
            if self.facts.place == "street" and "place" in self.facts.seen and self.chance(0.5):
                self.scene("place")
                return (wordings.STREET,)
        return wordings.GROUND_WORDS[self.style][stuff.label]

    def stuff(self, stuff: Stuff, kind: str = "object") -> str:
        """A tag of stuff as such: 'mountains', 'a cloudy sky'."""
        place = wordings.STUFF_OF_PLACE.get(self.facts.place, {})
        words = self.pick(*place.get(stuff.label, wordings.STUFF_NOUNS[stuff.label]))
        if stuff.label == "sky" and "weather" in self.facts.seen and self.facts.weather in wordings.SKY:
            words = wordings.SKY[self.facts.weather]
            self.scene("weather")
        self.met.update(stuff.object_ids)
        return tags.render(kind, stuff.label, stuff.object_ids, words)

    def street(self) -> str:
        """A location tag of a street's road that names the place; nothing where the place is not seen."""
        road = next((one for one in self.facts.stuff if one.label == "road"), None)
        if road is None or self.facts.place != "street" or "place" not in self.facts.seen:
            return ""
        self.scene("place")
        self.met.update(road.object_ids)
        return tags.render("location", road.label, road.object_ids, self.pick("on a street", "along a street"))

    def under(self) -> str:
        """A location tag: 'under a clear sky'; nothing where there is no sky, or its weather has no word."""
        sky = next((one for one in self.facts.stuff if one.label == "sky"), None)
        if sky is None or "weather" not in self.facts.seen or self.facts.weather not in wordings.SKY:
            return ""
        self.scene("weather")
        self.met.update(sky.object_ids)
        return tags.render("location", sky.label, sky.object_ids, f"under {wordings.SKY[self.facts.weather]}")

    def scene(self, about: str) -> None:
        """Note that place, weather or light has been told."""
        self.said.add(Claim(SCENE, about, getattr(self.facts, about)))

    def opening(self, about: str) -> str:
        """Words for place, weather or light; nothing where it is not seen, or has no words of its own."""
        value = getattr(self.facts, about)
        words = wordings.OPENINGS[self.style][about].get(value)
        if about in self.facts.seen and words:
            self.scene(about)
            return self.pick(*words)
        return ""

    def _object(self, things: Sequence[Thing], text: str) -> str:
        self._meet(things)
        return tags.render("object", things[0].label, [one.object_id for one in things], text)

    def _action(self, things: Sequence[Thing], lemma: str, text: str) -> str:
        return tags.render("action", lemma, [one.object_id for one in things], text)

    def _meet(self, things: Iterable[Thing]) -> None:
        self.met.update(one.object_id for one in things)

    def _be(self, things: Sequence[Thing], words: str, verb: bool) -> str:
        return f"{'is' if len(things) == 1 else 'are'} {words}" if verb else words

    def _say(self, things: Iterable[Thing], about: str, value: str) -> None:
        self.said.update(Claim(one.object_id, about, value) for one in things)

    def _named(self, thing: Thing, *, untold_colour: bool = False) -> str:
        """Article, noun and, when it was not told yet or is needed to tell it from its like, the colour."""
        known = thing.object_id in self.met
        alike = [one for one in self.facts.things if one is not thing and _is_like(one, thing)]
        noun = self.pick(*wordings.NOUNS[self.style][thing.kind or thing.label])
        if thing.kind:
            self._say([thing], "kind", wordings.KIND_WORDS[noun])
        words = noun
        again = thing.object_id in self.described and not (alike and self.chance(0.7))
        if thing.colour and not untold_colour and not again:
            self._say([thing], "colour", thing.colour)
            words = self._coloured(thing, noun)
        if known or untold_colour:
            return f"the {words}"
        before = any(one.object_id in self.met and one.colour == thing.colour for one in alike)
        return f"another {words}" if before and self.chance(0.8) else with_article(words)

    def _coloured(self, thing: Thing, noun: str) -> str:
        assert thing.colour
        if thing.label == "person":
            clothes = self.pick(*wordings.CLOTHES[self.style][thing.kind or "person"])
            return f"{noun} {clothes.format(thing.colour).replace(' a orange', ' an orange')}"
        if thing.label == "potted-plant":
            return f"{noun} in {with_article(thing.colour)} pot"
        return f"{thing.colour} {noun}"


def with_article(words: str) -> str:
    """'an orange cat', 'a dog'."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _is_like(one: Thing, other: Thing) -> bool:
    return (one.label, one.kind) == (other.label, other.kind)


def _plural(noun: str) -> str:
    return "people" if noun == "person" else plural(noun)


def _number(things: Sequence[Thing]) -> str:
    return wordings.NUMBERS[len(things)] if len(things) < len(wordings.NUMBERS) else "many"
