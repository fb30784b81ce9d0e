"""The backdrop of every place: sky, hills, water, ground, walls. The shadows on it, and the weather before it."""

from collections.abc import Mapping

import cv2
import numpy as np

from toyworld import rooms, skies
from toyworld.layouts import Layout, layout_of
from toyworld.light import backdrop_tint
from toyworld.pen import RGB, Pen, mix, shade
from toyworld.scene import Actor, Scene

Codes = Mapping[str, int]
"""The pen's code of each stuff label."""

SNOW = (234, 240, 246)
SHADOW = {"clear": 0.26, "cloudy": 0.16, "rain": 0.14, "snow": 0.14}
SHADOW_WIDTH = {
    "car": 1.2,
    "house": 0.6,
    "dining table": 0.9,
    "dog": 0.6,
    "cat": 0.5,
    "chair": 0.45,
    "tree-merged": 0.26,
}
"""Half the width of the shadow below, in heights of the actor."""


def paint(pen: Pen, scene: Scene, codes: Codes) -> None:
    """All that is not an actor, with the stuff codes of its pixels."""
    painters = {"park": _park, "street": _street, "beach": _beach, "countryside": _countryside, "room": rooms.paint}
    layout = layout_of(scene)
    rng = np.random.default_rng((scene.seed, 2))
    if scene.place != "room":
        skies.paint(pen, scene, codes["sky-other-merged"], np.random.default_rng((scene.seed, 3)))
    pen.tint = backdrop_tint(scene)
    painters[scene.place](pen, scene, layout, codes, rng)


def paint_shadow(pen: Pen, actor: Actor, scene: Scene) -> None:
    """The shadow on the ground below an actor."""
    if actor.held_by is not None or actor.on is not None:
        return
    part = SHADOW[scene.weather] * (0.7 if scene.light == "night" else 1.0)
    half = SHADOW_WIDTH.get(actor.label, 0.3)
    if actor.action == "lie":
        half = 0.6
    if actor.action == "fly":
        part, half = part * 0.6, 0.5
    pen.world()
    pen.shadow(
        actor.x * pen.aspect + 0.03 * actor.height, actor.ground, half * actor.height, half * actor.height * 0.2, part
    )


def paint_weather(pen: Pen, scene: Scene) -> None:
    """Rain and snow before everything; they belong to nobody."""
    if scene.place == "room" or scene.weather not in ("rain", "snow"):
        return
    pen.stray()
    pen.world()
    rng = np.random.default_rng((scene.seed, 4))
    spots = rng.random((90, 2))
    falling = 1.6 if scene.weather == "rain" else 0.22
    spots[:, 1] = (spots[:, 1] + scene.time_seconds * falling) % 1.0
    spots = spots * (pen.aspect, 1.0) * pen.view.width + (pen.view.x * pen.aspect, pen.view.y)
    near = pen.view.width
    if scene.weather == "rain":
        starts, ends = pen.pixels(spots), pen.pixels(spots + np.array([-0.012, 0.05]) * near)
        colour = pen.paint((206, 222, 238))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            cv2.line(pen.canvas, start, end, colour, 1, cv2.LINE_AA, 4)
        return
    for index, (x, y) in enumerate(spots):
        size = (0.0045 + 0.002 * (index % 3)) * near
        pen.oval(x + 0.01 * np.sin(scene.time_seconds + index) * near, y, size, size, (250, 252, 255))


def _grass(pen: Pen, scene: Scene, layout: Layout, codes: Codes, top: float) -> None:
    upper, lower = ((136, 184, 92), (92, 156, 70)) if layout.style % 2 else ((148, 190, 84), (112, 168, 62))
    if scene.weather == "snow":
        upper, lower = mix(upper, SNOW, 0.78), mix(lower, SNOW, 0.66)
    pen.stuff(codes["grass-merged"])
    pen.world()
    mound = [(x * pen.aspect, top - 0.012 * np.sin(np.pi * x * (2 + layout.style % 3))) for x in np.linspace(0, 1, 25)]
    pen.polygon([*mound, (pen.aspect, top + 0.03), (0, top + 0.03)], upper)
    pen.rows(top + 0.004, 1.0, upper, lower)


