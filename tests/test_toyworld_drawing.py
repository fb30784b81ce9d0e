"""The drawn world: scenes by seed, pictures, and the truth about every pixel of them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from toyworld import vocabulary
from toyworld.drawing import by_actor, draw, draw_image, far_to_near
from toyworld.figures import FIGURES
from toyworld.layouts import layout_of
from toyworld.sampling import carry, sample
from toyworld.scene import Actor, Scene, View


def one(label, **changes):
    """A single actor in the middle of a park."""
    kinds = vocabulary.KINDS.get(label, (None,))
    colours = vocabulary.THING_COLOURS[label] or (None,)
    actions = vocabulary.ACTIONS.get(label, (None,))
    defaults = {"actor_id": 1, "kind": kinds[0], "colour": colours[0], "action": actions[0], "x": 0.5, "y": 0.9}
    return Actor(**{"label": label, "ground": 0.9, "height": 0.45, "facing": "right", "look": 4, **defaults, **changes})


def park(*actors, **changes):
    return Scene(**{"seed": 2, "place": "park", "actors": actors, **changes})


def actor_map(picture):
    """actor_id by pixel; 0 for none."""
    names = np.zeros(len(picture.regions) + 1, int)
    for region in picture.regions:
        names[region.segment_id] = region.actor_id or 0
    return names[picture.segment_map]


@pytest.fixture(scope="module")
def pictures():
    """150 scenes of the training distribution, drawn."""
    scenes = [sample(seed) for seed in range(150)]
    return [(scene, draw(scene)) for scene in scenes]


def test_a_seed_is_one_scene_and_one_picture():
    first, again, other = sample(7), sample(7), sample(8)
    assert first == again != other
    assert np.array_equal(draw(first).image, draw(again).image)
    assert np.array_equal(draw(first).segment_map, draw(again).segment_map)
    assert draw(first).regions == draw(again).regions
    assert np.array_equal(draw_image(first), draw(again).image)


def test_regions_are_the_map(pictures):
    for scene, picture in pictures:
        assert picture.image.shape == (128, 224, 3)
        assert picture.image.dtype == np.uint8
        assert picture.segment_map.shape == (128, 224)
        assert picture.segment_map.dtype == np.int32
        areas = np.bincount(picture.segment_map.ravel(), minlength=len(picture.regions) + 1)
        assert [region.area_px for region in picture.regions] == areas[1:].tolist()
        assert [region.segment_id for region in picture.regions] == list(range(1, len(picture.regions) + 1))
        assert areas[1:].min() >= 24
        assert areas[0] < 24 * len(scene.actors)
        stuff = [region.label for region in picture.regions if not region.is_thing]
        assert len(stuff) == len(set(stuff))
        for region in picture.regions:
            assert vocabulary.LABELS[region.category_id] == region.label
            assert region.is_thing == (region.label in vocabulary.THINGS) == (region.actor_id is not None)
            assert 0 <= region.hidden < 1


def test_a_region_lies_within_what_is_drawn_when_nobody_else_is_there(pictures):
    for scene, picture in pictures[:30]:
        together = actor_map(picture)
        holders = {actor.held_by for actor in scene.actors}
        for actor in scene.actors:
            if actor.actor_id in holders or actor.held_by is not None or actor.on is not None:
                continue  # they are drawn otherwise without the other one
            alone = actor_map(draw(replace(scene, actors=(actor,))))
            seen = together == actor.actor_id
            assert (seen & (alone != actor.actor_id)).sum() <= 0.03 * seen.sum()


def test_hidden_and_behind_say_what_a_nearer_thing_covers():
    child = one("person", kind="girl", action="stand", x=0.5)
    table = one("dining table", actor_id=2, x=0.5, y=0.95, ground=0.95, height=0.25)
    bird = one("bird", actor_id=3, action="fly", x=0.15, y=0.3)
    alone, both = draw(park(child)), draw(park(table, child, bird))
    whole, seen = by_actor(alone.regions)[1], by_actor(both.regions)
    assert whole.hidden == 0
    assert whole.behind == {}
    assert seen[1].behind == {2: pytest.approx(seen[1].hidden)}
    assert 0.15 < seen[1].hidden < 0.8
    assert seen[1].hidden == pytest.approx(1 - seen[1].area_px / whole.area_px, abs=0.03)
    assert (seen[2].hidden, seen[2].behind) == (0, {})
    assert (seen[3].hidden, seen[3].behind) == (0, {})
    grass = next(region for region in both.regions if region.label == "grass-merged")
    assert {1, 2} <= set(grass.behind)


def test_what_is_not_seen_has_no_region():
    house = one("house", actor_id=2, height=0.7, y=0.95, ground=0.95)
    ball = one("sports ball", height=0.1, y=0.9)
    picture = draw(park(ball, house))
    assert list(by_actor(picture.regions)) == [2]
    assert by_actor(draw(park(replace(ball, x=3.0), house)).regions).keys() == {2}


def test_things_are_drawn_far_to_near_and_held_ones_after_their_holder():
    person, chair = one("person", on=5), one("chair", actor_id=5)
    ball = one("sports ball", actor_id=0, held_by=1)
    near, far = one("dog", actor_id=7, ground=0.95), one("cat", actor_id=8, ground=0.5)
    order = [actor.actor_id for actor in far_to_near((ball, near, person, chair, far))]
    assert order == [8, 5, 1, 0, 7]
    with pytest.raises(ValueError, match="actor 1 holds or sits on itself"):
        draw(park(replace(person, on=1)))


@pytest.mark.parametrize("label", vocabulary.THINGS)
def test_every_thing_is_drawn_in_every_way(label):
    assert label in FIGURES
    shapes = {}
    for kind in vocabulary.KINDS.get(label, (None,)):
        for action in vocabulary.ACTIONS.get(label, (None,)):
            for facing in vocabulary.FACINGS:
                picture = draw(park(one(label, kind=kind, action=action, facing=facing)))
                region = by_actor(picture.regions)[1]
                assert region.area_px > 150
                assert region.label == label
                shapes[kind, action, facing] = picture.image.tobytes()
    sideways = [shape for (_, _, facing), shape in shapes.items() if facing == "left"]
    assert len(set(sideways)) == len(sideways)


@pytest.mark.parametrize("label", vocabulary.THINGS)
def test_a_colours_word_is_true_day_and_night(label):
    values = np.array(list(vocabulary.COLOURS.values()))
    for colour in vocabulary.THING_COLOURS[label]:
        for light in vocabulary.LIGHTS:
            picture = draw(park(one(label, colour=colour), light=light))
            mine = picture.image[actor_map(picture) == 1].astype(int)
            nearest = np.abs(mine[:, None] - values).sum(2).argmin(1)
            share = np.mean(nearest == list(vocabulary.COLOURS).index(colour))
            assert share > (0.1 if light == "day" else 0.05), f"{colour} at {light}: {share:.2f}"


def test_every_place_weather_and_light_looks_different():
    seen = set()
    for place in vocabulary.PLACES:
        for weather in vocabulary.WEATHERS if place != "room" else ("clear",):
            for light in vocabulary.LIGHTS:
                picture = draw(Scene(seed=3, place=place, weather=weather, light=light))
                assert (picture.segment_map > 0).all()
                seen.add(picture.image.tobytes())
    assert len(seen) == (4 * 4 + 1) * 3


def test_every_stuff_class_is_somewhere(pictures):
    labels = {region.label for _, picture in pictures for region in picture.regions}
    assert labels == set(vocabulary.LABELS)


def test_a_camera_that_comes_closer_sees_the_same_world_larger():
    scene = replace(sample(11), weather="clear")
    large = draw(scene, 448, 256)
    closer = draw(replace(scene, view=View(x=0.25, y=0.25, width=0.5)))
    same = actor_map(large)[64:192, 112:336] == actor_map(closer)
    assert same.mean() > 0.995
    difference = np.abs(large.image[64:192, 112:336].astype(int) - closer.image)
    assert difference.mean() < 2
    tiny = draw(scene, 64, 48)
    assert tiny.image.shape == (48, 64, 3)


def test_what_is_held_goes_with_the_hand():
    person = one("person", action="walk", kind="woman")
    for label in ("umbrella", "sports ball"):
        for facing in vocabulary.FACINGS:
            holder = replace(person, facing=facing, x=0.4)
            thing = carry(holder, one(label, actor_id=2, height=0.33 if label == "umbrella" else 0.12))
            picture = draw(park(holder, thing))
            regions = by_actor(picture.regions)
            assert regions.keys() == {1, 2}
            rows, columns = np.nonzero(actor_map(picture) == 1)
            near = np.zeros((128, 224), bool)
            near[rows.min() - 4 : rows.max() + 5, columns.min() - 4 : columns.max() + 5] = True
            assert (near & (actor_map(picture) == 2)).any()


def test_the_distribution_has_what_a_captioner_must_learn(pictures):
    counts = [len(scene.actors) for scene, _ in pictures]
    assert 2 <= min(counts) <= max(counts) <= 7
    assert 3.6 < np.mean(counts) < 4.6
    repeated = hidden = held = 0
    for scene, picture in pictures:
        labels = Counter(region.label for region in picture.regions if region.is_thing)
        repeated += max(labels.values()) > 1
        people = [region for region in picture.regions if region.label == "person"]
        hidden += any(0.08 < region.hidden <= 0.55 for region in people)
        held += any(actor.held_by is not None for actor in scene.actors)
    share = np.array([repeated, hidden, held]) / len(pictures)
    assert share[0] > 0.5
    assert 0.2 < share[1] < 0.5
    assert 0.1 < share[2] < 0.35
    people = [region for _, picture in pictures for region in picture.regions if region.label == "person"]
    assert np.mean([region.hidden > 0.55 for region in people]) < 0.02


def test_sampled_actors_use_the_vocabulary_and_stay_dry(pictures):
    for scene, _ in pictures:
        ids = [actor.actor_id for actor in scene.actors]
        assert len(ids) == len(set(ids))
        layout = layout_of(scene)
        for actor in scene.actors:
            assert actor.kind in vocabulary.KINDS.get(actor.label, (None,))
            assert actor.colour in (vocabulary.THING_COLOURS[actor.label] or (None,))
            assert actor.action in vocabulary.ACTIONS.get(actor.label, (None,))
            assert actor.held_by is None or actor.held_by in ids
            assert actor.on is None or actor.on in ids
            if actor.held_by is None:
                assert layout.is_dry(actor.x, actor.ground)


def test_few_actors_when_told_so():
    assert {len(sample(seed, actors=(1, 3)).actors) for seed in range(40)} == {1, 2, 3}
    assert sample(1, actors=(0, 0)).actors == ()
    with pytest.raises(ValueError, match="fewest"):
        sample(1, actors=(3, 1))


def test_too_small_a_picture_is_refused():
    with pytest.raises(ValueError, match="too small"):
        draw(sample(1), 8, 8)
