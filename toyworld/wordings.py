"""The words of captions, for writing them and for reading them back. What is said in what words stands only here.

`AUTOMATIC` captions are even and complete, `HUMAN` ones shorter and freer; each has words of its own beside the common
ones. All nouns of one object stand inside its tag, so the lexicon of untagged objects has nothing to find.
"""

from collections.abc import Mapping

AUTOMATIC, HUMAN = "automatic", "human"
STYLES = (AUTOMATIC, HUMAN)

Words = Mapping[str, tuple[str, ...]]

NOUNS: Mapping[str, Words] = {
    AUTOMATIC: {
        "person": ("person",), "man": ("man",), "woman": ("woman",), "boy": ("boy",), "girl": ("girl",),
        "car": ("car",), "bird": ("bird",), "cat": ("cat",), "dog": ("dog",), "umbrella": ("umbrella",),
        "sports-ball": ("ball",), "chair": ("chair",), "dining-table": ("table",), "potted-plant": ("potted plant",),
        "tree": ("tree",), "house": ("house",),
    },
    HUMAN: {
        "person": ("person",), "man": ("man", "man", "guy", "gentleman"), "woman": ("woman", "woman", "lady"),
        "boy": ("boy", "boy", "kid"), "girl": ("girl", "girl", "kid"), "car": ("car", "car", "automobile"),
        "bird": ("bird",), "cat": ("cat", "cat", "kitten"), "dog": ("dog", "dog", "pup", "puppy"),
        "umbrella": ("umbrella", "parasol"), "sports-ball": ("ball",), "chair": ("chair",),
        "dining-table": ("table", "dining table"), "potted-plant": ("plant", "houseplant"), "tree": ("tree",),
        "house": ("house", "cottage"),
    },
}  # fmt: skip
"""Singular nouns by label, or by kind where that is known."""
KIND_WORDS = {
    "man": "man", "men": "man", "guy": "man", "guys": "man", "gentleman": "man", "gentlemen": "man",
    "woman": "woman", "women": "woman", "lady": "woman", "ladies": "woman", "boy": "boy", "boys": "boy",
    "girl": "girl", "girls": "girl", "kid": "child", "kids": "child", "child": "child", "children": "child",
    "adult": "adult", "adults": "adult",
}  # fmt: skip
COLOUR_WORDS = {
    colour: colour
    for colour in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black", "brown", "grey")
} | {"gray": "grey", "ginger": "orange", "blond": "yellow", "golden": "yellow"}
CLOTHES: Mapping[str, Words] = {
    AUTOMATIC: {
        "man": ("in a {} shirt", "wearing a {} shirt"), "boy": ("in a {} shirt", "wearing a {} shirt"),
        "woman": ("in a {} dress", "wearing a {} dress"), "girl": ("in a {} dress", "wearing a {} dress"),
        "person": ("in {}", "wearing {}"),
    },
    HUMAN: {
        "man": ("in {}", "in a {} top"), "boy": ("in {}", "in a {} top"), "woman": ("in {}", "dressed in {}"),
        "girl": ("in {}", "dressed in {}"), "person": ("in {}", "dressed in {}"),
    },
}  # fmt: skip
"""By kind ('person' where it is not known); {} is the colour."""
COLOURED_PARTS = {
    "man": "'s shirt", "boy": "'s shirt", "woman": "'s dress", "girl": "'s dress", "person": "'s clothing",
    "potted-plant": "'s pot",
}  # fmt: skip
"""What a thing's colour is the colour of, where it is not the whole thing."""
ACTIONS: Mapping[str, Words] = {
    AUTOMATIC: {
        "stand": ("standing",), "walk": ("walking",), "run": ("running",), "sit": ("sitting",), "wave": ("waving",),
        "lie": ("lying", "lying down"), "jump": ("jumping",), "fly": ("flying",), "drive": ("driving",),
        "park": ("parked",),
    },
    HUMAN: {
        "stand": ("standing", "standing still"), "walk": ("walking", "strolling"), "run": ("running", "racing"),
        "sit": ("sitting", "sitting down"), "wave": ("waving", "waving hello"), "lie": ("lying", "stretched out"),
        "jump": ("jumping", "leaping"), "fly": ("flying", "soaring"), "drive": ("driving", "driving along"),
        "park": ("parked",),
    },
}  # fmt: skip
"""What stands after 'is'; the tag's class is the key."""
ACTION_WORDS = {words: lemma for style in ACTIONS.values() for lemma, all_ in style.items() for words in all_} | {
    "stands": "stand", "walks": "walk", "runs": "run", "sits": "sit", "waves": "wave", "lies": "lie", "jumps": "jump",
    "flies": "fly", "drives": "drive", "stroll": "walk", "strolls": "walk", "leap": "jump", "leaps": "jump",
    "perched": "stand", "resting": "lie", "seated": "sit",
} | {lemma: lemma for lemma in ACTIONS[AUTOMATIC]}  # fmt: skip
"""What such words say, whatever the tag's class is."""
FACING_WORDS = {
    "facing left": "left", "turned to the left": "left", "facing right": "right", "turned to the right": "right",
    "facing the viewer": "front", "facing the camera": "front",
}  # fmt: skip
"""Inside an action tag of class FACING_LEMMA."""
FACING_LEMMA = "face"
DOING = {"holding": ("hold", ("holding", "carrying")), "looking at": ("look at", ("looking at", "facing", "watching"))}
"""Relations told by an action of the subject: its class, and words for it. The object follows in a tag of its own."""
DOING_CLASSES = {
    "hold": "holding",
    "carry": "holding",
    "look at": "looking at",
    "face": "looking at",
    "watch": "looking at",
}
SAME_COLOUR = ("has the same colour as", "is the same colour as", "matches the colour of")
ALIKE = "the same colour as"
BETWEEN = {
    "in front of": "in front of", "behind": "behind", "on": "on", ALIKE: "same colour as",
    "the same color as": "same colour as", "the colour of": "same colour as", "the color of": "same colour as",
}  # fmt: skip
"""Words right before the object's tag, or first in a location tag, and the relation that they tell."""
GROUND_WORDS: Mapping[str, Words] = {
    AUTOMATIC: {
        "grass": ("on the grass",), "road": ("on the road",), "sand": ("on the sand",), "water": ("in the water",),
        "floor-wood": ("on the wooden floor", "on the floor"), "sky": ("in the sky",),
    },
    HUMAN: {
        "grass": ("on the grass", "on the lawn"), "road": ("on the road",), "sand": ("on the sand",),
        "water": ("in the water",), "floor-wood": ("on the floor",), "sky": ("in the sky", "through the air"),
    },
}  # fmt: skip
"""Where a thing is, by the stuff's label. In a location tag."""
PATH, STREET = "on the path", "on the street"
"""What roads are called in parks and in the country, and in streets."""
STUFF_NOUNS: Words = {
    "sky": ("the sky",), "grass": ("the grass",), "road": ("the road",), "sand": ("the sand",),
    "water": ("the water",), "wall": ("a wall",), "floor-wood": ("a wooden floor",), "mountain": ("mountains",),
}  # fmt: skip
STUFF_OF_PLACE: Mapping[str, Words] = {
    "park": {"road": ("a path",), "water": ("a pond",)},
    "countryside": {"road": ("a path",), "water": ("a pond",)},
    "beach": {"water": ("the sea", "the water")},
}
SKY = {"clear": "a clear sky", "cloudy": "a cloudy sky"}
OPENINGS: Mapping[str, Mapping[str, Words]] = {
    AUTOMATIC: {
        "light": {"day": ("during the day", "in daylight"), "dusk": ("at dusk", "in the evening"),
                  "night": ("at night",)},
        "weather": {"rain": ("in the rain", "while it is raining"), "snow": ("in the snow", "while it is snowing")},
        "place": {"park": ("in a park",), "beach": ("at a beach",), "room": ("in a room",),
                  "countryside": ("in the countryside",)},
    },
    HUMAN: {
        "light": {"day": ("in daylight",), "dusk": ("at dusk", "at sunset"), "night": ("at night", "one night")},
        "weather": {"rain": ("in the rain", "on a rainy day"), "snow": ("in the snow", "amid falling snow")},
        "place": {"park": ("in the park",), "beach": ("at the beach", "on the beach"), "room": ("indoors", "in a room"),
                  "countryside": ("in the countryside", "out in the countryside")},
    },
}  # fmt: skip
"""What is said of the whole picture. A street is told by a tag of its road, a clear or cloudy day by one of the sky."""
SCENE_WORDS = {
    "light": {"day": "daylight|daytime|during the day", "dusk": "dusk|evening|sunset", "night": "night"},
    "weather": {"clear": "clear", "cloudy": "cloudy|overcast", "rain": "rain|rainy|raining",
                "snow": "snow|snowy|snowing"},
    "place": {"park": "park", "street": "street", "beach": "beach", "room": "room|indoors",
              "countryside": "countryside"},
}  # fmt: skip
"""What tells place, weather and light in running text: alternatives of a regular expression, on word borders."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
