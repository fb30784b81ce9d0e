"""Keep a long run as small as a short one: what a thread frees has to be there for all the others.

glibc keeps it for the thread's arena, and Arrow's own pool (mimalloc) for the thread's heap: a run with dozens of
threads grows with every shard, by 5 MiB with the small models. So: few arenas, Arrow takes its memory from glibc too,
and what is free goes back to the system after every shard. With another C library nothing is done.
"""

import ctypes
import os
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


def choose_arrow_pool() -> None:
    """Let Arrow take its memory from glibc. Arrow looks once, when it is imported: pyarrow.set_memory_pool, later,
    leaves out what its own threads read and write.
    """
    if _libc():
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


def limit_arenas() -> None:
    """Let all threads of this process share a few arenas, from now on."""
    if library := _libc():
        library.mallopt(M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """Give free memory back to the system; takes milliseconds."""
    if library := _libc():
        library.malloc_trim(0)
