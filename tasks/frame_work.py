"""What the stages that ask a model about frames have in common: reading pictures, and whose fault a failure is."""

import io
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from storage.tables import Frame
from tasks.errors import CaptionMoviesError, TransientError

UNREADABLE = (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError)
"""What Pillow raises on bytes that are no picture."""
UNWORKABLE = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model's code raises on a request it cannot work on. Some errors of our own tree are of these types too, and
are about no frame: catch CaptionMoviesError before."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class PictureError(ValueError):
    """A frame's bytes are no picture. Never leaves a stage: it becomes that frame's row."""


def decode(frame: Frame) -> NDArray[np.uint8]:
    """The frame's picture, RGB uint8 (height, width, 3). Raises PictureError."""
    return decode_picture(frame.image.bytes)


def decode_picture(content: bytes) -> NDArray[np.uint8]:
    """A frame's encoded picture, RGB uint8 (height, width, 3). Raises PictureError."""
    try:
        with Pillow.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("RGB"))
    except UNREADABLE as error:
        raise PictureError(
            f"the frame's picture cannot be decoded ({why_unreadable(error)}). Extract the frames again."
        ) from error


def work_in_batches(
    items: Iterable[T], work: Callable[[list[T]], None], give_up: Callable[[T, Exception], None], at_once: int
) -> int:
    """Call `work` on all items in their order, `at_once` at most at a time; gives the number to be tried next.

    Items that do not fit into memory together (MemoryError) are halved, and so are those after them. When `work` fails
    on several (UNWORKABLE), it is called on each alone, so that one bad item fails alone. An item that fails alone goes
    to `give_up` with its error. Errors of our own tree are about no item, and raised.
    """
    waiting = deque(items)
    while waiting:
        batch = [waiting.popleft() for _ in range(min(at_once, len(waiting)))]
        try:
            work(batch)
        except CaptionMoviesError:
            raise  # some are of UNWORKABLE's types too
        except (MemoryError, *UNWORKABLE) as error:
            if len(batch) == 1:
                give_up(batch[0], error)
            elif isinstance(error, MemoryError):
                at_once = len(batch) // 2
                log.warning("memory does not suffice for %d frames at once; going on with %d", len(batch), at_once)
                waiting.extendleft(reversed(batch))
            else:
                log.warning("a batch of %d frames failed (%s); working on each alone", len(batch), reason(error))
                work_in_batches(batch, work, give_up, 1)
    return at_once


def why_unreadable(error: Exception) -> str:
    """What Pillow says of bytes that are no picture (UNREADABLE), without an address in memory: it differs by run."""
    return "of no format that can be read" if isinstance(error, UnidentifiedImageError) else str(error)


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
