"""What makes training on a CPU faster without changing a number."""

import ctypes
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""glibc's names, malloc.h."""
LARGEST, STEP_BYTES = 2**31 - 1, 256 * 2**20


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, instead of giving it back and asking for it again in every step.

    A fresh page costs more than what a training step does with it: on a small virtual machine a multiplication of large
    tensors took eight times as long. Only glibc can be told; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, LARGEST)
    mallopt(M_TOP_PAD, STEP_BYTES)


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices itself. Where it does not, it is slower than float32."""
    said = Path("/proc/cpuinfo")
    return said.exists() and any(flag in said.read_text() for flag in ("avx512_bf16", "amx_bf16"))
