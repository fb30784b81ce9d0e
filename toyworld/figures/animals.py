"""Dogs (long snout, hanging ears) and cats (round head, pointed ears, long thin tail)."""

import numpy as np

from toyworld.figures.around import Around
from toyworld.pen import RGB, Pen, mix, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

DARK = (34, 30, 34)


def _coat(actor: Actor) -> RGB:
    # a yellow dog is a blond one
    return (240, 202, 78) if actor.label == "dog" and actor.colour == "yellow" else COLOURS[actor.colour or "brown"]


def draw_dog(pen: Pen, actor: Actor, around: Around) -> None:
    """A dog."""
    del around
    coat = _coat(actor)
    pen.stand(actor.x, actor.y, actor.height, mirror=actor.facing == "left")
    if actor.facing == "front":
        _dog_front(pen, actor, coat)
    elif actor.action == "sit":
        _tail(pen, [(-0.36, 0.1), (-0.6, 0.14), (-0.74, 0.34)], 0.06, coat)
        _sitting_body(pen, coat, 0.2)
        _dog_head(pen, coat, 0.2, 0.8, False)
    elif actor.action == "lie":
        _tail(pen, [(-0.6, 0.16), (-0.85, 0.08), (-1.0, 0.08)], 0.05, coat)
        _lying_body(pen, coat, 0.2)
        _dog_head(pen, coat, 0.44, 0.46, False)
    else:
        running = actor.action == "run"
        rise = 0.07 if running else 0.0
        wag = 0.1 * np.sin(4 * np.pi * actor.phase)
        tail = [(-0.46, 0.6), (-0.66, 0.72), (-0.74 + wag, 0.94)]
        if running:
            tail = [(-0.46, 0.66), (-0.72, 0.76), (-0.95, 0.78)]
        _tail(pen, tail, 0.06, coat)
        _legs(pen, actor, coat, (-0.36, 0.24), 0.5 + rise, 0.075)
        pen.limb((-0.34, 0.54 + rise), (0.24, 0.57 + rise), 0.175, coat, 0.21)
        pen.limb((-0.3, 0.45 + rise), (0.1, 0.45 + rise), 0.08, shade(coat, 0.9))
        head = (0.54, 0.78 + rise) if running else (0.44, 0.82)
        pen.limb((0.24, 0.62 + rise), head, 0.16, coat, 0.13)
        _dog_head(pen, coat, *head, running)


def _dog_head(pen: Pen, coat: RGB, x: float, y: float, blown: bool) -> None:
    ear = shade(coat, 0.62) if sum(coat) > 200 else shade(coat, 1.22)
    pen.limb((x + 0.08, y - 0.03), (x + 0.34, y - 0.08), 0.11, shade(coat, 1.08), 0.08)
    pen.oval(x, y, 0.18, 0.17, coat)
    pen.oval(x + 0.39, y - 0.04, 0.05, 0.045, DARK)
    if blown:
        pen.limb((x - 0.06, y + 0.08), (x - 0.3, y + 0.06), 0.07, ear, 0.06)
    else:
        pen.limb((x - 0.08, y + 0.1), (x - 0.13, y - 0.16), 0.075, ear, 0.065)
    pen.oval(x + 0.09, y + 0.05, 0.03, 0.035, DARK if sum(coat) > 200 else (240, 240, 240))


def _dog_front(pen: Pen, actor: Actor, coat: RGB) -> None:
    ear = shade(coat, 0.62) if sum(coat) > 200 else shade(coat, 1.22)
    top = _front_body(pen, actor, coat, 0.24)
    pen.oval(0, top, 0.21, 0.2, coat)
    for side in (-1, 1):
        pen.limb((side * 0.17, top + 0.12), (side * 0.27, top - 0.14), 0.075, ear, 0.07)
        pen.oval(side * 0.085, top + 0.04, 0.03, 0.035, DARK if sum(coat) > 200 else (240, 240, 240))
    pen.oval(0, top - 0.1, 0.11, 0.1, shade(coat, 1.3))
    pen.oval(0, top - 0.06, 0.055, 0.045, DARK)
    pen.limb((0.0, top - 0.17), (0.01, top - 0.2), 0.035, (226, 110, 120))