def _tufts(pen: Pen, scene: Scene, layout: Layout, rng: np.random.Generator, top: float) -> None:
    spots = rng.random((46, 2))
    depth = spots[:, 1:] ** 1.3
    ys = top + 0.03 + depth * (0.96 - top)
    feet = np.concatenate([spots[:, :1] * pen.aspect, ys], axis=1)
    size = 0.008 + 0.016 * depth
    blades = np.array([[-0.5, 0], [-0.65, -1.0], [0, -0.3], [0.1, -1.3], [0.35, -0.3], [0.8, -0.9], [0.6, 0]])
    pen.polygons(
        feet[:30, None] + blades * size[:30, None], (96, 140, 96) if scene.weather == "snow" else (74, 134, 58)
    )
    if scene.weather != "snow" and layout.style < 4:
        colour = ((250, 236, 120), (250, 250, 244), (236, 140, 170), (190, 150, 226))[layout.style]
        petals = np.array([[-0.3, 0], [0, -0.3], [0.3, 0], [0, 0.3]])
        pen.polygons(feet[30:, None] + petals * size[30:, None], colour)


def _path(pen: Pen, scene: Scene, layout: Layout, codes: Codes) -> None:
    assert layout.path is not None
    far, near = layout.path
    part = np.linspace(0, 1, 12)
    ys = scene.horizon + 0.02 + part**1.5 * (1.03 - scene.horizon)
    middles = (far + (near - far) * part + 0.05 * np.sin(part * 5)) * pen.aspect
    halves = 0.015 + 0.19 * part**1.5
    pen.stuff(codes["road"])
    colour = mix((206, 180, 138), SNOW, 0.35) if scene.weather == "snow" else (206, 180, 138)
    left, right = np.stack([middles - halves, ys], 1), np.stack([middles + halves, ys], 1)
    pen.polygon(np.concatenate([left, right[::-1]]), shade(colour, 0.88))
    left, right = left + np.outer(halves * 0.1, [1, 0]), right - np.outer(halves * 0.1, [1, 0])
    pen.polygon(np.concatenate([left, right[::-1]]), colour)


def _pond(pen: Pen, scene: Scene, layout: Layout, codes: Codes) -> None:
    assert layout.pond is not None
    x, y, rx, ry = layout.pond
    x, rx = x * pen.aspect, rx * pen.aspect
    pen.stuff(codes["water-other"])
    pen.oval(x, y, rx, ry, (82, 146, 186))
    pen.oval(x, y + ry * 0.1, rx * 0.9, ry * 0.82, (104, 172, 210))
    drift = 0.01 * np.sin(scene.time_seconds)
    for across, up in ((-0.4, -0.3), (0.3, 0.0), (-0.1, 0.4)):
        pen.oval(x + across * rx + drift, y + up * ry, rx * 0.16, 0.004, (186, 222, 238))


def _park(pen: Pen, scene: Scene, layout: Layout, codes: Codes, rng: np.random.Generator) -> None:
    _grass(pen, scene, layout, codes, scene.horizon)
    _tufts(pen, scene, layout, rng, scene.horizon)
    if layout.path:
        _path(pen, scene, layout, codes)
    if layout.pond:
        _pond(pen, scene, layout, codes)


def _countryside(pen: Pen, scene: Scene, layout: Layout, codes: Codes, rng: np.random.Generator) -> None:
    pen.stuff(codes["mountain-merged"])
    pen.world()
    tone = ((118, 126, 158), (132, 118, 146), (104, 132, 146))[layout.style % 3]
    for index, x in enumerate(rng.permutation(np.linspace(0.05, 0.95, 4))):
        high, half = rng.uniform(0.16, 0.32) * scene.horizon / 0.45, rng.uniform(0.3, 0.5)
        colour = shade(tone, 0.9 + 0.09 * index)
        _mountain(pen, x * pen.aspect, scene.horizon + 0.02, high, half, colour, scene.weather == "snow")
    _park(pen, scene, layout, codes, rng)


def _mountain(pen: Pen, x: float, foot: float, high: float, half: float, colour: RGB, snowy: bool) -> None:
    top = foot - high
    pen.convex([(x - half, foot), (x, top), (x + half, foot)], colour)
    pen.convex([(x, top), (x + half, foot), (x + half * 0.15, foot)], shade(colour, 0.84))
    if high > 0.2 or snowy:
        cap = [(x, top), (x + half * 0.3, top + high * 0.3), (x + half * 0.14, top + high * 0.24)]
        cap += [
            (x + half * 0.02, top + high * 0.34),
            (x - half * 0.12, top + high * 0.23),
            (x - half * 0.28, top + high * 0.28),
        ]
        pen.polygon(cap, (240, 244, 250))


