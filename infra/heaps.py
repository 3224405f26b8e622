"""The C library's heaps. Nothing here depends on what a process does."""

from __future__ import annotations

import ctypes
import os
import sys

HEAPS = 2
_M_ARENA_MAX = -8


def limit_heaps() -> bool:
    """Let all threads of this process share HEAPS heaps from now on; returns whether the C library does.

    glibc gives threads heaps of their own, up to eight for each core, and what is freed in one is of no use to another:
    the query service of 3,000 replicas grew by 4 MiB a minute. MALLOC_ARENA_MAX, if it is set, counts instead.
    Source: mallopt(3); musl and macOS do not have it.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return True
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and mallopt(_M_ARENA_MAX, HEAPS) == 1
