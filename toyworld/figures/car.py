"""Cars from the side. One that drives has somebody at the wheel, spinning wheels, lights on, and smoke behind it."""

import numpy as np

from toyworld.figures.around import Around
from toyworld.figures.person import HAIRS, SKINS
from toyworld.pen import Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

TYRE = (38, 38, 44)
GLASS = (186, 216, 232)


def draw(pen: Pen, actor: Actor, around: Around) -> None:
    """A car."""
    colour = COLOURS[actor.colour or "red"]
    drives = actor.action == "drive"
    pen.stand(actor.x, actor.y, actor.height, mirror=actor.facing == "left")
    if drives:
        _draw_smoke(pen, actor)
    tall = 0.04 * (actor.look % 3)  # estates, saloons and in between
    rear = -0.66 - 2 * tall
    cabin = [(rear, 0.58), (rear + 0.2, 0.98), (0.22, 1.0), (0.58, 0.58)]
    pen.convex(cabin, shade(colour, 0.92))
    _draw_windows(pen, actor, rear, drives)
    lower = [(-1.13, 0.22), (-1.15, 0.5), (-1.02, 0.62), (0.6, 0.62), (1.06, 0.52), (1.15, 0.4), (1.13, 0.22)]
    pen.convex(lower, colour)
    pen.convex([(-1.13, 0.18), (1.13, 0.18), (1.15, 0.3), (-1.15, 0.3)], shade(colour, 0.68))
    pen.limb((-1.0, 0.57), (0.58, 0.57), 0.02, shade(colour, 1.3))
    pen.limb((-0.02, 0.58), (-0.02, 0.3), 0.012, shade(colour, 0.7))
    pen.limb((0.1, 0.49), (0.2, 0.49), 0.02, shade(colour, 0.55))
    lit = drives or around.scene.light != "day"
    pen.oval(1.06, 0.44, 0.07, 0.06, (255, 244, 190) if lit else (214, 214, 206), lit=lit)
    pen.oval(-1.1, 0.48, 0.04, 0.06, (226, 60, 50))
    for x in (-0.66, 0.68):
        _draw_wheel(pen, actor, x, drives)


def _draw_windows(pen: Pen, actor: Actor, rear: float, drives: bool) -> None:
    pen.convex([(rear + 0.1, 0.6), (rear + 0.26, 0.92), (-0.1, 0.93), (-0.1, 0.6)], GLASS)
    pen.convex([(-0.02, 0.6), (-0.02, 0.93), (0.18, 0.93), (0.45, 0.6)], GLASS)
    if drives:
        skin, hair = SKINS[actor.look % 5], HAIRS[actor.look // 5 % 5]
        pen.limb((0.06, 0.62), (0.08, 0.66), 0.1, (70, 78, 96))
        pen.oval(0.08, 0.78, 0.1, 0.12, skin)
        pen.convex([(-0.03, 0.76), (0.0, 0.9), (0.12, 0.92), (0.16, 0.84), (0.04, 0.82)], hair)
        pen.limb((0.27, 0.6), (0.24, 0.7), 0.02, TYRE)
    else:
        for x in (rear + 0.34, 0.08):
            pen.convex([(x, 0.62), (x + 0.12, 0.9), (x + 0.2, 0.9), (x + 0.08, 0.62)], (226, 240, 246))


def _draw_wheel(pen: Pen, actor: Actor, x: float, drives: bool) -> None:
    pen.oval(x, 0.21, 0.21, 0.21, TYRE)
    if drives:
        pen.oval(x, 0.21, 0.13, 0.13, (148, 150, 156))
        pen.oval(x, 0.21, 0.07, 0.07, (186, 188, 192))
        return
    pen.oval(x, 0.21, 0.13, 0.13, (206, 208, 212))
    for turn in np.arange(5) * 2 * np.pi / 5 + actor.look:
        pen.limb((x, 0.21), (x + 0.11 * np.cos(turn), 0.21 + 0.11 * np.sin(turn)), 0.016, (92, 94, 100))


def _draw_smoke(pen: Pen, actor: Actor) -> None:
    """Smoke and lines of speed: they colour what is behind the car, and are nobody's."""
    pen.stray()
    for index in range(3):
        age = (actor.phase + index / 3) % 1
        pen.oval(-1.3 - 0.4 * age, 0.16 + 0.1 * age, 0.07 + 0.08 * age, 0.06 + 0.07 * age, (206, 206, 210))
    for y, length in ((0.5, 0.3), (0.68, 0.22), (0.84, 0.16)):
        pen.limb((-1.26 - length, y), (-1.26, y), 0.018, (232, 234, 238))
    pen.actor()
