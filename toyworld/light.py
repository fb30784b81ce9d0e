"""What day, dusk and night do to colours: mildly to figures, so that a colour's word stays true."""

from toyworld.scene import Scene

Tint = tuple[float, float, float]

_OUTDOORS: dict[str, tuple[Tint, Tint]] = {
    "day": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "dusk": ((0.88, 0.74, 0.72), (0.97, 0.92, 0.90)),
    "night": ((0.46, 0.52, 0.70), (0.86, 0.87, 0.95)),
}
"""(backdrop, figures) by the scene's light: factors of red, green and blue."""
_INDOORS: dict[str, tuple[Tint, Tint]] = {
    "day": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "dusk": ((0.93, 0.85, 0.78), (0.97, 0.93, 0.90)),
    "night": ((0.74, 0.66, 0.60), (0.92, 0.88, 0.84)),
}


def backdrop_tint(scene: Scene) -> Tint:
    """Of sky, ground and walls."""
    return _tints(scene)[0]


def figure_tint(scene: Scene) -> Tint:
    """Of actors."""
    return _tints(scene)[1]


def _tints(scene: Scene) -> tuple[Tint, Tint]:
    return (_INDOORS if scene.place == "room" else _OUTDOORS)[scene.light]
