"""Draws shapes in colour, antialiased, and notes beside it exactly which pixels they cover."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from toyworld.scene import View

RGB = tuple[int, int, int]
Point = Sequence[float] | NDArray[np.float64]
Points = Sequence[Sequence[float]] | NDArray[np.float64]

FINER = 2
"""All is drawn so many times larger, and made smaller at the end."""
SHIFT = 4
"""Binary places behind the point of OpenCV's coordinates."""


def _circle(corners: int) -> NDArray[np.float64]:
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(turn), np.sin(turn)], axis=1)


_CIRCLE, _LARGE_CIRCLE = _circle(20), _circle(56)
_LARGE = 24
"""Radius in finer pixels from which an ellipse has more corners, lest one sees them."""
_HALF = np.linspace(-np.pi / 2, np.pi / 2, 7)
_ARC = np.stack([np.cos(_HALF), np.sin(_HALF)], axis=1)
_ROUND = np.concatenate([_ARC, -_ARC])
_FAR_END = np.repeat([1.0, 0.0], len(_ARC))[:, None]


@dataclass(frozen=True, slots=True)
class Silhouette:
    """The finer pixels that an actor covers, whoever stands before it."""

    rows: slice
    columns: slice
    mask: NDArray[np.bool_]
    """Within rows and columns."""


def shade(colour: RGB, factor: float) -> RGB:
    """Darker for a factor below 1; above it, lighter: at 2 it is white."""
    if factor <= 1:
        red, green, blue = (int(value * factor) for value in colour)
    else:
        red, green, blue = (int(value + (255 - value) * (factor - 1)) for value in colour)
    return red, green, blue


