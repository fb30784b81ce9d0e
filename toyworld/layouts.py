"""Where a place's roads, ponds and shores lie: for painting the backdrop and for putting actors on it."""

from dataclasses import dataclass

import numpy as np

from toyworld.scene import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Fractions of the world's height (y) or width (x)."""

    nearest: float = 0.97
    """Ground of the nearest place one can stand on."""
    farthest: float
    """Ground of the farthest."""
    road: tuple[float, float] | None = None
    """Upper and lower edge of a road across the world."""
    path: tuple[float, float] | None = None
    """x of a path's far and near end, from the horizon to the lower edge."""
    pond: tuple[float, float, float, float] | None = None
    """x, y and half width, half height."""
    shore: float | None = None
    """Where water ends and sand begins."""
    style: int = 0
    """0 to 5: which of the looks a place has."""

    def is_dry(self, x: float, ground: float) -> bool:
        """Whether one can stand there without wet feet."""
        if self.pond is None:
            return True
        across, up = (x - self.pond[0]) / (self.pond[2] + 0.07), (ground - self.pond[1]) / (self.pond[3] + 0.035)
        return bool(across**2 + up**2 > 1)


def layout_of(scene: Scene) -> Layout:
    """The layout of a scene's place, by its seed and horizon."""
    rng = np.random.default_rng((scene.seed, 1))
    horizon, ground = scene.horizon, 1 - scene.horizon
    style = int(rng.integers(6))
    far = horizon + 0.12 * ground
    if scene.place == "street":
        upper = horizon + rng.uniform(0.3, 0.42) * ground
        return Layout(farthest=far, road=(upper, upper + rng.uniform(0.36, 0.44) * ground), style=style)
    if scene.place == "beach":
        shore = horizon + rng.uniform(0.2, 0.34) * ground
        return Layout(farthest=shore + 0.06, shore=shore, style=style)
    if scene.place == "room":
        return Layout(farthest=horizon + 0.14 * ground, style=style)
    path = pond = None
    if rng.random() < 0.55:
        path = (float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.15, 0.85)))
    elif rng.random() < 0.6:
        middle = horizon + rng.uniform(0.2, 0.4) * ground
        pond = (float(rng.uniform(0.15, 0.85)), middle, float(rng.uniform(0.14, 0.22)), float(rng.uniform(0.04, 0.07)))
    return Layout(farthest=far, path=path, pond=pond, style=style)
