"""Skies: by weather and light, with sun, moon, stars and drifting clouds."""

import numpy as np

from toyworld.pen import RGB, Pen, mix
from toyworld.scene import Scene

COLOURS: dict[str, tuple[RGB, RGB]] = {
    "day": ((108, 176, 232), (206, 232, 246)),
    "dusk": ((98, 96, 160), (250, 180, 130)),
    "night": ((18, 24, 58), (48, 60, 108)),
}
"""At the top and at the horizon, when it is clear."""
OVERCAST: dict[str, RGB] = {"day": (176, 188, 200), "dusk": (140, 122, 140), "night": (44, 50, 72)}
OVERCAST_PART = {"clear": 0.0, "cloudy": 0.55, "rain": 0.85, "snow": 0.7}
CLOUDS = {"clear": 2, "cloudy": 6, "rain": 6, "snow": 4}


def paint(pen: Pen, scene: Scene, code: int, rng: np.random.Generator) -> None:
    """The sky, to a little below the horizon: the ground is painted over it."""
    pen.tint = (1.0, 1.0, 1.0)
    pen.stuff(code)
    pen.world()
    upper, lower = COLOURS[scene.light]
    part = OVERCAST_PART[scene.weather]
    grey = OVERCAST[scene.light]
    upper, lower = mix(upper, grey, part), mix(lower, grey, part * 0.8)
    pen.rows(0.0, scene.horizon + 0.05, upper, lower)
    x, y = rng.uniform(0.1, 0.9) * pen.aspect, rng.uniform(0.06, 0.16)
    if scene.weather == "clear":
        _shining(pen, scene, x, y, upper, rng)
    _clouds(pen, scene, grey, rng)


def _shining(pen: Pen, scene: Scene, x: float, y: float, upper: RGB, rng: np.random.Generator) -> None:
    if scene.light == "night":
        spots = rng.random((26, 2)) * (pen.aspect, scene.horizon * 0.85)
        star = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]]) * 0.005
        pen.polygons(spots[:, None] + star, (226, 228, 240))
        pen.oval(x, y, 0.05, 0.05, (244, 240, 216))
        pen.oval(x + 0.022, y - 0.01, 0.042, 0.042, upper)
    elif scene.light == "dusk":
        pen.oval(x, scene.horizon - 0.07, 0.085, 0.085, (253, 200, 140))
        pen.oval(x, scene.horizon - 0.07, 0.06, 0.06, (255, 222, 150))
    else:
        pen.oval(x, y, 0.065, 0.065, (226, 236, 222))
        pen.oval(x, y, 0.05, 0.05, (255, 240, 170))


def _clouds(pen: Pen, scene: Scene, grey: RGB, rng: np.random.Generator) -> None:
    white = {"day": (250, 252, 254), "dusk": (250, 206, 186), "night": (78, 88, 126)}[scene.light]
    colour = mix(white, grey, OVERCAST_PART[scene.weather] * 0.8)
    below = mix(colour, grey, 0.35)
    for _ in range(CLOUDS[scene.weather]):
        x = (rng.random() * 1.4 + 0.01 * scene.time_seconds) % 1.4 - 0.2
        y, size = rng.uniform(0.04, 0.24) * scene.horizon / 0.45, rng.uniform(0.05, 0.085)
        pen.oval(x * pen.aspect, y + size * 0.2, size * 2.2, size * 0.42, below)
        for across, up, r in ((-1.1, 0.05, 0.5), (0.0, -0.25, 0.8), (1.0, 0.0, 0.55)):
            pen.oval(x * pen.aspect + across * size, y + up * size, r * size * 1.15, r * size * 0.8, colour)
