"""People: man, woman, boy and girl by build, hair and clothes; every action a pose of its own."""

from dataclasses import dataclass

import cv2
import numpy as np

from toyworld.figures.around import Around
from toyworld.figures.belongings import grip
from toyworld.figures.person_head import draw_hair_behind, draw_head
from toyworld.figures.person_poses import BODIES, Body, Point, Pose, pose
from toyworld.pen import RGB, Pen, shade
from toyworld.scene import Actor
from toyworld.vocabulary import COLOURS

SKINS = ((250, 214, 184), (236, 188, 150), (198, 144, 104), (140, 94, 66), (104, 70, 52))
HAIRS = ((48, 34, 28), (92, 58, 34), (150, 92, 44), (226, 186, 96), (176, 74, 38))
TROUSERS = ((52, 60, 88), (84, 76, 70), (62, 66, 72), (120, 104, 84), (46, 52, 58))
SHOES = ((44, 38, 38), (92, 60, 44), (70, 70, 80))


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a person looks like."""

    kind: str
    skin: RGB
    hair: RGB
    top: RGB
    """Of the shirt or dress."""
    trousers: RGB
    shoe: RGB
    long_sleeves: bool
    variant: int
    """Of hairdo and beard: 0, 1 or 2."""


def style_of(actor: Actor) -> Style:
    """By the actor's kind, colour and look."""
    rng = np.random.default_rng(actor.look)
    skin, hair, trousers, shoe, variant = (int(rng.integers(n)) for n in (5, 5, 5, 3, 3))
    return Style(
        kind=actor.kind or "man",
        skin=SKINS[skin],
        hair=HAIRS[hair if skin < 3 else min(hair, 1)],
        top=COLOURS[actor.colour or "blue"],
        trousers=TROUSERS[trousers],
        shoe=SHOES[shoe],
        long_sleeves=bool(rng.random() < 0.5),
        variant=variant,
    )


def draw(pen: Pen, actor: Actor, around: Around) -> None:
    """A person."""
    style, body = style_of(actor), BODIES[actor.kind or "man"]
    joints = pose(actor, body, around.seat)
    lying = actor.action == "lie"
    front = actor.facing == "front" and not lying
    mirror = actor.facing == "left"
    for thing in around.held:
        _reach(joints, actor, thing, pen.aspect, mirror, body)
    pen.stand(actor.x, actor.y, actor.height, mirror=mirror, lying=body.head * 0.9 if lying else None)
    draw_hair_behind(pen, style, body, joints, front)
    if not front:
        _draw_arm(pen, style, body, joints, 0, 0.84)
    for side in (0, 1):
        _draw_leg(pen, style, body, joints, side, 0.86 if side == 0 and not front else 1.0, front)
    _draw_clothes(pen, style, body, joints, front)
    if front:
        _draw_arm(pen, style, body, joints, 0, 0.93)
    raised = joints.arms[1][1][1] > joints.head[1]
    if raised:
        _draw_arm(pen, style, body, joints, 1, 0.93)
    draw_head(pen, style, body, joints, front)
    if not raised:
        _draw_arm(pen, style, body, joints, 1, 0.93)


def _reach(joints: Pose, actor: Actor, thing: Actor, aspect: float, mirror: bool, body: Body) -> None:
    """The near arm goes to what is held."""
    x, y = grip(thing, aspect)
    side = -1 if mirror else 1
    hand = (side * (x - actor.x * aspect) / actor.height, (actor.y - y) / actor.height)
    shoulder = joints.shoulders[1]
    half = (body.neck - body.hip) * 0.55
    across, up = hand[0] - shoulder[0], hand[1] - shoulder[1]
    distance = max(1e-6, float(np.hypot(across, up)))
    if distance > 2 * half:
        half = distance / 2
    bend = float(np.sqrt(max(0.0, half**2 - (distance / 2) ** 2)))
    middle = (shoulder[0] + hand[0]) / 2, (shoulder[1] + hand[1]) / 2
    elbow = (middle[0] + bend * up / distance, middle[1] - bend * abs(across) / distance)
    joints.arms = (joints.arms[0], (elbow, hand))


