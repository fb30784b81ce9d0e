"""Plans of drawn movies: which shots, who is in them, how they and the camera move. Plain values, by seed.

A movie has a cast: a man, a woman, a boy, a girl, a dog, a cat and a car that look the same wherever they appear and
keep their actor_id; everybody else appears in one shot only. Frames are counted from 0, at a constant rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from toyworld.sampling import PLACE_PARTS, carry, pick, place_actors, place_scene
from toyworld.scene import Actor, Scene, View
from toyworld.vocabulary import THING_COLOURS

CAST = (("person", "man"), ("person", "woman"), ("person", "boy"), ("person", "girl"), ("dog", None), ("cat", None),
        ("car", None))  # fmt: skip
JOINS = {"cut": 0.6, "fade": 0.25, "dissolve": 0.15}
"""How a shot follows the one before; every movie of four shots or more has all three. Before and after a dissolve the
camera is still."""
CAMERAS = {"still": 0.4, "zoom in": 0.2, "zoom out": 0.15, "pan": 0.25}
FADE_FRAMES, BLACK_FRAMES, DISSOLVE_FRAMES = 11, 2, 10
"""Frames in which a picture goes to or comes from black, is black, and in which two pictures are blended."""
CLOSE = 0.78
"""Part of the world's width that the camera sees when it is near."""
ACROSS = {"walk": 0.3, "run": 0.42, "fly": 0.45, "drive": 0.4}
"""How far, as a fraction of the world's width, one gets in a shot."""
CYCLES = {"walk": 0.9, "run": 1.7, "jump": 1.1, "wave": 1.3, "fly": 2.0, "drive": 0.8, "stand": 0.5}
"""Strides, hops, wing beats in a second."""
SHORTEST_FRAMES = 30
"""Of a shot: a fade in and a fade out leave some frames clear."""
SHORTEST_BETWEEN_CUTS = 6
"""Of a shot, where nothing fades."""
SMALLEST_PX = 16
"""Side of a movie; smaller ones cannot be drawn."""
ACTORS = (3, 6)
"""Of a shot, at least and at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How an actor moves through a shot."""

    actor_id: int
    across: float = 0.0
    """Fractions of the world's width in a second, to the right."""
    cycles: float = 0.0
    """How often Actor.phase goes round in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """Some seconds of one scene."""

    first: int
    """Its first frame."""
    frames: int
    scene: Scene
    """At the shot's first frame; its view is `views[0]`."""
    motions: tuple[Motion, ...]
    views: tuple[View, View]
    """At its first and last frame; the camera moves evenly between."""
    join: str
    """One of JOINS: how it follows the shot before. A dissolve's middle and a fade's first light are at `first`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A movie."""

    seed: int
    width: int
    height: int
    frame_rate: int
    shots: tuple[Shot, ...]

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.shots[-1].first + self.shots[-1].frames

    def shot_of(self, number: int) -> int:
        """Index of the shot that a frame belongs to. Raises ValueError for a frame that there is not."""
        if not 0 <= number < self.frames:
            raise ValueError(f"there is no frame {number}; the movie has {self.frames}")
        return max(index for index, shot in enumerate(self.shots) if shot.first <= number)

    def scene(self, index: int, number: int) -> Scene:
        """What a shot shows at a frame of the movie; in a dissolve also a little before its start or after its end."""
        shot = self.shots[index]
        seconds = (number - shot.first) / self.frame_rate
        part = min(1.0, max(0.0, (number - shot.first) / max(1, shot.frames - 1)))
        start, end = shot.views
        view = View(
            x=start.x + (end.x - start.x) * part,
            y=start.y + (end.y - start.y) * part,
            width=start.width + (end.width - start.width) * part,
        )
        actors = _moved(shot, seconds, self.width / self.height)
        return replace(shot.scene, actors=actors, view=view, time_seconds=shot.scene.time_seconds + seconds)

    def light(self, number: int) -> tuple[float, int | None, float]:
        """(brightness 0 to 1, index of a second shot that shines through, its share 0 to 1) of a frame."""
        index = self.shot_of(number)
        shot, after = self.shots[index], number - self.shots[index].first
        before = shot.first + shot.frames - 1 - number
        following = self.shots[index + 1].join if index + 1 < len(self.shots) else ""
        if shot.join == "fade" and after < FADE_FRAMES:
            return (after + 1) / (FADE_FRAMES + 1), None, 0.0
        if following == "fade" and before < FADE_FRAMES + BLACK_FRAMES:
            return max(0, before - BLACK_FRAMES + 1) / (FADE_FRAMES + 1), None, 0.0
        half = DISSOLVE_FRAMES // 2
        if shot.join == "dissolve" and after < half:
            return 1.0, index - 1, 0.5 - (after + 0.5) / DISSOLVE_FRAMES
        if following == "dissolve" and before < half:
            return 1.0, index + 1, 0.5 - (before + 0.5) / DISSOLVE_FRAMES
        return 1.0, None, 0.0

    def is_clear(self, number: int) -> bool:
        """Whether a frame shows one shot only, in its full light or nearly so."""
        brightness, _, share = self.light(number)
        return brightness > 0.7 and share < 0.1


