"""Where a person's joints are: by action, moment, and the body's proportions."""

from dataclasses import dataclass

import numpy as np

from toyworld.scene import Actor

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Proportions in heights of the person."""

    hip: float
    """Of the hips above the ground, standing."""
    neck: float
    head: float
    """Radius; the head's top is at 1."""
    shoulders: float
    """Half their width, seen from the front."""
    leg: float
    """Radius, as all limbs'."""
    arm: float


BODIES = {
    "man": Body(hip=0.45, neck=0.77, head=0.098, shoulders=0.125, leg=0.055, arm=0.043),
    "woman": Body(hip=0.45, neck=0.77, head=0.098, shoulders=0.098, leg=0.043, arm=0.036),
    "boy": Body(hip=0.36, neck=0.67, head=0.155, shoulders=0.125, leg=0.062, arm=0.048),
    "girl": Body(hip=0.36, neck=0.67, head=0.155, shoulders=0.112, leg=0.052, arm=0.044),
}
SEAT = 0.5
"""Height of a chair's seat in heights of the chair."""


@dataclass(slots=True, kw_only=True)
class Pose:
    """Joints in heights of the person: x to where it looks (to the viewer's right, seen from the front), y up.

    Limbs are (far, near) from the side and (left, right) from the front, each two points:
    knee and foot, elbow and hand.
    """

    hip: Point
    neck: Point
    head: Point
    legs: tuple[tuple[Point, Point], tuple[Point, Point]]
    arms: tuple[tuple[Point, Point], tuple[Point, Point]]
    shoulders: tuple[Point, Point]
    hips: tuple[Point, Point]


Angles = tuple[float, float]
"""Of a limb's upper and lower part in degrees from hanging down; forward (outward, from the front) is positive."""


def pose(actor: Actor, body: Body, seat: Actor | None) -> Pose:
    """The joints of an actor; `seat` is the chair it sits on."""
    front = actor.facing == "front" and actor.action != "lie"
    action = actor.action or "stand"
    cycle = 2 * np.pi * actor.phase
    lean, rise = 0.0, 0.0
    if action == "walk":
        legs, arms = _walking(cycle)
        lean, rise = (0 if front else 4), -0.015
    elif action == "run":
        legs, arms = _running(cycle)
        lean, rise = (0 if front else 17), 0.03 + 0.03 * abs(np.sin(cycle))
    elif action == "sit":
        legs, arms, rise = _sitting(actor, body, seat, front)
        lean = 0 if front or seat else -10
    elif action == "jump":
        legs, arms = ((38, -62), (26, -50)), ((-128, -150), (122, 150))
        if front:
            legs, arms = ((42, -28), (42, -28)), ((122, 152), (122, 152))
        rise = 0.10 + 0.10 * np.sin(np.pi * actor.phase)
    elif action == "lie":
        legs, arms = ((22, -14), (3, 0)), ((35, 50), (8, 20))
    elif action == "wave":
        swing = 18 * np.sin(cycle)
        raised = 124 if body.head < 0.12 else 106  # a child's large head would hide a hand above it
        legs, arms = ((4, 2), (-3, -3)), ((6, 12), (raised, raised + 44 + swing))
        if front:
            legs, arms = ((5, 3), (5, 3)), ((12, 6), (raised, raised + 44 + swing))
    else:
        legs, arms = (((6, 4), (6, 4)), ((14, 6), (14, 6))) if front else (((4, 2), (-3, -3)), ((7, 16), (-9, 3)))
    return _joints(body, legs, arms, lean, rise, front)


def _walking(cycle: float) -> tuple[tuple[Angles, Angles], tuple[Angles, Angles]]:
    legs, arms = [], []
    for turn in (cycle + np.pi, cycle):
        swing, lift = np.sin(turn), max(0.0, np.cos(turn))
        thigh = 29 * swing + 22 * lift
        legs.append((thigh, thigh - 8 - 58 * lift))
        arms.append((-30 * swing, -30 * swing + 24))
    return (legs[0], legs[1]), (arms[0], arms[1])


def _running(cycle: float) -> tuple[tuple[Angles, Angles], tuple[Angles, Angles]]:
    legs, arms = [], []
    for turn in (cycle + np.pi, cycle):
        swing, lift = np.sin(turn), max(0.0, np.cos(turn))
        thigh = 14 + 46 * swing + 22 * lift
        legs.append((thigh, thigh - 24 - 75 * lift - 45 * max(0.0, -swing)))
        arms.append((-48 * swing, -48 * swing + 88))
    return (legs[0], legs[1]), (arms[0], arms[1])


def _sitting(
    actor: Actor, body: Body, seat: Actor | None, front: bool
) -> tuple[tuple[Angles, Angles], tuple[Angles, Angles], float]:
    if seat is not None:
        hip = SEAT * seat.height / actor.height + body.leg
        legs = ((35, 2), (35, 2)) if front else ((86, 6), (88, 2))
        arms = ((24, -22), (24, -22)) if front else ((26, 62), (20, 66))
        return legs, arms, hip - body.hip
    if front:
        return ((74, -78), (74, -78)), ((30, -20), (30, -20)), body.leg + 0.05 - body.hip
    return ((122, 38), (112, 30)), ((-30, -22), (38, 74)), body.leg + 0.02 - body.hip


def _joints(
    body: Body,
    legs: tuple[Angles, Angles],
    arms: tuple[Angles, Angles],
    lean: float,
    rise: float,
    front: bool,
) -> Pose:
    hip = (0.0, body.hip + rise)
    trunk = body.neck - body.hip
    neck = _along(hip, 180 - lean, trunk)
    head = _along(neck, 180 - lean * 0.5, 1 - body.head - body.neck)
    wide, narrow = (body.shoulders - body.arm * 0.6, body.leg * 0.95) if front else (0.012, 0.012)
    below = _along(neck, 180 - lean, -body.arm * 1.15)
    shoulders = ((below[0] - wide, below[1]), (below[0] + wide, below[1]))
    hips = ((hip[0] - narrow, hip[1]), (hip[0] + narrow, hip[1]))
    half = (body.hip - body.leg * 0.55) / 2
    reach = trunk * 0.55
    sides = (-1, 1) if front else (1, 1)
    joints = []
    for starts, angles, length in ((hips, legs, half), (shoulders, arms, reach)):
        limbs = []
        for start, (upper, lower), side in zip(starts, angles, sides, strict=True):
            middle = _along(start, side * upper, length)
            limbs.append((middle, _along(middle, side * lower, length)))
        joints.append((limbs[0], limbs[1]))
    return Pose(hip=hip, neck=neck, head=head, legs=joints[0], arms=joints[1], shoulders=shoulders, hips=hips)


def _along(start: Point, degrees: float, length: float) -> Point:
    """`length` from start, in a direction counted from straight down."""
    turn = np.radians(degrees)
    return float(start[0] + length * np.sin(turn)), float(start[1] - length * np.cos(turn))