def _draw_arm(pen: Pen, style: Style, body: Body, joints: Pose, side: int, factor: float) -> None:
    shoulder, (elbow, hand) = joints.shoulders[side], joints.arms[side]
    sleeve, skin = shade(style.top, factor), shade(style.skin, factor)
    if style.long_sleeves:
        pen.limb(elbow, hand, body.arm * 0.95, sleeve)
        pen.oval(*hand, body.arm * 1.05, body.arm * 1.05, skin)
    else:
        pen.limb(elbow, hand, body.arm * 0.85, skin)
    pen.limb(shoulder, elbow, body.arm * 1.08, sleeve)


def _draw_leg(pen: Pen, style: Style, body: Body, joints: Pose, side: int, factor: float, front: bool) -> None:
    hip, (knee, foot) = joints.hips[side], joints.legs[side]
    skin = shade(style.skin, factor)
    cloth = shade(style.trousers, factor)
    upper = cloth if style.kind in ("man", "boy") else skin
    pen.limb(knee, foot, body.leg * 0.92, cloth if style.kind == "man" else skin, body.leg * 0.78)
    pen.limb(hip, knee, body.leg * 1.12, upper, body.leg)
    if style.kind == "boy":  # shorts end above the knee's lower edge
        pen.limb(hip, _between(knee, foot, 0.12), body.leg * 1.15, upper)
    along = np.subtract(foot, knee) / (np.hypot(*np.subtract(foot, knee)) or 1e-9)
    toes = (0.0, -0.3) if front else (-along[1], along[0])
    start = (foot[0] - 0.3 * body.leg * toes[0], foot[1])
    end = (foot[0] + body.leg * 1.1 * toes[0], foot[1] + body.leg * 1.1 * toes[1])
    pen.limb(start, end, body.leg * 0.82, shade(style.shoe, factor), body.leg * 0.6)


def _draw_clothes(pen: Pen, style: Style, body: Body, joints: Pose, front: bool) -> None:
    hip, neck = joints.hip, joints.neck
    pen.limb(neck, joints.head, body.head * 0.42, shade(style.skin, 0.92))
    waist = _between(hip, neck, 0.35)
    if front:
        wide = body.shoulders * 0.98
        bottom = body.leg * 1.95
        pen.limb((hip[0] - bottom * 0.5, hip[1]), (hip[0] + bottom * 0.5, hip[1]), bottom * 0.55, _lower(style))
        shirt = [
            (neck[0] - wide * 0.55, neck[1] + 0.005), (neck[0] + wide * 0.55, neck[1] + 0.005),
            (neck[0] + wide, neck[1] - 0.045), (hip[0] + bottom, hip[1] - 0.01), (hip[0] - bottom, hip[1] - 0.01),
            (neck[0] - wide, neck[1] - 0.045),
        ]  # fmt: skip
        pen.convex(shirt, style.top)
    else:
        thick = body.shoulders * 0.62
        pen.limb(hip, waist, thick * 0.95, _lower(style))
        chest = _between(neck, hip, 0.22)
        pen.limb(chest, _between(hip, neck, 0.06), thick * 1.08, style.top, thick * 0.95)
    if style.kind in ("woman", "girl"):
        _draw_skirt(pen, style, body, joints, front)


def _draw_skirt(pen: Pen, style: Style, body: Body, joints: Pose, front: bool) -> None:
    """From the waist around both thighs, a little wider at the hem."""
    waist = _between(joints.hip, joints.neck, 0.3)
    half = body.shoulders * (0.72 if front else 0.55)
    spread = body.leg * (1.55 if style.kind == "woman" else 1.75)
    around: list[Point] = [(waist[0] - half, waist[1]), (waist[0] + half, waist[1])]
    around += [(joints.hip[0] - half * 1.25, joints.hip[1]), (joints.hip[0] + half * 1.25, joints.hip[1])]
    for knee, foot in joints.legs:
        hem = _between(knee, foot, 0.1 if style.kind == "woman" else -0.12)
        around += [(hem[0] - spread, hem[1]), (hem[0] + spread, hem[1]), (hem[0], hem[1] + spread * 0.9)]
    hull = cv2.convexHull(np.array(around, np.float32))[:, 0]
    pen.convex(hull.astype(np.float64), shade(style.top, 0.94))


def _lower(style: Style) -> RGB:
    return style.trousers if style.kind in ("man", "boy") else style.top


def _between(one: Point, other: Point, part: float) -> Point:
    return one[0] + (other[0] - one[0]) * part, one[1] + (other[1] - one[1]) * part
