"""Chooses a scene's actors and finds places for them, some of them partly behind others on purpose."""

from dataclasses import dataclass, field, replace

import numpy as np

from toyworld.extents import Extent, extent
from toyworld.figures.belongings import held_place
from toyworld.figures.furniture import TABLE_TOP
from toyworld.layouts import Layout
from toyworld.scene import Actor, Scene
from toyworld.vocabulary import KINDS, THING_COLOURS

Parts = dict[str, float]

PLACE_THINGS: dict[str, Parts] = {
    "park": {"person": 2, "dog": 2.6, "bird": 1.5, "cat": 1.7, "sports ball": 1.4, "umbrella": 0.8, "chair": 1.1,
             "dining table": 1.0, "tree-merged": 1.8, "potted plant": 0.4, "house": 0.4},
    "street": {"person": 2, "car": 3, "dog": 1.7, "cat": 1.7, "bird": 0.9, "umbrella": 1.0, "tree-merged": 0.9,
               "potted plant": 0.6, "house": 0.9, "chair": 0.5, "sports ball": 0.6},
    "beach": {"person": 2.2, "sports ball": 1.8, "umbrella": 1.6, "bird": 1.8, "dog": 2, "cat": 0.8, "chair": 1.5,
              "tree-merged": 0.9, "dining table": 0.7},
    "room": {"person": 2, "chair": 2.4, "dining table": 2, "potted plant": 2.2, "cat": 2.6, "dog": 1.6,
             "sports ball": 0.8},
    "countryside": {"person": 1.8, "house": 2, "tree-merged": 2, "dog": 2, "cat": 1.7, "bird": 1.5, "car": 1.1,
                    "chair": 0.5, "dining table": 0.5, "sports ball": 0.5, "umbrella": 0.5},
}  # fmt: skip
MOST = {"house": 2, "dining table": 2, "tree-merged": 3, "umbrella": 2, "car": 3}
"""Of one label in a scene; 3 of any other."""
SIZES = {
    "person": (0.96, 1.06), "car": (0.6, 0.7), "bird": (0.27, 0.34), "cat": (0.36, 0.42), "dog": (0.42, 0.52),
    "umbrella": (0.72, 0.8), "sports ball": (0.21, 0.28), "chair": (0.52, 0.58), "dining table": (0.44, 0.5),
    "potted plant": (0.46, 0.72), "tree-merged": (1.05, 1.5), "house": (1.2, 1.5),
}  # fmt: skip
"""Heights in heights of a grown-up at the same depth."""
CHILD = (0.64, 0.74)
PERSON_ACTIONS = {"stand": 0.12, "walk": 0.15, "run": 0.17, "sit": 0.1, "wave": 0.18, "lie": 0.12, "jump": 0.16}
OTHER_ACTIONS: dict[str, Parts] = {
    "dog": {"stand": 1, "walk": 1, "run": 1.5, "sit": 1, "lie": 1},
    "cat": {"stand": 1, "walk": 1, "sit": 1, "lie": 1},
    "bird": {"fly": 1, "stand": 1},
    "car": {"drive": 1, "park": 1},
}
REPEAT, HIDE, HOLD, ON_CHAIR, ON_TABLE, SAME_COLOUR = 0.5, 0.7, 0.85, 0.6, 0.3, 0.25
"""How often a scene repeats a class on purpose, hides a person on purpose, somebody holds a ball or umbrella that there
is, somebody sits on a chair that there is, a cat or plant stands on a table that there is, and an
actor takes another's colour."""
COVER = {"house": 0.45, "tree-merged": 0.45, "dining table": 0.3, "car": 0.22, "chair": 0.25}
"""Part of an actor's box that may be covered by accident; 0.14 for others."""
TRIES = 24


