"""One file per kind of figure. Each draws an actor in a frame whose unit is the actor's height."""

from collections.abc import Callable

from toyworld.figures import animals, belongings, bird, car, furniture, house, person, plants
from toyworld.figures.around import Around
from toyworld.pen import Pen
from toyworld.scene import Actor

FIGURES: dict[str, Callable[[Pen, Actor, Around], None]] = {
    "person": person.draw,
    "car": car.draw,
    "bird": bird.draw,
    "cat": animals.draw_cat,
    "dog": animals.draw_dog,
    "umbrella": belongings.draw_umbrella,
    "sports ball": belongings.draw_ball,
    "chair": furniture.draw_chair,
    "dining table": furniture.draw_table,
    "potted plant": plants.draw_potted_plant,
    "tree-merged": plants.draw_tree,
    "house": house.draw,
}
"""How each of vocabulary.THINGS is drawn."""

__all__ = ["FIGURES", "Around"]
