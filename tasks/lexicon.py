"""Words people use for the detectable classes, so that an object named without a tag is noticed.

A list of ours, for English and COCO's 133 panoptic classes, made for grounding precision in its `strict` definition.
A label that is not in it has one word: its own name. Plurals are made by rule, the irregular ones are listed.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache

from tasks.coco_panoptic import LABELS as CATEGORIES
from tasks.object_naming import clean_label

LABELS = frozenset(clean_label(category) for category in CATEGORIES)
"""COCO's labels as ids write them."""

_SYNONYMS = """
person: man, woman, boy, girl, child, kid, baby, infant, toddler, teenager, guy, lady, gentleman, individual,
    adult, soldier, officer, policeman, policewoman, worker, waiter, waitress, driver, rider, player, couple, crowd,
    people, passenger, pedestrian, bride, groom, doctor, nurse, cowboy, actor, actress, somebody, someone
bicycle: bike
car: automobile, sedan, taxi, cab, suv, convertible
motorcycle: motorbike, scooter, moped
airplane: plane, aeroplane, aircraft, jet
bus: coach, minibus
train: locomotive, tram, subway train
truck: lorry, pickup, pickup truck, van
boat: ship, canoe, sailboat, rowboat, ferry, yacht, kayak
traffic-light: stoplight, traffic signal
fire-hydrant: hydrant
bench: pew
bird: pigeon, seagull, duck, crow, parrot, chicken
cat: kitten
dog: puppy, hound
horse: pony, stallion
sheep: lamb
cow: bull, ox, calf, cattle
bear: polar bear
backpack: rucksack, knapsack
umbrella: parasol
handbag: purse
tie: necktie, bow tie
suitcase: luggage, briefcase
sports-ball: ball, football, basketball, baseball
cup: mug, teacup
wine-glass: goblet, wineglass
bottle: flask
donut: doughnut
couch: sofa, settee
chair: armchair, stool
potted-plant: houseplant, plant pot
bed: mattress
dining-table: dinner table
tv: television, television set, tv set
laptop: laptop computer, notebook computer
cell-phone: mobile phone, smartphone, cellphone, telephone, phone
refrigerator: fridge
hair-drier: hair dryer, hairdryer
book: novel
teddy-bear: stuffed bear
banner: sign
blanket: quilt
door-stuff: door, doorway
floor-wood: wooden floor, hardwood floor, wood floor
floor: ground, flooring
house: cottage
light: lamp, lantern
mirror-stuff: mirror
pillow: cushion
playingfield: playing field
railroad: railway, railway track
road: street, highway
sea: ocean
shelf: bookshelf, bookcase
stairs: staircase, stairway
wall-brick: brick wall
wall-stone: stone wall
wall-tile: tiled wall, tile wall
wall-wood: wooden wall, wood wall
water: lake, pond
window-blind: blind, shutter
tree: palm tree, pine tree
fence: railing
cabinet: cupboard, wardrobe
table: desk
pavement: sidewalk
mountain: hill
grass: lawn, meadow
dirt: mud, soil
paper: document
building: skyscraper, tower
rock: boulder
rug: carpet
"""

_IRREGULAR = {
    "man": "men", "woman": "women", "child": "children", "person": "persons", "policeman": "policemen",
    "policewoman": "policewomen", "gentleman": "gentlemen", "knife": "knives", "mouse": "mice", "sheep": "sheep",
    "calf": "calves", "shelf": "shelves", "bookshelf": "bookshelves", "ox": "oxen", "cattle": "cattle", "skis": "skis",
    "people": "people", "scissors": "scissors", "stairs": "stairs",
    "aircraft": "aircraft", "luggage": "luggage", "broccoli": "broccoli",
}  # fmt: skip

_ADJECTIVES = frozenset({"orange", "light", "remote"})
"""Class words that are adjectives as often: a thing only where no content word follows ("an orange shirt" is none)."""

