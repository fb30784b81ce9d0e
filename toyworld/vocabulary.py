"""What there is in the drawn world, and what it is called. The one home of its classes, kinds, colours and actions.

Labels are COCO's panoptic names, so that ids, tags and the lexicon treat them as they treat a COCO detector's. Trees
and houses are things here, countable one by one, although COCO has them as stuff: the detector's config.json says so.
"""

THINGS = (
    "person", "car", "bird", "cat", "dog", "umbrella", "sports ball", "chair", "dining table", "potted plant",
    "tree-merged", "house",
)  # fmt: skip
"""Countable things; a category's index in THINGS + STUFF is its category_id."""

STUFF = (
    "sky-other-merged", "grass-merged", "road", "sand", "water-other", "wall-other-merged", "floor-wood",
    "mountain-merged",
)  # fmt: skip

LABELS = THINGS + STUFF
"""The detector's categories by index."""

KINDS = {"person": ("man", "woman", "boy", "girl")}
"""Words for what a detector's label does not tell and the picture does."""

COLOURS = {
    "red": (205, 45, 45),
    "orange": (240, 140, 40),
    "yellow": (245, 210, 60),
    "green": (50, 150, 70),
    "blue": (50, 90, 200),
    "purple": (135, 70, 165),
    "pink": (240, 140, 180),
    "white": (240, 240, 240),
    "black": (40, 40, 45),
    "brown": (125, 80, 45),
    "grey": (140, 145, 150),
}
"""RGB before light and weather."""

THING_COLOURS = {
    "person": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black"),
    "car": ("red", "yellow", "green", "blue", "white", "black", "orange"),
    "bird": ("red", "yellow", "blue", "white", "black"),
    "cat": ("orange", "white", "black", "grey", "brown"),
    "dog": ("brown", "white", "black", "yellow", "grey"),
    "umbrella": ("red", "yellow", "blue", "purple", "green", "pink"),
    "sports ball": ("red", "orange", "yellow", "blue", "purple", "green", "white"),
    "chair": ("red", "blue", "brown", "white", "green", "yellow"),
    "dining table": ("brown", "white", "grey"),
    "potted plant": ("red", "blue", "white", "brown"),  # the pot's
    "tree-merged": (),
    "house": ("white", "red", "yellow", "blue", "grey"),
}
"""The colours each thing comes in: a person's is that of the shirt, coat or dress, an animal's that of its coat.
None: its colour goes without saying."""

ACTIONS = {
    "person": ("stand", "walk", "run", "sit", "wave", "lie", "jump"),
    "dog": ("stand", "walk", "run", "sit", "lie"),
    "cat": ("stand", "walk", "sit", "lie"),
    "bird": ("fly", "stand"),
    "car": ("drive", "park"),
}
"""Lemmas. Things that are not here do nothing."""

PLACES = ("park", "street", "beach", "room", "countryside")
WEATHERS = ("clear", "cloudy", "rain", "snow")
LIGHTS = ("day", "dusk", "night")
FACINGS = ("left", "right", "front")
"""Which way an actor looks, as the viewer sees it."""
