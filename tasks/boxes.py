"""The only file that converts between box formats. On disk: `storage.tables.Box`, fractions, origin top left."""

from storage.tables import Box


def from_corners_px(left: float, top: float, right: float, bottom: float, width: int, height: int) -> Box:
    """A box from its corners in pixels, right and bottom exclusive, in a picture of width x height pixels."""
    return Box(x=left / width, y=top / height, w=(right - left) / width, h=(bottom - top) / height)


def to_corners_px(box: Box, width: int, height: int) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) in pixels, right and bottom exclusive, in a picture of width x height pixels."""
    return box.x * width, box.y * height, (box.x + box.w) * width, (box.y + box.h) * height


def centre(box: Box) -> tuple[float, float]:
    """The box's centre as fractions of the frame."""
    return box.x + box.w / 2, box.y + box.h / 2
