"""What the stages that ask a model about frames have in common: reading pictures, and whose fault a failure is."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from storage.tables import Frame
from tasks.errors import TransientError

UNREADABLE = (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError)
"""What Pillow raises on bytes that are no picture."""
UNWORKABLE = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model's code raises on a request it cannot work on. Some errors of our own tree are of these types too, and
are about no frame: catch CaptionMoviesError before."""


class PictureError(ValueError):
    """A frame's bytes are no picture. Never leaves a stage: it becomes that frame's row."""


def decode(frame: Frame) -> NDArray[np.uint8]:
    """The frame's picture, RGB uint8 (height, width, 3). Raises PictureError."""
    try:
        with Pillow.open(io.BytesIO(frame.image.bytes)) as picture:
            return np.asarray(picture.convert("RGB"))
    except UNREADABLE as error:
        raise PictureError(
            f"the frame's picture cannot be decoded ({reason(error)}). Extract the frames again."
        ) from error


def reason(error: Exception) -> str:
    """An error as rows tell of it: its type and what it says."""
    return f"{type(error).__name__}: {error}"


def raise_for_all(error: Exception, remedy: str) -> None:
    """Raise what a model failed with on every one of several frames: they are not to blame.

    Memory that does not suffice for any single frame is a TransientError, with `remedy`: something else may hold it.
    """
    if isinstance(error, MemoryError):
        raise TransientError(
            f"memory does not suffice for a single frame: {error}. Something else may hold the device's memory; "
            f"else {remedy}"
        ) from error
    raise error
