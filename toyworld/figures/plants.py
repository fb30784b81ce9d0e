"""Potted plants and trees, of several shapes by look."""

import numpy as np

from toyworld.figures.around import Around
from toyworld.pen import Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

BARK = (112, 80, 56)
GREENS = ((66, 140, 72), (90, 156, 62), (48, 120, 84), (118, 158, 60))
AUTUMN = ((214, 140, 48), (196, 98, 46))


def draw_potted_plant(pen: Pen, actor: Actor, around: Around) -> None:
    """A plant in a coloured pot: broad leaves, a bush, or a little cactus-like column."""
    del around
    pot = COLOURS[actor.colour or "brown"]
    rng = np.random.default_rng(actor.look)
    green = GREENS[int(rng.integers(len(GREENS)))]
    pen.stand(actor.x, actor.y, actor.height)
    shape = actor.look % 3
    if shape == 0:
        for turn, length in ((-1.15, 0.42), (1.15, 0.42), (-0.65, 0.55), (0.65, 0.55), (-0.2, 0.6), (0.25, 0.58)):
            x, y = np.sin(turn) * length, 0.4 + np.cos(turn) * length
            pen.oval(x * 0.55, 0.4 + (y - 0.4) * 0.6, 0.085, length * 0.44, shade(green, 0.82 + abs(turn) * 0.3), -turn)
    elif shape == 1:
        for x, y, r in ((-0.2, 0.56, 0.19), (0.2, 0.56, 0.19), (0, 0.6, 0.2), (-0.1, 0.78, 0.19), (0.12, 0.78, 0.19)):
            pen.oval(x, y, r, r, shade(green, 0.75 + 0.35 * y))
        for x, y in ((-0.18, 0.66), (0.05, 0.84), (0.2, 0.62), (0.02, 0.62)):
            pen.oval(x, y, 0.045, 0.045, (246, 214, 120))
    else:
        pen.limb((0, 0.4), (0, 0.84), 0.13, green)
        pen.chain([(0.08, 0.56), (0.25, 0.58), (0.25, 0.72)], 0.07, shade(green, 0.9))
        pen.chain([(-0.08, 0.5), (-0.24, 0.52), (-0.24, 0.64)], 0.07, shade(green, 0.9))
        pen.limb((-0.05, 0.44), (-0.05, 0.84), 0.02, shade(green, 1.25))
    pen.convex([(-0.2, 0), (0.2, 0), (0.27, 0.36), (-0.27, 0.36)], shade(pot, 0.88))
    pen.convex([(-0.2, 0), (-0.06, 0), (-0.08, 0.36), (-0.27, 0.36)], pot)
    pen.box(-0.31, 0.32, 0.62, 0.1, shade(pot, 1.1))


def draw_tree(pen: Pen, actor: Actor, around: Around) -> None:
    """A round tree, a conifer, a birch or poplar, or on a beach a palm."""
    rng = np.random.default_rng(actor.look)
    green = GREENS[int(rng.integers(len(GREENS)))]
    if rng.random() < 0.15 and around.scene.place != "beach":
        green = AUTUMN[int(rng.integers(2))]
    pen.stand(actor.x, actor.y, actor.height)
    if around.scene.place == "beach":
        _palm(pen, green)
    else:
        (_round_tree, _conifer, _slim_tree)[actor.look % 3](pen, green, rng)
    if around.scene.weather == "snow" and around.scene.place != "beach" and actor.look % 3 == 1:
        for y, half in ((0.97, 0.03), (0.74, 0.1), (0.5, 0.14)):
            pen.oval(-0.02, y, half, 0.022, (244, 248, 252))


def _round_tree(pen: Pen, green: tuple[int, int, int], rng: np.random.Generator) -> None:
    pen.convex([(-0.06, 0), (0.06, 0), (0.035, 0.5), (-0.035, 0.5)], BARK)
    pen.limb((0.0, 0.34), (0.14, 0.5), 0.018, BARK)
    blobs = [(-0.17, 0.56, 0.16), (0.18, 0.56, 0.16), (0.0, 0.52, 0.16), (-0.12, 0.74, 0.17), (0.13, 0.74, 0.17)]
    for x, y, r in [*blobs, (0.0, 0.83, 0.165)]:
        r *= rng.uniform(0.92, 1.04)
        pen.oval(x, y, r, r, shade(green, 0.8 + 0.22 * y))
    for x, y, r in ((-0.12, 0.8, 0.08), (0.05, 0.87, 0.07), (-0.2, 0.62, 0.06), (0.14, 0.66, 0.06)):
        pen.oval(x, y, r * 1.2, r, shade(green, 1.16))


def _conifer(pen: Pen, green: tuple[int, int, int], rng: np.random.Generator) -> None:
    del rng
    dark = shade(green, 0.78)
    pen.box(-0.04, 0, 0.08, 0.2, BARK)
    for base, top, half in ((0.12, 0.56, 0.26), (0.34, 0.78, 0.21), (0.58, 1.0, 0.15)):
        pen.convex([(-half, base), (half, base), (0, top)], dark)
        pen.convex([(-half, base), (-half * 0.1, base + 0.02), (0, top)], shade(green, 0.98))


def _slim_tree(pen: Pen, green: tuple[int, int, int], rng: np.random.Generator) -> None:
    pen.box(-0.035, 0, 0.07, 0.4, (196, 190, 180))
    for y in (0.08, 0.2, 0.28):
        pen.box(-0.035, y, 0.035, 0.02, (92, 88, 84))
    pen.oval(0, 0.62, 0.2, 0.38, shade(green, 0.86))
    pen.oval(-0.05, 0.66, 0.13, 0.29, shade(green, 1.02))
    for _ in range(4):
        pen.oval(rng.uniform(-0.11, 0.09), rng.uniform(0.45, 0.85), 0.045, 0.03, shade(green, 1.22))


def _palm(pen: Pen, green: tuple[int, int, int]) -> None:
    pen.chain([(0, 0), (0.03, 0.3), (0.1, 0.6), (0.2, 0.82)], 0.055, (158, 118, 78), 0.035)
    for y in (0.15, 0.3, 0.45, 0.6):
        x = 0.01 + 0.2 * y**1.6
        pen.limb((x - 0.03, y), (x + 0.03, y), 0.01, (122, 88, 58))
    for turn, length in ((-1.9, 0.34), (1.9, 0.34), (-1.2, 0.4), (1.2, 0.4), (-0.45, 0.3), (0.5, 0.3)):
        x, y = 0.2 + np.sin(turn) * length * 0.55, 0.84 + np.cos(turn) * length * 0.4
        pen.oval(x, y, 0.06, length * 0.56, shade(green, 0.85 + 0.15 * abs(turn)), -turn)
    for x in (0.17, 0.23):
        pen.oval(x, 0.8, 0.03, 0.03, (110, 72, 44))
