"""Birds: wings spread in the air, or on two thin legs."""

import numpy as np

from toyworld.figures.around import Around
from toyworld.pen import Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

BEAK = (245, 165, 50)


def draw(pen: Pen, actor: Actor, around: Around) -> None:
    """A bird."""
    del around
    coat = COLOURS[actor.colour or "blue"]
    pen.stand(actor.x, actor.y, actor.height, mirror=actor.facing == "left")
    belly = shade(coat, 1.45) if actor.colour != "white" else (214, 218, 226)
    if actor.action == "fly":
        _flying(pen, actor, coat, belly)
    else:
        _standing(pen, actor, coat, belly)


def _flying(pen: Pen, actor: Actor, coat: tuple[int, int, int], belly: tuple[int, int, int]) -> None:
    beat = np.sin(2 * np.pi * actor.phase)
    tip = 0.56 + 0.42 * beat
    far = shade(coat, 0.72)
    pen.convex([(0.12, 0.56), (-0.2, 0.55), (-0.34, tip + 0.1), (-0.08, tip + 0.08)], far)
    pen.convex([(-0.4, 0.5), (-0.86, 0.62), (-0.8, 0.38)], shade(coat, 0.8))
    pen.limb((-0.36, 0.5), (0.28, 0.5), 0.13, coat, 0.2)
    pen.oval(0.02, 0.42, 0.3, 0.1, belly)
    pen.oval(0.46, 0.58, 0.18, 0.18, coat)
    pen.convex([(0.58, 0.65), (0.86, 0.55), (0.58, 0.5)], BEAK)
    pen.oval(0.52, 0.63, 0.045, 0.05, (20, 20, 24) if actor.colour != "black" else (245, 245, 245))
    near = [(0.2, 0.54), (-0.16, 0.5), (-0.62, tip - 0.02), (-0.5, tip + 0.14), (-0.2, tip + 0.16)]
    pen.polygon(near, shade(coat, 0.88))


def _standing(pen: Pen, actor: Actor, coat: tuple[int, int, int], belly: tuple[int, int, int]) -> None:
    for x in (-0.06, 0.1):
        pen.limb((x, 0.3), (x, 0.03), 0.03, BEAK)
        pen.limb((x, 0.03), (x + 0.1, 0.03), 0.03, BEAK)
    pen.convex([(-0.26, 0.5), (-0.72, 0.3), (-0.62, 0.18), (-0.2, 0.32)], shade(coat, 0.78))
    pen.limb((-0.14, 0.44), (0.12, 0.52), 0.22, coat, 0.22)
    pen.oval(0.14, 0.42, 0.14, 0.17, belly, 0.4)
    pen.oval(0.24, 0.8, 0.2, 0.2, coat)
    pen.convex([(0.4, 0.87), (0.68, 0.76), (0.4, 0.7)], BEAK)
    pen.oval(0.31, 0.84, 0.045, 0.05, (20, 20, 24) if actor.colour != "black" else (245, 245, 245))
    pen.convex([(0.1, 0.56), (-0.12, 0.6), (-0.46, 0.36), (-0.14, 0.34)], shade(coat, 0.86))
