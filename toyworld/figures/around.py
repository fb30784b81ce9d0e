"""What a figure must know of others to be drawn."""

from dataclasses import dataclass

from toyworld.scene import Actor, Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The actors that one touches, and the scene."""

    seat: Actor | None
    """What it sits or stands on."""
    held: tuple[Actor, ...]
    """What it holds."""
    scene: Scene
