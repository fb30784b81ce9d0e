"""Facts -> tagged captions as GroundCap has them, in two styles.

"automatic" goes through the picture thing by thing in prompt order, as a machine does; "human" tells of what matters,
in fewer words. What a caption says is true and can be seen; it mentions all people and most of the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from toyworld.clauses import DOERS, Clauses, by_label, choose_relations, evident_relations, listed, together
from toyworld.facts import Claim, Facts, Thing
from toyworld.phrases import Phrases
from toyworld.wordings import AUTOMATIC, HUMAN, STYLES

LEFT_OUT = {AUTOMATIC: 0.03, HUMAN: 0.25}
"""How often a thing that is nobody is not mentioned."""
MOST_RELATIONS = 1
"""In the human style."""


@dataclass(frozen=True, slots=True)
class Written:
    """A caption and what it says."""

    text: str
    claims: frozenset[Claim]


def write_caption(facts: Facts, style: str, seed: int) -> str:
    """A tagged caption; the same facts, style and seed give the same words. Raises ValueError for an unknown style."""
    return compose(facts, style, seed).text


def compose(facts: Facts, style: str, seed: int) -> Written:
    """As write_caption, with the claims that the caption makes."""
    if style not in STYLES:
        raise ValueError(f"style {style!r}; give one of {', '.join(STYLES)}.")
    rng = np.random.default_rng((seed, STYLES.index(style)))
    phrases = Phrases(facts, style, rng)
    things = [one for one in facts.things if one.label == "person" or not phrases.chance(LEFT_OUT[style])]
    write = _automatic if style == AUTOMATIC else _human
    sentences = [words for words in write(phrases, things) if words]
    return Written(" ".join(map(_sentence, sentences or ["nothing is to be seen"])), frozenset(phrases.said))


def _sentence(words: str) -> str:
    """Capital letter and full stop; a first letter inside a tag is raised there."""
    start = words.index(">") + 1 if words.startswith("<") else 0
    return f"{words[:start]}{words[start].upper()}{words[start + 1 :]}."


def _automatic(phrases: Phrases, things: Sequence[Thing]) -> list[str]:
    people = [one for one in things if one.label == "person"]
    doers = [one for one in things if one.label in DOERS and one.label != "person"]
    rest = [one for one in things if one.label not in DOERS]
    relations = evident_relations(phrases.facts, [*people, *doers, *rest])
    clauses = Clauses(phrases, relations)
    tellers = {one.subject for one in relations}
    sentences = [_setting(phrases)]
    if len(people) + len(doers) in range(3, 6) and phrases.chance(0.25):
        told = [phrases.counted(group) for group in by_label([*people, *doers]).values()]
        sentences.append(f"{phrases.pick('the picture shows', 'it shows', 'one can see')} {listed(told)}")
    groups = [*together(people, phrases, 0.5, tellers), *together(doers, phrases, 0.5, tellers)]
    sentences += [clauses.sentence(group) for group in groups]
    sentences.append(_still_life(phrases, things))
    sentences += clauses.relations()
    sentences.append(_background(phrases))
    return sentences


def _setting(phrases: Phrases) -> str:
    """Place, light and weather in a sentence of their own."""
    place = phrases.opening("place") or phrases.street()
    others = [part for part in (phrases.opening("light"), phrases.opening("weather")) if part]
    if not place and not others:
        return ""
    if place and others and phrases.chance(0.4):
        return f"{', '.join(others)}, the scene takes place {place}"
    words = phrases.pick("the scene takes place", "the scene is set", "this is a picture taken", "the image was taken")
    return " ".join(part for part in (words, place, *others) if part)


def _still_life(phrases: Phrases, things: Sequence[Thing]) -> str:
    """What does nothing and was not spoken of yet."""
    groups = by_label(one for one in things if one.object_id not in phrases.met)
    told: list[str] = []
    many = False
    for group in groups.values():
        alike = len({one.colour for one in group}) == 1
        many |= not told and alike and len(group) > 1
        told += [phrases.several(group)] if alike else [phrases.thing(one) for one in group]
    if not told:
        return ""
    opening = phrases.pick("there {} also", "nearby there {}", "in view there {} also", "the picture also shows")
    return f"{opening.format('are' if many else 'is')} {listed(told)}"


def _background(phrases: Phrases) -> str:
    """The stuff that was not spoken of yet."""
    told = [phrases.stuff(one) for one in phrases.facts.stuff if not phrases.met.intersection(one.object_ids)]
    opening = phrases.pick("the background shows", "around them one sees", "the rest of the picture is")
    return f"{opening} {listed(told)}" if told else ""


def _human(phrases: Phrases, things: Sequence[Thing]) -> list[str]:
    many = int(phrases.rng.integers(MOST_RELATIONS + 1))
    clauses = Clauses(phrases, choose_relations(phrases.facts, things, many, phrases.rng))
    actors = sorted((one for one in things if one.label in DOERS), key=lambda one: -one.area)
    first = actors[: 2 if len(actors) < 5 and phrases.chance(0.75) else 1]
    sentences = [_main(phrases, things, first, clauses)]
    rest = [one for one in things if one.object_id not in phrases.met]
    people = [one for one in rest if one.label == "person"]
    sentences.append(_others(phrases, people, [one for one in rest if one not in people]))
    return sentences + clauses.relations()


def _main(phrases: Phrases, things: Sequence[Thing], first: Sequence[Thing], clauses: Clauses) -> str:
    """The sentence about the largest of those who do something."""
    scene = _scene_words(phrases)
    if not first:
        largest = max(things, key=lambda one: one.area, default=None)
        words = f"{phrases.thing(largest)} {phrases.ground([largest])}".strip() if largest else _background(phrases)
    else:
        verb = phrases.chance(0.6)
        told = [clauses.about([one], verb=verb) for one in first]
        words = phrases.pick(" while ", " and ").join(told) if verb else listed(told)
    if not scene:
        return words
    return f"{scene}, {words}" if phrases.chance(0.5) else f"{words}, {scene}"


def _scene_words(phrases: Phrases) -> str:
    """Up to two of light, weather and place."""
    tellers: list[Callable[[], str]] = []
    if phrases.facts.light != "day" or phrases.chance(0.2):
        tellers.append(lambda: phrases.opening("light"))
    tellers.append(lambda: phrases.opening("weather") or (phrases.under() if phrases.chance(0.4) else ""))
    if phrases.chance(0.6):
        tellers.append(lambda: phrases.opening("place") or phrases.street())
    parts: list[str] = []
    for tell in tellers:
        if len(parts) < 2 and (words := tell()):
            parts.append(words)
    return " ".join(parts)


def _others(phrases: Phrases, people: Sequence[Thing], rest: Sequence[Thing]) -> str:
    """The rest in one sentence, briefly."""
    told = [phrases.several(people)] if people else []
    many = len(people) > 1
    for group in by_label(rest).values():
        alike = len({one.colour for one in group}) == 1
        many |= not told and alike and len(group) > 1
        told += [phrases.several(group)] if alike else [phrases.thing(one) for one in group]
    if not told:
        return ""
    if phrases.chance(0.5):
        be = "is" if len(told) == 1 and not many else "are"
        return f"{listed(told)} {be} {phrases.pick('close by', 'nearby', 'around too', 'also there')}"
    return f"{phrases.pick('there {} also', 'you can also see').format('are' if many else 'is')} {listed(told)}"
