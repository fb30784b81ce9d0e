"""Walls: a room's, with window, picture and floor, and a street's."""

from collections.abc import Mapping

import numpy as np

from toyworld import skies
from toyworld.layouts import Layout
from toyworld.pen import RGB, Pen, shade
from toyworld.scene import Scene

WALLPAPERS = ((226, 214, 190), (190, 208, 196), (206, 200, 220), (232, 206, 190), (184, 202, 218), (220, 218, 206))
FLOORS = ((176, 126, 84), (156, 108, 72), (196, 152, 104))
FRAME = (246, 242, 234)
BRICKS = ((176, 98, 78), (188, 160, 134), (158, 148, 146))


def paint(pen: Pen, scene: Scene, layout: Layout, codes: Mapping[str, int], rng: np.random.Generator) -> None:
    """A room: wall, window, pictures, floor boards and perhaps a rug."""
    paper = WALLPAPERS[layout.style]
    floor_top = scene.horizon
    pen.stuff(codes["wall-other-merged"])
    pen.world()
    pen.rows(0.0, floor_top, shade(paper, 1.15), shade(paper, 0.97))
    if layout.style % 2:
        stripes = [
            [(x, 0), (x + 0.03, 0), (x + 0.03, floor_top), (x, floor_top)]
            for x in np.arange(0.02, pen.aspect, 0.11).tolist()
        ]
        pen.polygons(stripes, shade(paper, 0.95))
    left = bool(rng.integers(2))  # the window; the picture hangs on the other side
    _window(pen, scene, float(rng.uniform(0.08, 0.2) if left else rng.uniform(0.52, 0.68)) * pen.aspect)
    _pictures(pen, float(rng.uniform(0.6, 0.85) if left else rng.uniform(0.1, 0.3)) * pen.aspect, rng)
    pen.box(0, floor_top - 0.04, pen.aspect, 0.04, FRAME)
    pen.box(0, floor_top - 0.006, pen.aspect, 0.006, shade(FRAME, 0.7))
    pen.stuff(codes["floor-wood"])
    wood = FLOORS[int(rng.integers(3))]
    pen.rows(floor_top, 1.0, shade(wood, 0.86), shade(wood, 1.12))
    middle = pen.aspect / 2
    ends = np.linspace(-1.6, pen.aspect + 1.6, 24)
    lines = [
        [
            ((x - middle) * 0.45 + middle, floor_top),
            ((x - middle) * 0.45 + middle + 0.004, floor_top),
            (x + 0.008, 1),
            (x, 1),
        ]
        for x in ends
    ]
    pen.polygons(lines, shade(wood, 0.78))
    if layout.style in (1, 2, 5):
        rug: RGB = ((148, 82, 84), (86, 108, 138), (120, 130, 96))[layout.style % 3]
        y = floor_top + 0.55 * (1 - floor_top)
        pen.oval(middle, y, 0.5, 0.13, rug)
        pen.oval(middle, y, 0.43, 0.105, shade(rug, 1.25))
        pen.oval(middle, y, 0.38, 0.09, rug)


def _window(pen: Pen, scene: Scene, x: float) -> None:
    wide, high, top = 0.42, 0.3, 0.07
    upper, lower = skies.COLOURS[scene.light]
    pen.box(x - 0.025, top - 0.025, wide + 0.05, high + 0.05, FRAME)
    pen.box(x, top, wide, high, lower, lit=True)
    pen.box(x, top, wide, high * 0.5, upper, lit=True)
    if scene.light == "night":
        pen.oval(x + 0.1, top + 0.08, 0.028, 0.028, (244, 240, 216), lit=True)
    else:
        pen.oval(x + 0.13, top + high - 0.05, 0.11, 0.045, (110, 156, 96) if scene.light == "day" else (90, 86, 90))
    pen.box(x + wide / 2 - 0.01, top, 0.02, high, FRAME)
    pen.box(x, top + high / 2 - 0.008, wide, 0.016, FRAME)
    pen.box(x - 0.045, top + high + 0.015, wide + 0.09, 0.025, shade(FRAME, 0.9))
    cloth = (198, 120, 106) if scene.seed % 2 else (112, 142, 150)
    for side in (0, 1):
        edge = x - 0.06 + side * (wide + 0.04)
        pen.convex(
            [
                (edge, top - 0.05),
                (edge + 0.08, top - 0.05),
                (edge + 0.09 - side * 0.02, top + high + 0.06),
                (edge - 0.01, top + high + 0.06),
            ],
            cloth,
        )


def _pictures(pen: Pen, x: float, rng: np.random.Generator) -> None:
    wide, high, top = 0.16, 0.13, float(rng.uniform(0.1, 0.2))
    pen.box(x, top, wide, high, (122, 88, 60))
    pen.box(x + 0.014, top + 0.014, wide - 0.028, high - 0.028, (214, 226, 222))
    pen.convex([(x + 0.02, top + high - 0.014), (x + 0.06, top + 0.05), (x + 0.1, top + high - 0.014)], (128, 150, 130))
    pen.convex(
        [(x + 0.07, top + high - 0.014), (x + 0.105, top + 0.065), (x + 0.14, top + high - 0.014)], (104, 126, 120)
    )


def street_wall(pen: Pen, scene: Scene, layout: Layout, code: int, rng: np.random.Generator) -> None:
    """A brick wall along the street, or the fronts of a row of buildings."""
    pen.stuff(code)
    pen.world()
    colour = BRICKS[int(rng.integers(3))]
    if layout.style < 3:
        top = scene.horizon - rng.uniform(0.14, 0.2)
        pen.box(0, top, pen.aspect, scene.horizon - top + 0.05, colour)
        pen.box(0, top - 0.015, pen.aspect, 0.025, shade(colour, 0.75))
        high = 0.036
        for row, y in enumerate(np.arange(top + 0.025, scene.horizon, high).tolist()):
            pen.box(0, y, pen.aspect, 0.004, shade(colour, 0.84))
            joints = np.arange(-0.04 if row % 2 else 0.0, pen.aspect, 0.08)
            joint = np.array([[0, 0], [0.005, 0], [0.005, high], [0, high]])
            pen.polygons(np.stack([joints, np.full_like(joints, y)], 1)[:, None] + joint, shade(colour, 0.84))
        return
    x = -float(rng.uniform(0, 0.2))
    while x < pen.aspect:
        wide, high = float(rng.uniform(0.26, 0.4)), float(rng.uniform(0.2, 0.4)) * scene.horizon / 0.45
        tone = shade(BRICKS[int(rng.integers(3))], float(rng.uniform(0.85, 1.2)))
        _front(pen, scene, x, wide, high, tone, rng)
        x += wide


def _front(pen: Pen, scene: Scene, x: float, wide: float, high: float, tone: RGB, rng: np.random.Generator) -> None:
    top = scene.horizon - high
    pen.box(x, top, wide, high + 0.05, tone)
    pen.box(x, top, wide, 0.016, shade(tone, 0.7))
    pen.box(x + wide - 0.012, top, 0.012, high + 0.05, shade(tone, 0.86))
    for row in range(int(high / 0.11)):
        for column in range(3):
            lit = scene.light != "day" and rng.random() < 0.5
            left, upper = x + wide * (0.12 + 0.29 * column), top + 0.04 + 0.11 * row
            pen.box(left, upper, wide * 0.17, 0.06, (250, 216, 130) if lit else (120, 144, 162), lit=lit)
