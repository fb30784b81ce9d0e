"""How much room an actor takes: boxes, estimated without drawing. Planning a scene needs no more."""

from dataclasses import dataclass

from toyworld.scene import Actor

_HALF = {
    "person": 0.22, "car": 1.2, "bird": 0.8, "cat": 0.6, "dog": 0.75, "umbrella": 0.62, "sports ball": 0.5,
    "chair": 0.42, "dining table": 0.88, "potted plant": 0.32, "tree-merged": 0.34, "house": 0.56,
}  # fmt: skip
"""Half the width in heights of the actor."""
_ACTION_HALF = {"walk": 0.27, "run": 0.36, "lie": 0.52, "jump": 0.28, "wave": 0.26}
"""Of people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """A box in heights of the world."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Width x height."""
        return (self.right - self.left) * (self.bottom - self.top)

    def shared(self, other: "Extent") -> float:
        """Area of what both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, wide) * max(0.0, high)


def extent(actor: Actor, aspect: float) -> Extent:
    """About where an actor is drawn; aspect is the world's width in heights."""
    half, low, high = _HALF[actor.label], 0.0, 1.0
    if actor.label == "person":
        half = _ACTION_HALF.get(actor.action or "", half)
        if actor.action == "lie":
            high = 0.26
        elif actor.action == "sit":
            high = 0.8 if actor.on is not None else 0.66
        elif actor.action == "jump":
            low, high = 0.12, 1.25
    elif actor.action == "lie":
        high = 0.66
    elif actor.label in ("cat", "dog") and actor.facing == "front":
        half = 0.4
    middle, size = actor.x * aspect, actor.height
    return Extent(
        left=middle - half * size,
        right=middle + half * size,
        top=actor.y - high * size,
        bottom=actor.y - low * size,
    )
