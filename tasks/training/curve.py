"""The loss curve as a picture: what a run's log says, drawn with Pillow alone."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 880, 320, 44
COLOURS = {"loss": (31, 119, 180), "eval_loss": (214, 39, 40), "eval_validation": (44, 160, 44)}
INK, GRID = (40, 40, 40), (225, 225, 225)

Points = Sequence[tuple[float, float]]
"""(step, value)."""


def draw_curves(stages: Sequence[tuple[str, dict[str, Points]]], target: Path) -> Path:
    """A PNG with a panel per stage: loss and validation loss to one scale, the validation's value to its own."""
    picture = Image.new("RGB", (WIDTH, HEIGHT * max(1, len(stages))), "white")
    draw = ImageDraw.Draw(picture)
    for number, (name, curves) in enumerate(stages):
        _panel(draw, number * HEIGHT, name, curves)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, "PNG")
    return target


def _panel(draw: ImageDraw.ImageDraw, top: int, name: str, curves: dict[str, Points]) -> None:
    left, right, high, low = MARGIN, WIDTH - MARGIN, top + MARGIN, top + HEIGHT - MARGIN
    last = max([step for points in curves.values() for step, _ in points], default=1.0)
    losses = [value for key in ("loss", "eval_loss") for _, value in curves.get(key, ())]
    values = [value for _, value in curves.get("eval_validation", ())]
    for part in range(5):
        y = high + (low - high) * part / 4
        draw.line([(left, y), (right, y)], fill=GRID)
    draw.text((left, top + 12), f"{name}, {last:.0f} steps", fill=INK)
    place = left + 220
    for key, scale in (("loss", losses), ("eval_loss", losses), ("eval_validation", values)):
        if points := curves.get(key):
            bottom, ceiling = min(scale), max(scale)
            draw.text((place, top + 12), f"{key} {points[0][1]:.3f} to {points[-1][1]:.3f}", fill=COLOURS[key])
            place += 210
            span = (ceiling - bottom) or 1.0
            line = [
                (left + (right - left) * step / (last or 1.0), low - (low - high) * (value - bottom) / span)
                for step, value in points
            ]
            draw.line(line, fill=COLOURS[key], width=2)
            for x, y in line if len(line) < 40 else ():
                draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=COLOURS[key])
    if losses:
        draw.text((4, high - 6), f"{max(losses):.2f}", fill=INK)
        draw.text((4, low - 6), f"{min(losses):.2f}", fill=INK)