@dataclass(slots=True)
class Planner:
    """Plans one scene."""

    rng: np.random.Generator
    scene: Scene
    layout: Layout
    aspect: float
    fewest: int
    most: int
    actors: list[Actor] = field(default_factory=list)

    def plan(self) -> tuple[Actor, ...]:
        """Actors for the scene."""
        count = self.fewest + int(self.rng.binomial(self.most - self.fewest, 0.42))
        labels = self._labels(count)
        hide = self.rng.random() < HIDE
        for label in labels:
            if len(self.actors) >= count:
                break
            if label in ("umbrella", "sports ball") and self._hold(label):
                continue
            if label in ("cat", "potted plant") and self._put_on_table(label):
                continue
            person = self._hideable() if hide else None
            if person is not None and label not in ("house", "bird", "sports ball") and self._place(label, person):
                hide = False
                continue
            self._place(label)
            if label == "chair" and len(self.actors) < count and self.rng.random() < ON_CHAIR:
                self._seat(self.actors[-1])
        return tuple(self.actors)

    def _labels(self, count: int) -> list[str]:
        """Large ones first, so that small ones find their places among them; people early."""
        parts = dict(PLACE_THINGS[self.scene.place])
        if self.scene.weather == "rain":
            parts["umbrella"] *= 2.5
        labels = ["person"] if count and self.rng.random() < 0.85 else []
        repeat = self.rng.random() < REPEAT
        while len(labels) < count:
            if repeat and labels and len(labels) >= count // 2:
                again = labels[int(self.rng.integers(len(labels)))]
                labels += [again] if labels.count(again) < MOST.get(again, 3) else []
                repeat = len(set(labels)) == len(labels)
                continue
            label = _pick(self.rng, parts)
            if labels.count(label) < MOST.get(label, 3):
                labels.append(label)
        first = {"house": 0, "car": 1, "tree-merged": 1, "dining table": 2, "person": 3, "chair": 4}
        late = {"sports ball": 7, "umbrella": 7}
        return sorted(labels, key=lambda label: first.get(label, late.get(label, 5)))

    def _hideable(self) -> Actor | None:
        people = [one for one in self.actors if one.label == "person" and one.action != "lie" and one.on is None]
        return people[-1] if people else None

    def _place(self, label: str, before: Actor | None = None) -> bool:
        """Find a place for a new actor: where it hides least, or partly before another one."""
        best, best_cover = None, 9.0
        for _ in range(TRIES):
            actor = self._candidate(label, before)
            if actor is None:
                continue
            worst = self._excess(actor, before)
            if worst < best_cover:
                best, best_cover = actor, worst
            if worst <= 0:
                break
        if best is None or (best_cover > 0 and before is not None):
            return False
        if best_cover > 0.25 and len(self.actors) >= self.fewest:
            return False
        self.actors.append(best)
        return True

    def _excess(self, actor: Actor, before: Actor | None) -> float:
        """How much more somebody would be covered than may be; 0 or less is a good place."""
        boxes = [(other, extent(other, self.aspect)) for other in self.actors]
        mine = extent(actor, self.aspect)
        worst = _out_of_frame(mine, self.aspect)
        for other, box in boxes:
            if other.ground > actor.ground:
                worst = max(worst, mine.shared(box) / mine.area - _allowed(actor, other))
            elif other is before:
                part = mine.shared(box) / box.area
                worst = max(worst, 0.2 - part, part - 0.5)
            else:
                worst = max(worst, mine.shared(box) / box.area - _allowed(other, actor))
        return worst

    def _candidate(self, label: str, before: Actor | None) -> Actor | None:
        rng, layout = self.rng, self.layout
        nearest, farthest = layout.nearest, layout.farthest
        if label in ("house", "tree-merged"):
            nearest = farthest + (0.1 if label == "house" else 0.3) * (nearest - farthest)
        if label == "car" and layout.road:
            farthest, nearest = layout.road[0] + 0.35 * (layout.road[1] - layout.road[0]), layout.road[1]
        x = float(rng.uniform(0.04, 0.96))
        if before is not None:
            farthest = max(farthest, before.ground + 0.02)
            x = before.x + float(rng.uniform(-0.16, 0.16))
            nearest = min(nearest, before.ground + 0.3)
        if farthest >= nearest:
            return None
        ground = float(rng.uniform(farthest, nearest))
        if not layout.is_dry(x, ground):
            return None
        return self._actor(label, x, ground)

    def _actor(self, label: str, x: float, ground: float) -> Actor:
        rng = self.rng
        kind = str(rng.choice(KINDS[label])) if label in KINDS else None
        size = self.grown_up(ground) * rng.uniform(*SIZES[label])
        if kind in ("boy", "girl"):
            size *= rng.uniform(*CHILD)
        action = None
        if label == "person":
            action = _pick(rng, PERSON_ACTIONS)
        elif label in OTHER_ACTIONS:
            action = _pick(rng, OTHER_ACTIONS[label])
        y = ground
        if action == "fly":
            y = float(rng.uniform(0.14, self.scene.horizon + 0.05))
        return Actor(
            actor_id=1 + max((one.actor_id for one in self.actors), default=0),
            label=label,
            kind=kind,
            colour=self._colour(label),
            action=action,
            facing=self._facing(label, action),
            x=x,
            y=y,
            ground=ground,
            height=float(size),
            phase=float(rng.random()),
            look=int(rng.integers(1_000_000)),
        )

    def grown_up(self, ground: float) -> float:
        """Height of a grown-up there, in heights of the world."""
        depth = (ground - self.scene.horizon) / (1 - self.scene.horizon)
        return 0.46 + 0.14 * depth if self.scene.place == "room" else 0.30 + 0.32 * depth

    def _colour(self, label: str) -> str | None:
        colours = THING_COLOURS[label]
        if not colours:
            return None
        others = [one.colour for one in self.actors if one.colour in colours]
        if others and self.rng.random() < SAME_COLOUR:
            return others[int(self.rng.integers(len(others)))]
        return str(self.rng.choice(colours))

    def _facing(self, label: str, action: str | None) -> str:
        front = {"person": 0.4, "dog": 0.25, "cat": 0.25, "chair": 0.4}.get(label, 0.0)
        if label not in ("person", "dog", "cat", "chair", "bird", "car"):
            return "front"
        if action in ("walk", "run") or (label == "person" and action == "lie"):
            front = 0.0
        if self.rng.random() < front:
            return "front"
        return "left" if self.rng.random() < 0.5 else "right"

    def _hold(self, label: str) -> bool:
        """Put a new ball or umbrella into the hand of somebody whose hands are free."""
        busy = {one.held_by for one in self.actors}
        upright = [one for one in self.actors if one.label == "person" and one.action not in ("sit", "lie")]
        free = [one for one in upright if one.actor_id not in busy]
        if not free or self.rng.random() > HOLD:
            return False
        person = free[int(self.rng.integers(len(free)))]
        if person.action not in ("stand", "walk"):  # a hand that holds something does nothing else
            walks = person.facing != "front" and self.rng.random() < 0.5
            calm = replace(person, action="walk" if walks else "stand")
            self.actors[self.actors.index(person)], person = calm, calm
        thing = self._actor(label, 0.5, person.ground)
        x, y, ground = held_place(person, thing, self.aspect)
        self.actors.append(replace(thing, x=x, y=y, ground=ground, held_by=person.actor_id, facing=person.facing))
        return True

    def _put_on_table(self, label: str) -> bool:
        """Put a new cat or plant on a table that has nothing on it."""
        taken = {one.on for one in self.actors}
        tables = [one for one in self.actors if one.label == "dining table" and one.actor_id not in taken]
        if not tables or self.rng.random() > ON_TABLE:
            return False
        table = tables[0]
        thing = self._actor(
            label, table.x + float(self.rng.uniform(-0.4, 0.4)) * table.height / self.aspect, table.ground
        )
        thing = replace(thing, y=table.y - TABLE_TOP * table.height, on=table.actor_id)
        if thing.action == "walk":
            thing = replace(thing, action="stand")
        self.actors.append(thing if label == "cat" else replace(thing, height=thing.height * 0.75))
        return True

    def _seat(self, chair: Actor) -> None:
        """Somebody new sits down on the chair."""
        person = self._actor("person", chair.x, chair.ground)
        seated = replace(person, action="sit", facing=chair.facing, y=chair.y, on=chair.actor_id)
        box = extent(seated, self.aspect)
        if box.top > 0.01:
            self.actors.append(seated)


def _allowed(far: Actor, near: Actor) -> float:
    """Part of `far` that `near` may cover by accident."""
    alike = far.label == near.label and far.colour == near.colour
    return 0.04 if alike else COVER.get(far.label, 0.14)


def _out_of_frame(box: Extent, aspect: float) -> float:
    """Part of the box that lies outside the world, beyond a tenth."""
    frame = Extent(left=0, top=0, right=aspect, bottom=1)
    return 1 - box.shared(frame) / box.area - 0.06


def _pick(rng: np.random.Generator, parts: Parts) -> str:
    weights = np.array(list(parts.values()))
    return list(parts)[int(rng.choice(len(parts), p=weights / weights.sum()))]