def mix(one: RGB, other: RGB, part: float) -> RGB:
    """`one`, with `part` (0 to 1) of `other`."""
    red, green, blue = (int(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Pen:
    """A canvas seen through a View, with a frame of coordinates that shapes are given in.

    The world's frame has the world's height as unit, x to the right and y down. An actor's frame (`stand`) has the
    actor's height as unit, x to where it looks and y up from the ground under its middle.
    """

    def __init__(self, width: int, height: int, view: View) -> None:
        if width < 16 or height < 16:
            raise ValueError(f"a picture of {width} x {height} pixels is too small to draw; ask for 16 x 16 or more")
        shape = (height * FINER, width * FINER)
        self.canvas = np.zeros((*shape, 3), np.uint8)
        self.owner = np.zeros(shape, np.uint8)
        """Who is seen at each finer pixel: the `code` at the time of drawing."""
        self.code = 0
        self.aspect = width / height
        self.scale = shape[0] / view.width
        self.view = view
        self.tint = (1.0, 1.0, 1.0)
        self._silhouette = np.zeros(shape, np.uint8)
        self._marked: NDArray[np.uint8] | None = self.owner
        self._value = 0
        self.world()

    def world(self) -> None:
        """Shapes are given in the world's frame from now on."""
        unit = self.scale * 2**SHIFT
        self._axes = np.array([[unit, 0.0], [0.0, unit]])
        self._origin = np.array([-self.view.x * self.aspect * unit, -self.view.y * unit])

    def stand(self, x: float, y: float, unit: float, *, mirror: bool = False, lying: float | None = None) -> None:
        """Shapes are given in an actor's frame from now on; its middle stands on (x, y), fractions of the world.

        `lying`: it lies on its back, its axis so high above the ground, its head where it would look standing.
        """
        self.world()
        pixels = self.scale * 2**SHIFT
        side = -unit * pixels if mirror else unit * pixels
        up = -unit * pixels
        self._origin = self._origin + np.array([x * self.aspect * pixels, y * pixels])
        if lying is None:
            self._axes = np.array([[side, 0.0], [0.0, up]])
        else:
            self._axes = np.array([[0.0, up], [side, 0.0]])
            self._origin = self._origin + np.array([-0.5 * side, lying * up])

    def stuff(self, code: int) -> None:
        """What is drawn from now on belongs to the backdrop's class `code`."""
        self._marked, self._value = self.owner, code

    def stray(self) -> None:
        """What is drawn from now on only colours pixels: shadows, smoke, rain."""
        self._marked, self._value = None, 0

    def actor(self) -> None:
        """What is drawn from now on, until `finish`, belongs to one actor."""
        self._marked, self._value = self._silhouette, 255

    def finish(self, code: int) -> Silhouette | None:
        """The actor is drawn: what it covers is `code`'s. None where it lies outside the frame."""
        left, top, width, height = cv2.boundingRect(self._silhouette)
        if not width:
            return None
        rows, columns = slice(top, top + height), slice(left, left + width)
        mask = self._silhouette[rows, columns] > 0
        self._silhouette[rows, columns] = 0
        self.owner[rows, columns][mask] = code
        return Silhouette(rows, columns, mask)

    def paint(self, colour: RGB) -> RGB:
        """The colour under the scene's light."""
        red, green, blue = (min(255, int(value * part)) for value, part in zip(colour, self.tint, strict=True))
        return red, green, blue

    def pixels(self, points: Points) -> NDArray[np.int32]:
        """Canvas coordinates with SHIFT binary places, (..., 2)."""
        # OpenCV takes whole coordinates as pixels' centres
        placed: NDArray[np.float64] = np.asarray(points) @ self._axes + (self._origin - 2 ** (SHIFT - 1))
        return placed.astype(np.int32)

    def convex(self, points: Points, colour: RGB, *, lit: bool = False) -> None:
        """A convex polygon. `lit`: it shines by itself, whatever the light."""
        corners = self.pixels(points)
        cv2.fillConvexPoly(self.canvas, corners, colour if lit else self.paint(colour), cv2.LINE_AA, SHIFT)
        if self._marked is not None:
            cv2.fillConvexPoly(self._marked, corners, self._value, cv2.LINE_8, SHIFT)

    def polygon(self, points: Points, colour: RGB) -> None:
        """Any polygon."""
        self.polygons([points], colour)

    def polygons(self, shapes: Sequence[Points] | NDArray[np.float64], colour: RGB) -> None:
        """Polygons of one colour that do not overlap; many cost little more than one."""
        corners = [self.pixels(points) for points in shapes]
        cv2.fillPoly(self.canvas, corners, self.paint(colour), cv2.LINE_AA, SHIFT)
        if self._marked is not None:
            cv2.fillPoly(self._marked, corners, self._value, cv2.LINE_8, SHIFT)

    def box(self, x: float, y: float, width: float, height: float, colour: RGB, *, lit: bool = False) -> None:
        """A rectangle from one corner."""
        self.convex([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour, lit=lit)

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: RGB, turn: float = 0.0, *, lit: bool = False
    ) -> None:
        """An ellipse about (x, y), turned by radians."""
        large = max(rx, ry) * np.abs(self._axes).max() > _LARGE * 2**SHIFT
        points = (_LARGE_CIRCLE if large else _CIRCLE) * (rx, ry)
        if turn:
            cosine, sine = np.cos(turn), np.sin(turn)
            points = points @ np.array([[cosine, sine], [-sine, cosine]])
        self.convex(np.add(points, (x, y)), colour, lit=lit)

    def limb(self, start: Point, end: Point, radius: float, colour: RGB, tip: float = 0.0) -> None:
        """A rod with round ends; `tip` is the radius at its end, `radius` if 0."""
        along = np.subtract(end, start)
        length = np.hypot(*along) or 1e-9
        cosine, sine = along / length
        points = _ROUND * np.where(_FAR_END > 0, tip or radius, radius)
        points = points @ np.array([[cosine, sine], [-sine, cosine]])
        self.convex(points + np.where(_FAR_END > 0, np.asarray(end), np.asarray(start)), colour)

    def chain(self, points: Points, radius: float, colour: RGB, tip: float = 0.0) -> None:
        """Limbs from point to point, evenly thinner to the radius `tip`."""
        radii = np.linspace(radius, tip or radius, len(points))
        for index in range(len(points) - 1):
            self.limb(points[index], points[index + 1], radii[index], colour, radii[index + 1])

    def rows(self, top: float, bottom: float, upper: RGB, lower: RGB) -> None:
        """The full width between two heights of the world, its colour changing evenly; belongs to `stuff`."""
        first, last = (round((y - self.view.y) * self.scale) for y in (top, bottom))
        seen = np.arange(max(0, first), min(len(self.canvas), last))
        if not len(seen):
            return
        part = ((seen - first + 0.5) / (last - first))[:, None]
        colours = np.array(self.paint(upper)) * (1 - part) + np.array(self.paint(lower)) * part
        self.canvas[seen[0] : seen[-1] + 1] = cv2.repeat(colours.astype(np.uint8)[:, None], 1, self.canvas.shape[1])
        if self._marked is not None:
            self._marked[seen[0] : seen[-1] + 1] = self._value

    def darken(self, points: Points, part: float) -> None:
        """Make a convex polygon of the canvas so much darker, whoever it belongs to."""
        corners = self.pixels(points)
        left, top = np.maximum(corners.min(0) >> SHIFT, 0)
        right, bottom = (corners.max(0) >> SHIFT) + 2
        under = self.canvas[top:bottom, left:right]
        if under.size:
            over = under.copy()
            cv2.fillConvexPoly(over, corners - np.array([left, top]) * 2**SHIFT, (0, 0, 0), cv2.LINE_AA, SHIFT)
            under[:] = cv2.addWeighted(under, 1 - part, over, part, 0)

    def shadow(self, x: float, y: float, rx: float, ry: float, part: float) -> None:
        """An elliptic shadow."""
        self.darken(_LARGE_CIRCLE * (rx, ry) + (x, y), part)