def _beach(pen: Pen, scene: Scene, layout: Layout, codes: Codes, rng: np.random.Generator) -> None:
    assert layout.shore is not None
    if layout.style < 2:
        pen.stuff(codes["mountain-merged"])
        pen.world()
        x = rng.uniform(0.2, 0.8) * pen.aspect
        for shift, high in ((0.0, 0.11), (0.2, 0.07)):
            _mountain(pen, x + shift, scene.horizon + 0.01, high, 0.3, (120, 136, 150), False)
    pen.stuff(codes["water-other"])
    pen.world()
    pen.rows(scene.horizon, layout.shore + 0.02, (58, 128, 184), (104, 190, 206))
    spots = rng.random((16, 2))
    ys = scene.horizon + 0.02 + spots[:, 1] * (layout.shore - scene.horizon - 0.03)
    xs = (spots[:, 0] + 0.01 * np.sin(scene.time_seconds + 6 * spots[:, 1])) * pen.aspect
    crest = np.array([[-1, 0], [-0.4, -0.16], [0, 0], [0.4, -0.16], [1, 0], [0.4, -0.06], [0, 0.1], [-0.4, -0.06]])
    sizes = 0.02 + 0.02 * spots[:, 1]
    pen.polygons(np.stack([xs, ys], 1)[:, None] + crest * sizes[:, None, None], (178, 222, 232))
    part = np.linspace(0, 1, 33)
    edge = layout.shore + 0.012 * np.sin(part * 14 + scene.seed % 7) + 0.006 * np.sin(scene.time_seconds * 1.5)
    line = np.stack([part * pen.aspect, edge], 1)
    pen.polygon([*(line - (0, 0.014)), (pen.aspect, layout.shore + 0.05), (0, layout.shore + 0.05)], (240, 248, 250))
    pen.stuff(codes["sand"])
    sand = (238, 214, 160) if layout.style % 2 else (232, 206, 168)
    pen.polygon([*line, (pen.aspect, layout.shore + 0.06), (0, layout.shore + 0.06)], shade(sand, 0.86))
    pen.rows(layout.shore + 0.03, 1.0, shade(sand, 0.9), sand)
    dots = rng.random((40, 2))
    feet = np.stack([dots[:, 0] * pen.aspect, layout.shore + 0.05 + dots[:, 1] * (0.95 - layout.shore)], 1)
    grain = np.array([[-1, 0], [0, -0.5], [1, 0], [0, 0.5]]) * 0.006
    pen.polygons(feet[:30, None] + grain, shade(sand, 0.84))
    pen.polygons(feet[30:, None] + grain * 1.4, (250, 240, 226))


def _street(pen: Pen, scene: Scene, layout: Layout, codes: Codes, rng: np.random.Generator) -> None:
    assert layout.road is not None
    upper, lower = layout.road
    rooms.street_wall(pen, scene, layout, codes["wall-other-merged"], rng)
    if layout.style % 2:
        _grass(pen, scene, layout, codes, scene.horizon)
        _tufts(pen, scene, layout, rng, scene.horizon)
    pen.world()
    pen.stuff(codes["road"])
    paving = (196, 190, 182) if scene.weather != "snow" else (222, 224, 228)
    if layout.style % 2 == 0:
        pen.rows(scene.horizon, 1.0, shade(paving, 0.94), paving)
        joints = [((x - pen.aspect / 2) * 0.7 + pen.aspect / 2, x) for x in np.linspace(-0.6, pen.aspect + 0.6, 15)]
        lines = [[(a, scene.horizon), (a + 0.004, scene.horizon), (b + 0.006, 1), (b, 1)] for a, b in joints]
        pen.polygons(lines, shade(paving, 0.87))
    asphalt = (104, 106, 114) if scene.weather != "snow" else (148, 152, 160)
    pen.rows(upper - 0.014, upper, (214, 210, 202), (214, 210, 202))
    pen.rows(upper, lower, shade(asphalt, 0.94), asphalt)
    pen.rows(lower, lower + 0.02, (220, 216, 208), (190, 186, 178))
    middle, dash = (upper + lower) / 2, np.array([[0, 0], [0.16, 0], [0.15, 0.014], [-0.01, 0.014]])
    starts = np.arange(-0.1, pen.aspect, 0.34)
    pen.polygons(np.stack([starts, np.full_like(starts, middle)], 1)[:, None] + dash, (238, 234, 214))
