"""One moment of the drawn world: what stands where, doing what. Plain values; drawing and words are made from them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """One thing of a scene. The same actor_id in two scenes of a movie is the same character."""

    actor_id: int
    """Unique within the scene, and within the movie."""
    label: str
    """One of vocabulary.THINGS."""
    kind: str | None = None
    """One of vocabulary.KINDS[label]; None where the label has none."""
    colour: str | None = None
    """One of vocabulary.THING_COLOURS[label]; None where the label has none."""
    action: str | None = None
    """One of vocabulary.ACTIONS[label]; None where the label has none."""
    facing: str = "front"
    """One of vocabulary.FACINGS: left and right as the viewer sees it."""
    x: float
    """Centre of the place it stands on, as a fraction of the world's width, 0 left."""
    y: float
    """The ground under it (feet, wheels), as a fraction of the world's height, 0 top; for what flies or is held, of
    its own lower edge. What has the larger `ground` is nearer and covers what is behind."""
    ground: float
    """Depth: where its shadow falls, as `y` counts. Equal to y for what stands on the ground."""
    height: float
    """Upright height at this depth, as a fraction of the world's height. Sitting and lying do not change it."""
    phase: float = 0.0
    """Moment of the motion's cycle (stride, wave, wing beat), 0 to 1."""
    held_by: int | None = None
    """actor_id of the person who holds it: umbrellas and balls."""
    on: int | None = None
    """actor_id of the chair it sits on, or table it stands on."""
    look: int = 0
    """Seed of what has no word: hair, skin, leaf shapes, windows. The same for a character everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The part of the world a camera sees, as fractions: left, top, width (of the height the same fraction)."""

    x: float = 0.0
    y: float = 0.0
    width: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What one frame shows."""

    seed: int
    """Of all backdrop details: clouds, hills, bricks, flowers."""
    place: str
    """One of vocabulary.PLACES; it says which stuff there is."""
    weather: str = "clear"
    """One of vocabulary.WEATHERS; always clear indoors."""
    light: str = "day"
    """One of vocabulary.LIGHTS."""
    horizon: float = 0.45
    """Where ground and backdrop meet, as a fraction of the world's height."""
    actors: tuple[Actor, ...] = ()
    view: View = View()
    time_seconds: float = 0.0
    """Moves clouds, rain and waves."""