def draw_cat(pen: Pen, actor: Actor, around: Around) -> None:
    """A cat."""
    del around
    coat = _coat(actor)
    pen.stand(actor.x, actor.y, actor.height, mirror=actor.facing == "left")
    if actor.facing == "front":
        _cat_front(pen, actor, coat)
    elif actor.action == "sit":
        _tail(pen, [(-0.34, 0.06), (-0.6, 0.05), (-0.8, 0.12), (-0.86, 0.3)], 0.045, coat)
        _sitting_body(pen, coat, 0.17)
        _stripes(pen, actor, coat, [(-0.2, 0.42), (-0.26, 0.3), (-0.12, 0.52)])
        _cat_head(pen, coat, 0.12, 0.77)
    elif actor.action == "lie":
        pen.oval(-0.1, 0.2, 0.52, 0.22, coat)
        _stripes(pen, actor, coat, [(-0.4, 0.3), (-0.24, 0.34), (-0.08, 0.36)])
        _cat_head(pen, coat, 0.36, 0.27)
        _tail(pen, [(-0.56, 0.1), (-0.3, 0.045), (0.1, 0.045)], 0.045, shade(coat, 0.86))
    else:
        sway = 0.07 * np.sin(2 * np.pi * actor.phase)
        _tail(pen, [(-0.42, 0.5), (-0.64, 0.62), (-0.66 + sway, 0.86), (-0.56 + sway, 1.0)], 0.045, coat)
        _legs(pen, actor, coat, (-0.32, 0.2), 0.42, 0.055)
        pen.limb((-0.32, 0.46), (0.2, 0.48), 0.15, coat, 0.15)
        _stripes(pen, actor, coat, [(-0.28, 0.52), (-0.12, 0.53), (0.04, 0.54)])
        pen.limb((0.2, 0.5), (0.36, 0.68), 0.12, coat, 0.12)
        _cat_head(pen, coat, 0.38, 0.74)


def _cat_head(pen: Pen, coat: RGB, x: float, y: float) -> None:
    inner = mix(coat, (240, 160, 170), 0.6)
    for left, dark in ((-0.16, 0.86), (0.02, 1.0)):
        ear = [(x + left - 0.01, y + 0.08), (x + left + 0.06, y + 0.32), (x + left + 0.16, y + 0.1)]
        pen.convex(ear, shade(coat, dark))
    pen.convex([(x + 0.05, y + 0.13), (x + 0.085, y + 0.25), (x + 0.14, y + 0.13)], inner)
    pen.oval(x, y, 0.2, 0.175, coat)
    pen.oval(x + 0.15, y - 0.06, 0.09, 0.07, shade(coat, 1.35))
    pen.oval(x + 0.225, y - 0.03, 0.025, 0.022, (210, 110, 120))
    pen.oval(x + 0.09, y + 0.035, 0.04, 0.045, (150, 205, 80))
    pen.oval(x + 0.1, y + 0.035, 0.016, 0.035, DARK)


def _cat_front(pen: Pen, actor: Actor, coat: RGB) -> None:
    inner = mix(coat, (240, 160, 170), 0.6)
    _tail(pen, [(0.2, 0.08), (0.42, 0.06), (0.5, 0.22), (0.46, 0.4)], 0.045, coat)
    top = _front_body(pen, actor, coat, 0.18)
    for side in (-1, 1):
        pen.convex([(side * 0.21, top + 0.04), (side * 0.2, top + 0.33), (side * 0.03, top + 0.14)], coat)
        pen.convex([(side * 0.17, top + 0.12), (side * 0.175, top + 0.26), (side * 0.09, top + 0.15)], inner)
    pen.oval(0, top, 0.22, 0.18, coat)
    for side in (-1, 1):
        pen.oval(side * 0.09, top + 0.03, 0.045, 0.05, (150, 205, 80))
        pen.oval(side * 0.09, top + 0.03, 0.016, 0.04, DARK)
    pen.oval(0, top - 0.07, 0.09, 0.06, shade(coat, 1.35))
    pen.oval(0, top - 0.04, 0.025, 0.02, (210, 110, 120))


