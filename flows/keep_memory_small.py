"""glibc keeps what a thread frees for that thread's arena: a run with dozens of threads would grow with their number.

So: few arenas, and what is free goes back to the system after every shard. With another C library nothing is done.
"""

import ctypes
from functools import cache
from typing import Any

M_ARENA_MAX = -8
"""mallopt's name for the number of arenas, from malloc.h."""
ARENAS = 2


@cache
def _libc() -> Any:
    """The C library when it is glibc; else None."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "malloc_trim") else None


def limit_arenas() -> None:
    """Let all threads of this process share a few arenas, from now on."""
    if library := _libc():
        library.mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give free memory back to the system; takes milliseconds."""
    if library := _libc():
        library.malloc_trim(0)
