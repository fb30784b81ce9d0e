"""What people carry: umbrellas and balls. Where they are held is said here, for drawing and for planning alike."""

import numpy as np

from toyworld.figures.around import Around
from toyworld.pen import Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

UMBRELLA_GRIP = 0.12
"""Where an umbrella is gripped, in heights of the umbrella above its lower edge."""
RIM, EDGE = 0.62, 0.58
"""Half the width of its canopy, and the height of the canopy's edge."""
LEANING = -1.05
"""How far one on the ground is turned, in radians: it rests on its handle and its rim."""


def grip(thing: Actor, aspect: float) -> tuple[float, float]:
    """Where a hand holds the thing: (x, y) in heights of the world, from its left and its top."""
    up = UMBRELLA_GRIP if thing.label == "umbrella" else 0.4
    return thing.x * aspect, thing.y - up * thing.height


def held_place(person: Actor, thing: Actor, aspect: float) -> tuple[float, float, float]:
    """(x, y, ground) of a thing in a person's hand, as Actor counts them; aspect is the world's width in heights."""
    side = {"left": -1.0, "right": 1.0, "front": 1.0}[person.facing]
    tall = person.height
    small = person.kind in ("boy", "girl")
    if thing.label == "umbrella":
        across, hand = (0.16 if person.facing == "front" else 0.2), (0.56 if small else 0.64)
        lower = hand * tall - UMBRELLA_GRIP * thing.height
    else:
        across, hand = (0.24 if person.facing == "front" else 0.27), (0.42 if small else 0.5)
        lower = hand * tall - 0.5 * thing.height
    return person.x + side * across * tall / aspect, person.y - lower, person.ground


def draw_umbrella(pen: Pen, actor: Actor, around: Around) -> None:
    """Open: upright when held, leaning on the ground otherwise."""
    del around
    colour = COLOURS[actor.colour or "red"]
    pen.stand(
        actor.x,
        actor.y,
        actor.height,
        mirror=actor.facing == "left" if actor.held_by is not None else bool(actor.look % 2),
    )
    turn = 0.0 if actor.held_by is not None else LEANING
    low = 0.0 if actor.held_by is not None else RIM * np.sin(-LEANING) - EDGE * np.cos(LEANING)
    cosine, sine = np.cos(turn), np.sin(turn)
    spin = np.array([[cosine, sine], [-sine, cosine]])

    def at(*points: tuple[float, float]) -> list[tuple[float, float]]:
        return [(float(x), float(y) + low) for x, y in np.array(points) @ spin]

    wooden = (96, 66, 44)
    pen.chain(at((0.1, 0.06), (0.05, 0.0), (0.0, 0.05), (0.0, 0.72)), 0.022, wooden)
    ribs = np.linspace(-1, 1, 6)
    width, edge, top = RIM, EDGE, 0.97
    arch = [(width * np.sin(part * np.pi / 2), edge + (top - edge) * np.cos(part * np.pi / 2)) for part in ribs]
    for index in range(5):
        left, right = arch[index], arch[index + 1]
        middle = ((left[0] + right[0]) / 2, edge + 0.035)
        feet = (width * ribs[index], edge - 0.01), (width * ribs[index + 1], edge - 0.01)
        panel = at(feet[0], left, right, feet[1], middle)
        pen.polygon(panel, shade(colour, 1.14 if index % 2 else 0.9))
    pen.chain(at((0.0, top - 0.02), (0.0, 1.0)), 0.018, wooden)


def draw_ball(pen: Pen, actor: Actor, around: Around) -> None:
    """A ball with two bright bands; they turn as it rolls."""
    del around
    colour = COLOURS[actor.colour or "red"]
    pen.stand(actor.x, actor.y, actor.height)
    pen.oval(0, 0.5, 0.5, 0.5, shade(colour, 0.88))
    pen.oval(-0.04, 0.54, 0.44, 0.44, colour)
    band = (250, 250, 246) if actor.colour != "white" else (70, 74, 82)
    turn = 2 * np.pi * actor.phase + actor.look % 7
    for side in (0.0, np.pi / 2):
        along = np.array([np.cos(turn + side), np.sin(turn + side)])
        start, end = np.array([0, 0.5]) - 0.42 * along, np.array([0, 0.5]) + 0.42 * along
        pen.limb(start, end, 0.035, band)
    pen.oval(0, 0.5, 0.12, 0.12, band)
    pen.oval(-0.18, 0.72, 0.08, 0.06, (255, 255, 255), 0.5)