def plan_movie(
    seed: int,
    *,
    seconds: float = 120.0,
    shots: int = 12,
    size: tuple[int, int] = (448, 256),
    frame_rate: int = 12,
    only_cuts: bool = False,
) -> Plan:
    """A movie of about so many seconds in so many shots, size in pixels (both even, for the codec).

    Raises ValueError where shots would be shorter than SHORTEST_FRAMES (with `only_cuts`, where they do not fade into
    each other: SHORTEST_BETWEEN_CUTS), or the size is odd or below SMALLEST_PX.
    """
    width, height = size
    if width % 2 or height % 2:
        raise ValueError(f"{width}x{height} is odd; H.264 asks for even sizes")
    if min(size) < SMALLEST_PX:
        raise ValueError(f"{width}x{height} is too small; give {SMALLEST_PX} pixels or more a side")
    frames, shortest = round(seconds * frame_rate), SHORTEST_BETWEEN_CUTS if only_cuts else SHORTEST_FRAMES
    if shots < 1 or frames < shots * shortest:
        raise ValueError(f"{frames} frames are too few for {shots} shots of {shortest} frames or more")
    rng = np.random.default_rng((seed, 9))
    cast = _cast(rng)
    joins = ["cut"] * shots if only_cuts else _joins(rng, shots)
    lengths = _lengths(rng, shots, frames, shortest)
    made: list[Shot] = []
    for index, (join, length) in enumerate(zip(joins, lengths, strict=True)):
        first = made[-1].first + made[-1].frames if made else 0
        last_place = made[-1].scene.place if made else None
        scene = _scene(rng, seed, index, last_place, cast)
        motions = tuple(_motion(actor, length / frame_rate) for actor in scene.actors)
        views = (View(), View()) if "dissolve" in joins[index : index + 2] else _views(rng, scene)
        scene = _at_start(scene, motions, length / frame_rate)
        made.append(Shot(first=first, frames=length, scene=scene, motions=motions, views=views, join=join))
    return Plan(seed=seed, width=width, height=height, frame_rate=frame_rate, shots=tuple(made))


def _cast(rng: np.random.Generator) -> tuple[Actor, ...]:
    """The looks of the cast; where they stand is up to each shot."""
    members: list[Actor] = []
    for index, (label, kind) in enumerate(CAST):
        taken = {member.colour for member in members if member.label == label}
        colours = [colour for colour in THING_COLOURS[label] if colour not in taken]
        colour, look = str(rng.choice(colours)), int(rng.integers(1_000_000))
        members.append(
            Actor(actor_id=1 + index, label=label, kind=kind, colour=colour, look=look, x=0, y=0, ground=0, height=1)
        )
    return tuple(members)


def _joins(rng: np.random.Generator, shots: int) -> list[str]:
    """The first shot begins at once."""
    drawn = [pick(rng, JOINS) for _ in range(shots - 1)]
    if len(drawn) >= len(JOINS):
        places = rng.permutation(len(drawn))[: len(JOINS)]
        for place, join in zip(places.tolist(), JOINS, strict=True):
            drawn[place] = join
    return ["cut", *drawn]


