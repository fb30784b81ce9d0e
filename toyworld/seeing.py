"""Scene and picture -> facts: what of the truth can be seen.

Areas are given for a picture of 224 x 128 and scaled, so the same is seen at every size.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tasks.object_naming import clean_label
from toyworld.facts import Facts, Stuff, Thing
from toyworld.naming import ObjectIds
from toyworld.picture import Picture, Region
from toyworld.relations import relations_of
from toyworld.scene import Actor, Scene

PIXELS = 224 * 128
KIND_PX, COLOUR_PX, ACTION_PX, FACING_PX = 150, 40, 90, 90
"""Visible area below which a thing's kind, colour, action and facing cannot be told."""
KIND_HIDDEN, COLOUR_HIDDEN, ACTION_HIDDEN, FACING_HIDDEN = 0.4, 0.55, 0.4, 0.4
"""The part of it that others may cover."""
CUT = 3
"""Pixels of the picture's border, at 224 x 128, on which a thing may lie before it counts as cut off."""
LOOKS_SIDEWAYS = ("bird", "car")
"""They are only drawn from the side: to the right when they face the viewer."""
PLACE_STUFF = {
    "park": ({"grass", "sky"}, {"mountain", "wall"}),
    "street": ({"road", "wall"}, {"mountain", "floor-wood"}),
    "beach": ({"sand"}, set[str]()),
    "room": ({"wall", "floor-wood"}, set[str]()),
    "countryside": ({"grass", "mountain"}, set[str]()),
}
"""What a place is known by: stuff that is seen, and stuff that is not."""
GROUND_PART = 0.7
"""Part of the stuff around a thing's foot, or around what flies, that has to be of one kind."""


def facts_of(scene: Scene, picture: Picture, ids: ObjectIds) -> Facts:
    """What the picture of a scene shows, of the things and stuff that have ids (naming.ids_of, naming.match).

    Ids of segments that are no regions of the picture are passed over: a detector's inventions have no facts.
    """
    actors = {actor.actor_id: actor for actor in scene.actors}
    regions = {region.segment_id: region for region in picture.regions}
    named = {segment_id: regions[segment_id] for segment_id in ids if segment_id in regions}
    stuff = tuple(
        Stuff(label=clean_label(region.label), object_ids=ids[segment_id], area=_area(region, picture))
        for segment_id, region in named.items()
        if not region.is_thing
    )
    things = tuple(
        _thing(ids[segment_id][0], actors[region.actor_id], region, scene, picture, {one.label for one in stuff})
        for segment_id, region in named.items()
        if region.actor_id is not None
    )
    relations, faint = relations_of(things, actors, {r.actor_id: r for r in regions.values() if r.actor_id is not None})
    return Facts(
        place=scene.place,
        weather=scene.weather,
        light=scene.light,
        seen=_seen_of_scene(scene, picture),
        things=things,
        stuff=stuff,
        relations=relations,
        faint=faint,
    )


def _area(region: Region, picture: Picture) -> float:
    return region.area_px / picture.segment_map.size


def _seen_of_scene(scene: Scene, picture: Picture) -> frozenset[str]:
    """Rain and snow are before everything outdoors, a clear sky has to be seen, a place is known by its stuff."""
    labels = {clean_label(region.label) for region in picture.regions}
    there, not_there = PLACE_STUFF[scene.place]
    seen = {"place"} if there <= labels and not not_there & labels else set()
    if scene.place != "room":
        seen.add("light")
        if "sky" in labels or scene.weather in ("rain", "snow"):
            seen.add("weather")
    return frozenset(seen)


def _thing(object_id: str, actor: Actor, region: Region, scene: Scene, picture: Picture, stuff: set[str]) -> Thing:
    part = _area(region, picture)
    mask = picture.segment_map == region.segment_id
    most = CUT * (picture.segment_map.size / PIXELS) ** 0.5
    headless = int(mask[0].sum()) > most
    cut = int(mask[:, 0].sum() + mask[:, -1].sum() + mask[-1].sum()) > most  # without a head it still stands or sits

    def told(value: str | None, area_px: int, hidden: float) -> str | None:
        return value if part * PIXELS >= area_px and region.hidden <= hidden else None

    ground = _ground(actor, mask, scene, picture)
    return Thing(
        object_id=object_id,
        label=clean_label(region.label),
        actor_id=actor.actor_id,
        kind=None if headless else told(actor.kind, KIND_PX, KIND_HIDDEN),
        colour=told(actor.colour, COLOUR_PX, COLOUR_HIDDEN),
        action=None if cut else told(actor.action, ACTION_PX, ACTION_HIDDEN),
        facing=None if headless else told(_facing(actor), FACING_PX, FACING_HIDDEN),
        area=part,
        ground=ground if ground in stuff else None,
    )


def _facing(actor: Actor) -> str | None:
    """As it is drawn. Of what lies there, nobody asks; houses and trees face nowhere."""
    if actor.label in LOOKS_SIDEWAYS:
        return "left" if actor.facing == "left" else "right"
    if actor.label not in ("person", "dog", "cat") or (actor.label == "person" and actor.action == "lie"):
        return None
    return actor.facing


def _ground(actor: Actor, mask: NDArray[np.bool_], scene: Scene, picture: Picture) -> str | None:
    """Label of the stuff a thing stands on, or is seen before where it flies; None where it is not clear."""
    if actor.held_by is not None or actor.on is not None:
        return None
    around = _around(mask, 0.04) if actor.action == "fly" else _at_foot(actor, scene, picture)
    return _commonest(picture, picture.segment_map[around])


def _around(mask: NDArray[np.bool_], part: float) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    by = max(1, round(part * mask.shape[0]))
    return slice(max(0, rows[0] - by), rows[-1] + by + 1), slice(max(0, columns[0] - by), columns[-1] + by + 1)


def _at_foot(actor: Actor, scene: Scene, picture: Picture) -> tuple[slice, slice]:
    height, width = picture.segment_map.shape
    x, y = ((actor.x - scene.view.x) / scene.view.width, (actor.ground - scene.view.y) / scene.view.width)
    half = 0.18 * actor.height * height / scene.view.width
    row, column = round(y * height), x * width
    below = max(2, round(0.02 * height))
    return slice(max(0, row), max(0, row + below)), slice(
        max(0, round(column - half)), max(0, round(column + half) + 1)
    )


def _commonest(picture: Picture, ids: NDArray[np.int32]) -> str | None:
    counts: Mapping[str, int] = {
        clean_label(region.label): int((ids == region.segment_id).sum())
        for region in picture.regions
        if not region.is_thing
    }
    label, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    return label if count and count >= GROUND_PART * sum(counts.values()) else None
