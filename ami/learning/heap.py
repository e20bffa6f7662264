"""The heap: how the C library keeps the memory of freed tensors."""

from __future__ import annotations

import ctypes
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
KEPT = 256 << 20
"""Bytes of free memory at the heap's end that the process keeps."""
LARGEST = 32 << 20
"""The largest block that comes from the heap, in bytes: the most that glibc accepts."""


@cache
def keep_freed_memory() -> bool:
    """Let this process reuse freed memory instead of returning it to the system; return whether the C library can.

    A learning step frees its tensors, and the next one allocates the same sizes. Without this glibc returns their pages at
    each step and the system clears new ones, which takes up to a fifth of a step. No result depends on it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt  # Windows has no such library; macOS and musl have no such function
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
