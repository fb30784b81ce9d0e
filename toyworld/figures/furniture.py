"""Chairs and dining tables, sturdy ones."""

from toyworld.figures.around import Around
from toyworld.figures.person_poses import SEAT
from toyworld.pen import Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

TABLE_WIDTH = 1.75
"""In heights of the table."""
TABLE_TOP = 0.86
"""Where things stand on it, in heights of the table."""


def draw_chair(pen: Pen, actor: Actor, around: Around) -> None:
    """A chair with a solid back, from the side or the front."""
    del around
    colour = COLOURS[actor.colour or "brown"]
    pen.stand(actor.x, actor.y, actor.height, mirror=actor.facing == "left")
    dark, light = shade(colour, 0.72), shade(colour, 1.18)
    if actor.facing == "front":
        for x in (-0.28, 0.2):
            pen.box(x, 0.08, 0.08, SEAT - 0.1, shade(colour, 0.58))
        pen.convex([(-0.37, SEAT), (-0.36, 1.0), (0.36, 1.0), (0.37, SEAT)], shade(colour, 0.88))
        pen.convex([(-0.28, SEAT + 0.06), (-0.27, 0.92), (0.27, 0.92), (0.28, SEAT + 0.06)], colour)
        pen.convex([(-0.42, SEAT - 0.1), (-0.37, SEAT + 0.04), (0.37, SEAT + 0.04), (0.42, SEAT - 0.1)], light)
        pen.box(-0.42, SEAT - 0.19, 0.84, 0.1, dark)
        for x in (-0.42, 0.3):
            pen.box(x, 0, 0.12, SEAT - 0.16, dark)
        return
    for x in (-0.22, 0.24):
        pen.box(x, 0.05, 0.08, SEAT - 0.1, shade(colour, 0.58))
    pen.convex([(-0.37, SEAT - 0.1), (-0.43, 1.0), (-0.27, 1.0), (-0.22, SEAT - 0.1)], colour)
    pen.convex([(-0.37, SEAT), (-0.42, 0.96), (-0.38, 0.96), (-0.33, SEAT)], light)
    pen.box(-0.37, SEAT - 0.13, 0.74, 0.13, colour)
    pen.box(-0.3, SEAT - 0.02, 0.67, 0.05, light)
    pen.box(-0.37, 0, 0.11, SEAT - 0.1, dark)
    pen.box(0.26, 0, 0.11, SEAT - 0.1, dark)


def draw_table(pen: Pen, actor: Actor, around: Around) -> None:
    """A dining table, laid or bare."""
    del around
    colour = COLOURS[actor.colour or "brown"]
    pen.stand(actor.x, actor.y, actor.height)
    half, dark = TABLE_WIDTH / 2, shade(colour, 0.7)
    for x in (-half + 0.22, half - 0.34):
        pen.box(x, 0.1, 0.12, 0.6, shade(colour, 0.55))
    for x in (-half + 0.04, half - 0.2):
        pen.box(x, 0, 0.16, 0.74, dark)
    pen.box(-half + 0.05, 0.58, TABLE_WIDTH - 0.1, 0.16, shade(colour, 0.82))
    top = [(-half, 0.76), (-half + 0.16, 0.98), (half - 0.16, 0.98), (half, 0.76)]
    pen.convex(top, shade(colour, 1.16))
    pen.box(-half, 0.68, TABLE_WIDTH, 0.09, colour)
    if actor.look % 3 == 0:
        return
    for x in (-0.42, 0.42):
        pen.oval(x, 0.86, 0.17, 0.055, (222, 226, 236) if actor.colour != "white" else (168, 196, 216))
        pen.oval(x, 0.865, 0.1, 0.03, (250, 250, 250))
    if actor.look % 3 == 1:
        pen.oval(0, 0.9, 0.12, 0.05, (120, 150, 70))
        pen.oval(-0.04, 0.93, 0.05, 0.05, (214, 70, 50))
        pen.oval(0.05, 0.93, 0.05, 0.05, (240, 180, 60))
