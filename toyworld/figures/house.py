"""Houses: coloured walls, a dark roof, windows that are lit when it is dark."""

from toyworld.figures.around import Around
from toyworld.pen import Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

ROOFS = ((132, 72, 58), (88, 82, 92), (110, 84, 66))
HALF_WIDTH = 0.56
"""In heights of the house."""


def draw(pen: Pen, actor: Actor, around: Around) -> None:
    """A house."""
    wall = COLOURS[actor.colour or "white"]
    roof = ROOFS[actor.look % 3]
    dark_outside = around.scene.light != "day"
    pen.stand(actor.x, actor.y, actor.height, mirror=bool(actor.look // 3 % 2))
    eaves, half = 0.58, HALF_WIDTH - 0.06
    pen.box(0.2, 0.7, 0.1, 0.28, shade(roof, 0.8))
    pen.box(-half, 0, 2 * half, eaves, wall)
    pen.box(half - 0.14, 0, 0.14, eaves, shade(wall, 0.9))
    if actor.look // 6 % 2:  # the gable looks at us
        pen.convex([(-half, eaves - 0.01), (half, eaves - 0.01), (0, 0.98)], shade(wall, 0.95))
        pen.limb((-HALF_WIDTH, eaves - 0.06), (0, 0.97), 0.035, roof)
        pen.limb((HALF_WIDTH, eaves - 0.06), (0, 0.97), 0.035, shade(roof, 0.85))
        _window(pen, -0.09, 0.62, 0.18, 0.16, dark_outside)
    else:
        pen.convex([(-HALF_WIDTH, eaves - 0.03), (HALF_WIDTH, eaves - 0.03), (0.4, 0.93), (-0.4, 0.93)], roof)
        for y in (0.66, 0.75, 0.84):
            pen.limb((-0.48 + (y - 0.6) * 0.4, y), (0.48 - (y - 0.6) * 0.4, y), 0.008, shade(roof, 0.8))
    pen.box(-half, 0, 2 * half, 0.05, shade(wall, 0.72))
    pen.box(-0.11, 0, 0.2, 0.36, shade(roof, 0.7))
    pen.oval(0.05, 0.17, 0.018, 0.018, (236, 210, 120))
    for x in (-0.42, 0.2):
        _window(pen, x, 0.2, 0.2, 0.22, dark_outside)


def _window(pen: Pen, x: float, y: float, width: float, height: float, lit: bool) -> None:
    pen.box(x - 0.025, y - 0.025, width + 0.05, height + 0.05, (240, 236, 228))
    pen.box(x, y, width, height, (255, 224, 130) if lit else (122, 168, 196), lit=lit)
    pen.box(x + width / 2 - 0.01, y, 0.02, height, (240, 236, 228))
    pen.box(x, y + height / 2 - 0.01, width, 0.02, (240, 236, 228))