def _front_body(pen: Pen, actor: Actor, coat: RGB, half: float) -> float:
    """Legs and body seen from the front; gives the height of the head's middle."""
    belly = shade(coat, 1.25)
    if actor.action == "lie":
        pen.oval(0, 0.2, half * 1.75, 0.2, shade(coat, 0.9))
        for side in (-1, 1):
            pen.limb((side * half * 0.75, 0.12), (side * half * 0.85, 0.06), 0.075, coat)
        return 0.4
    if actor.action == "sit":
        for side in (-1, 1):
            pen.oval(side * half * 0.95, 0.13, 0.14, 0.14, shade(coat, 0.86))
        pen.limb((0, 0.2), (0, 0.55), half * 0.95, coat, half * 0.66)
        pen.oval(0, 0.42, half * 0.42, 0.14, belly)
        for side in (-1, 1):
            pen.limb((side * 0.075, 0.36), (side * 0.08, 0.06), 0.055, shade(coat, 1.04))
        return 0.76
    for side in (-1, 1):
        pen.limb((side * half * 0.85, 0.42), (side * half * 0.8, 0.06), 0.06, shade(coat, 0.8))
        pen.limb((side * half * 0.5, 0.46), (side * half * 0.5, 0.055), 0.065, coat)
    pen.oval(0, 0.52, half, 0.2, shade(coat, 0.92))
    pen.oval(0, 0.46, half * 0.5, 0.13, belly)
    return 0.77


def _legs(pen: Pen, actor: Actor, coat: RGB, hips: tuple[float, float], height: float, radius: float) -> None:
    """Four legs from the side; far ones darker. Walking they step, running they stretch and gather."""
    cycle = 2 * np.pi * actor.phase
    for far in (True, False):
        for front, hip in enumerate(hips):
            swing, lift = 0.0, 0.0
            if actor.action == "walk":
                turn = cycle + np.pi * (front ^ far)
                swing, lift = 0.21 * np.sin(turn), 0.1 * max(0.0, np.cos(turn))
            elif actor.action == "run":
                swing = (0.44 + 0.1 * np.sin(cycle) + 0.08 * far) * (1 if front else -1)
                lift = 0.16
            shift = 0.06 if far else 0.0
            knee = (hip + shift + swing * 0.5 - 0.03, height * 0.52 + lift * 0.6)
            foot = (hip + shift + swing, radius + lift)
            colour = shade(coat, 0.76 if far else 0.96)
            pen.chain([(hip + shift * 0.5, height), knee, foot], radius * 1.3, colour, radius * 0.85)


def _sitting_body(pen: Pen, coat: RGB, half: float) -> None:
    pen.limb((-0.2, 0.2), (0.1, 0.62), half, coat, half * 0.8)
    pen.limb((0.14, 0.5), (0.17, 0.06), 0.06, shade(coat, 0.8))
    pen.limb((0.08, 0.52), (0.1, 0.06), 0.065, shade(coat, 0.98))
    pen.oval(-0.16, 0.17, 0.2, 0.17, shade(coat, 0.92))
    pen.limb((-0.18, 0.06), (-0.02, 0.055), 0.055, shade(coat, 0.92))


def _lying_body(pen: Pen, coat: RGB, half: float) -> None:
    pen.limb((0.2, 0.12), (0.62, 0.07), 0.075, shade(coat, 0.8), 0.06)
    pen.limb((-0.42, half), (0.2, half + 0.03), half, coat, half * 0.9)
    pen.oval(-0.42, 0.16, 0.2, 0.15, shade(coat, 0.9))
    pen.limb((-0.5, 0.065), (-0.2, 0.065), 0.065, shade(coat, 0.9))
    pen.limb((0.14, 0.12), (0.54, 0.065), 0.075, shade(coat, 0.97), 0.062)


def _tail(pen: Pen, points: list[tuple[float, float]], radius: float, coat: RGB) -> None:
    pen.chain(points, radius, shade(coat, 0.9), radius * 0.75)


def _stripes(pen: Pen, actor: Actor, coat: RGB, places: list[tuple[float, float]]) -> None:
    if actor.look % 2 and actor.colour in ("orange", "grey", "brown"):
        for x, y in places:
            pen.limb((x, y + 0.05), (x - 0.03, y - 0.08), 0.028, shade(coat, 0.7))
