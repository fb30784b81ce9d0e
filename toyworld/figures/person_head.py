"""Heads: face, hair and beard; long hair falls behind the shoulders."""

from typing import TYPE_CHECKING

from toyworld.figures.person_poses import Body, Pose
from toyworld.pen import Pen, shade

if TYPE_CHECKING:
    from toyworld.figures.person import Style

EYE = (38, 32, 36)
MOUTH = (176, 74, 70)


def draw_hair_behind(pen: Pen, style: "Style", body: Body, joints: Pose, front: bool) -> None:
    """Long hair of women; girls' pigtails."""
    (x, y), r = joints.head, body.head
    hair = shade(style.hair, 0.88)
    if style.kind == "woman":
        if front:
            pen.limb((x - r * 0.5, y), (x - r * 0.62, y - r * 2.1), r * 0.66, hair, r * 0.5)
            pen.limb((x + r * 0.5, y), (x + r * 0.62, y - r * 2.1), r * 0.66, hair, r * 0.5)
            pen.oval(x, y + r * 0.1, r * 1.18, r * 1.1, hair)
        else:
            pen.limb((x - r * 0.45, y + r * 0.1), (x - r * 0.95, y - r * 2.2), r * 0.82, hair, r * 0.45)
    elif style.kind == "girl" and front:
        for side in (-1, 1):
            pen.limb((x + side * r * 0.8, y + r * 0.2), (x + side * r * 1.6, y - r * 0.75), r * 0.3, hair, r * 0.36)


def draw_head(pen: Pen, style: "Style", body: Body, joints: Pose, front: bool) -> None:
    """Face, hair and beard."""
    (x, y), r = joints.head, body.head
    if front:
        _front(pen, style, x, y, r)
    else:
        _profile(pen, style, x, y, r)


def _front(pen: Pen, style: "Style", x: float, y: float, r: float) -> None:
    pen.oval(x, y, r * 0.95, r, style.skin)
    if style.kind == "man" and style.variant < 2:
        beard = [(x - r * 0.9, y - r * 0.1), (x + r * 0.9, y - r * 0.1), (x + r * 0.6, y - r * 0.85)]
        pen.convex([*beard, (x, y - r * 1.12), (x - r * 0.6, y - r * 0.85)], style.hair)
        pen.oval(x, y - r * 0.1, r * 0.62, r * 0.32, style.skin)
    fringe = 0.25 if style.kind in ("woman", "girl") else 0.4
    cap = [(x - r, y + r * 0.05), (x - r * 0.85, y + r * 0.7), (x - r * 0.4, y + r * 1.06), (x + r * 0.4, y + r * 1.06)]
    cap += [(x + r * 0.85, y + r * 0.7), (x + r, y + r * 0.05), (x + r * 0.72, y + r * fringe * 1.3)]
    pen.polygon([*cap, (x + r * 0.1, y + r * (fringe + 0.2)), (x - r * 0.72, y + r * fringe * 1.3)], style.hair)
    if style.kind == "boy":
        pen.convex([(x - r * 0.3, y + r * 0.9), (x + r * 0.15, y + r * 1.32), (x + r * 0.4, y + r * 0.9)], style.hair)
    if style.kind == "girl":
        _bow(pen, style, x, y + r * 1.0, r)
    for side in (-1, 1):
        pen.oval(x + side * r * 0.38, y + r * 0.02, r * 0.13, r * 0.17, EYE)
    pen.limb((x - r * 0.22, y - r * 0.48), (x + r * 0.22, y - r * 0.48), r * 0.08, MOUTH)


def _profile(pen: Pen, style: "Style", x: float, y: float, r: float) -> None:
    pen.convex([(x + r * 0.75, y + r * 0.25), (x + r * 1.28, y - r * 0.2), (x + r * 0.75, y - r * 0.35)], style.skin)
    pen.oval(x, y, r * 0.98, r, style.skin)
    if style.kind == "man" and style.variant < 2:
        beard = [(x - r * 0.3, y - r * 0.1), (x + r * 0.35, y - r * 0.3), (x + r * 0.98, y - r * 0.4)]
        pen.convex([*beard, (x + r * 0.85, y - r * 1.0), (x + r * 0.1, y - r * 1.08)], style.hair)
    cap = [(x + r * 0.98, y + r * 0.35), (x + r * 0.7, y + r * 0.85), (x + r * 0.1, y + r * 1.08)]
    cap += [(x - r * 0.6, y + r * 0.95), (x - r * 1.06, y + r * 0.3), (x - r * 0.95, y - r * 0.45)]
    cap += [(x - r * 0.45, y - r * 0.6), (x - r * 0.2, y + r * 0.05), (x + r * 0.3, y + r * 0.42)]
    pen.polygon(cap, style.hair)
    if style.kind == "boy":
        pen.convex([(x + r * 0.3, y + r * 0.9), (x + r * 1.05, y + r * 1.0), (x + r * 0.8, y + r * 0.5)], style.hair)
    if style.kind == "girl":
        pen.limb((x - r * 0.75, y + r * 0.4), (x - r * 1.55, y - r * 0.7), r * 0.34, style.hair, r * 0.4)
        _bow(pen, style, x - r * 0.7, y + r * 0.75, r)
    pen.oval(x + r * 0.5, y + r * 0.05, r * 0.13, r * 0.17, EYE)
    pen.limb((x + r * 0.55, y - r * 0.5), (x + r * 0.8, y - r * 0.46), r * 0.07, MOUTH)


def _bow(pen: Pen, style: "Style", x: float, y: float, r: float) -> None:
    for side in (-1, 1):
        pen.convex([(x, y), (x + side * r * 0.5, y + r * 0.3), (x + side * r * 0.5, y - r * 0.22)], style.top)
