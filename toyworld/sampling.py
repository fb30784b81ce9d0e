"""Scenes at random: what models are trained and measured on. Deterministic by seed."""

from dataclasses import replace

import numpy as np

from toyworld.figures.belongings import held_place
from toyworld.layouts import layout_of
from toyworld.placing import Planner
from toyworld.scene import Actor, Scene

ASPECT = 224 / 128
"""Width of the world in heights that scenes are planned for."""

PLACE_PARTS = {"park": 0.24, "street": 0.22, "beach": 0.16, "room": 0.2, "countryside": 0.18}
WEATHER_PARTS = {"clear": 0.5, "cloudy": 0.2, "rain": 0.15, "snow": 0.15}
LIGHT_PARTS = {"day": 0.64, "dusk": 0.18, "night": 0.18}


def sample(seed: int, actors: tuple[int, int] = (2, 7)) -> Scene:
    """A scene with at least actors[0] and at most actors[1] things, 4 on average of (2, 7)."""
    fewest, most = actors
    if not 0 <= fewest <= most:
        raise ValueError(f"actors {actors}: say the fewest, then the most, neither below 0")
    rng = np.random.default_rng((seed, 0))
    scene = place_scene(rng, seed)
    return replace(scene, actors=place_actors(rng, scene, (fewest, most)))


def place_scene(rng: np.random.Generator, seed: int, place: str | None = None) -> Scene:
    """A scene without actors; its place, unless given, its weather, light and horizon are drawn from rng."""
    place = place or pick(rng, PLACE_PARTS)
    weather = "clear" if place == "room" else pick(rng, WEATHER_PARTS)
    if place == "beach" and weather == "snow":
        weather = "clear"
    light = pick(rng, LIGHT_PARTS)
    horizon = rng.uniform(0.54, 0.64) if place == "room" else rng.uniform(0.38, 0.5)
    return Scene(seed=seed, place=place, weather=weather, light=light, horizon=float(horizon))


def place_actors(rng: np.random.Generator, scene: Scene, count: tuple[int, int] = (2, 7)) -> tuple[Actor, ...]:
    """Actors for a scene's place, between count[0] and count[1] of them, where there is room for them.

    Some hide another on purpose, some hold a ball or an umbrella, some sit on chairs; classes repeat.
    """
    planner = Planner(rng, scene, layout_of(scene), ASPECT, *count)
    return planner.plan()


def pick(rng: np.random.Generator, parts: dict[str, float]) -> str:
    """A key, each as often as its part of the whole."""
    keys = list(parts)
    weights = np.array(list(parts.values()))
    return keys[int(rng.choice(len(keys), p=weights / weights.sum()))]


def carry(person: Actor, thing: Actor, aspect: float = ASPECT) -> Actor:
    """The thing in the person's hand, wherever that person has gone."""
    x, y, ground = held_place(person, thing, aspect)
    return replace(thing, x=x, y=y, ground=ground, held_by=person.actor_id, facing=person.facing)