def _lengths(rng: np.random.Generator, shots: int, frames: int, shortest: int) -> list[int]:
    """Frames of each shot, of different lengths, together `frames`."""
    weights = rng.uniform(0.6, 1.4, shots)
    ends = np.round(np.cumsum(weights / weights.sum()) * (frames - shots * shortest)).astype(int)
    return [shortest + int(length) for length in np.diff([0, *ends.tolist()])]


def _scene(rng: np.random.Generator, seed: int, index: int, last_place: str | None, cast: Sequence[Actor]) -> Scene:
    """A scene at another place than the last, with the cast in the roles they fit."""
    place = pick(rng, {place: part for place, part in PLACE_PARTS.items() if place != last_place})
    number = (seed * 1009 + index) % 2**31
    scene = place_scene(rng, number, place)
    actors = place_actors(rng, scene, ACTORS)
    ids: dict[int, int] = {}
    roles: dict[int, Actor] = {}
    for actor in actors:
        fitting = [one for one in cast if (one.label, one.kind) == (actor.label, actor.kind)]
        if fitting and fitting[0].actor_id not in ids.values():
            roles[actor.actor_id] = fitting[0]
            ids[actor.actor_id] = fitting[0].actor_id
        else:
            ids[actor.actor_id] = 100 * (index + 1) + actor.actor_id
    cast_in = tuple(
        replace(
            actor,
            actor_id=ids[actor.actor_id],
            held_by=None if actor.held_by is None else ids[actor.held_by],
            on=None if actor.on is None else ids[actor.on],
            colour=roles[actor.actor_id].colour if actor.actor_id in roles else actor.colour,
            look=roles[actor.actor_id].look if actor.actor_id in roles else actor.look,
        )
        for actor in actors
    )
    return replace(scene, actors=cast_in, time_seconds=float(rng.uniform(0, 60)))


def _motion(actor: Actor, seconds: float) -> Motion:
    action = actor.action or ""
    sign = {"left": -1, "right": 1}.get(actor.facing, 1 if actor.label in ("car", "bird") else 0)
    return Motion(
        actor_id=actor.actor_id,
        across=sign * ACROSS.get(action, 0.0) / max(seconds, 4.0),
        cycles=CYCLES.get(action, 0.0),
    )


def _at_start(scene: Scene, motions: Sequence[Motion], seconds: float) -> Scene:
    """Moved back by half the shot: where actors were planned to be, they are in its middle."""
    shifted = [
        replace(actor, x=actor.x - motion.across * seconds / 2)
        for actor, motion in zip(scene.actors, motions, strict=True)
    ]
    return replace(scene, actors=tuple(shifted))


def _moved(shot: Shot, seconds: float, aspect: float) -> tuple[Actor, ...]:
    """The shot's actors after so many seconds; what is held goes where its holder went."""
    moved = {}
    for actor, motion in zip(shot.scene.actors, shot.motions, strict=True):
        phase = (actor.phase + motion.cycles * seconds) % 1.0
        moved[actor.actor_id] = replace(actor, x=actor.x + motion.across * seconds, phase=phase)
    for actor in shot.scene.actors:
        if actor.held_by is not None:
            moved[actor.actor_id] = carry(moved[actor.held_by], moved[actor.actor_id], aspect)
    return tuple(moved.values())


def _views(rng: np.random.Generator, scene: Scene) -> tuple[View, View]:
    """The camera at the first and the last frame: all of the world, nearer to somebody, or along it."""
    camera = pick(rng, CAMERAS)
    people = [actor for actor in scene.actors if actor.label in ("person", "dog", "cat", "car")]
    middle = people[int(rng.integers(len(people)))].x if people else 0.5
    low = 1 - CLOSE  # the ground stays in the picture
    near = View(x=float(np.clip(middle - CLOSE / 2, 0, 1 - CLOSE)), y=float(rng.uniform(0.5, 1)) * low, width=CLOSE)
    if camera == "zoom in":
        return View(), near
    if camera == "zoom out":
        return near, View()
    if camera == "pan":
        left, right = replace(near, x=0.0), replace(near, x=1 - CLOSE)
        return (left, right) if rng.random() < 0.5 else (right, left)
    return View(), View()
