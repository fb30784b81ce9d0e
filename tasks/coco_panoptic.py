"""COCO's 133 panoptic categories by name, in the order in which Hugging Face's checkpoints number them: 0 to 132.

That order is COCO's own category id, ascending, which puts the 80 things before the 53 kinds of stuff. Source:
panoptic_coco_categories.json of panopticapi (annotations CC BY 4.0, COCO Consortium); tests/data holds that file.
"""

THINGS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""Countable things, indices 0 to 79."""

STUFF = (
    "banner", "blanket", "bridge", "cardboard", "counter", "curtain", "door-stuff", "floor-wood", "flower", "fruit",
    "gravel", "house", "light", "mirror-stuff", "net", "pillow", "platform", "playingfield", "railroad", "river",
    "road", "roof", "sand", "sea", "shelf", "snow", "stairs", "tent", "towel", "wall-brick", "wall-stone",
    "wall-tile", "wall-wood", "water-other", "window-blind", "window-other", "tree-merged", "fence-merged",
    "ceiling-merged", "sky-other-merged", "cabinet-merged", "table-merged", "floor-other-merged", "pavement-merged",
    "mountain-merged", "grass-merged", "dirt-merged", "paper-merged", "food-other-merged", "building-other-merged",
    "rock-merged", "wall-other-merged", "rug-merged",
)  # fmt: skip
"""Uncountable stuff, indices 80 to 132."""

LABELS = THINGS + STUFF
"""All 133, by index."""

_ABSENT = {
    12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91, 94, 96, 97, 98, 99, *range(101, 107), 108, 110, 111, *range(113, 118),
    120, 121, 123, 124, 126, 127, 129, 131, 132, *range(134, 138), 139, 140, 142, 143, 146, 150, 152, 153, 157, 158,
    160, *range(162, 166), 167, 169, 170, *range(172, 175), 179, 182, 183,
}  # fmt: skip
"""Numbers that COCO gave to no panoptic category."""
COCO_IDS = tuple(number for number in range(1, 201) if number not in _ABSENT)
"""COCO's own category id of each, by index: what its JSON files say."""