_FUNCTION_WORDS = frozenset({
    "a", "about", "above", "across", "after", "against", "along", "among", "and", "around", "as", "at", "behind",
    "below", "beneath", "beside", "besides", "between", "but", "by", "down", "for", "from", "hangs", "illuminates",
    "illuminating", "in", "inside", "into", "is", "are", "was", "were", "lies", "near", "next", "of", "off", "on",
    "onto", "or", "out", "over", "past", "rests", "shines", "shining", "sits", "stands", "that", "the", "their",
    "through", "to", "toward", "towards", "under", "up", "upon", "which", "while", "who", "with", "within", "without",
})  # fmt: skip

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*+")


def plural(word: str) -> str:
    """The plural of a noun, or of the last word of several: 'traffic light' gives 'traffic lights'."""
    before, blank, last = word.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last.endswith(("s", "x", "z", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in tuple("aeiou"):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return before + blank + last


def _listed() -> dict[str, tuple[str, ...]]:
    lines = re.sub(r"\n\s+", " ", _SYNONYMS).strip().splitlines()
    return {
        label: tuple(word.strip() for word in words.split(",")) for label, _, words in (x.partition(":") for x in lines)
    }


SYNONYMS: Mapping[str, tuple[str, ...]] = _listed()
"""Label to the other words for it, in the singular."""


def words_of(label: str) -> frozenset[str]:
    """Every way to write a class in running text, lower case: its name, its synonyms, their plurals."""
    names = (label.replace("-", " "), *SYNONYMS.get(label, ()))
    return frozenset(names) | {plural(name) for name in names}


@lru_cache(maxsize=64)
def _phrases(labels: frozenset[str]) -> dict[tuple[str, ...], str]:
    """Words of a phrase to the label it stands for. A label's own name wins over another's synonym."""
    found: dict[tuple[str, ...], str] = {}
    for label in sorted(labels):
        for phrase in words_of(label):
            found.setdefault(tuple(phrase.split()), label)
    for label in sorted(labels):
        name = label.replace("-", " ")
        found |= {tuple(name.split()): label, tuple(plural(name).split()): label}
    return found


def named_objects(text: str, labels: Collection[str]) -> Iterator[tuple[str, int, int]]:
    """(label, start, end) of every noun phrase in `text` whose head is one of the classes `labels`.

    The head is taken to be the last word of a run of nouns that the lexicon knows: the longest phrase wins ("traffic
    light" is no "light"), and a class word right before another one is its modifier ("car door" is a door). There is no
    grammar behind it: a modifier of a word that is no class ("hot dog stand") is still taken for the object.
    """
    phrases = _phrases(frozenset(labels))
    longest = max((len(phrase) for phrase in phrases), default=0)
    words = [(found.group().lower().replace("’", "'"), *found.span()) for found in _TOKEN.finditer(text)]
    hits: list[tuple[str, int, int]] = []
    place = 0
    while place < len(words):
        for length in range(min(longest, len(words) - place), 0, -1):
            key = tuple(
                word.removesuffix("'s") if length == 1 else word for word, _, _ in words[place : place + length]
            )
            if key in phrases:
                hits.append((phrases[key], words[place][1], words[place + length - 1][2]))
                place += length
                break
        else:
            place += 1
    for index, hit in enumerate(hits):
        following = hits[index + 1] if index + 1 < len(hits) else None
        if not _is_modifier(text, hit, following):
            yield hit


def _is_modifier(text: str, hit: tuple[str, int, int], following: tuple[str, int, int] | None) -> bool:
    """Whether a class word stands before the head of its phrase. `following` is the next class word of the text."""
    word = text[hit[1] : hit[2]].lower()
    if following and text[hit[2] : following[1]] in (" ", "-") and not word.replace("’", "'").endswith("'s"):
        return True
    after = _TOKEN.match(text, hit[2] + 1) if text[hit[2] : hit[2] + 1] in (" ", "-") else None
    return word in _ADJECTIVES and after is not None and after.group().lower() not in _FUNCTION_WORDS
