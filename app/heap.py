"""Memory that Python has given back, and C's allocator would keep: a page that stands for weeks returns it.

glibc's alone; with another C library nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Iterator

ARENA_MAX = -8  # mallopt's M_ARENA_MAX
HEAPS = 1
TRIM_SECONDS = 5.0


def keep_few_heaps() -> None:
    """At most HEAPS for all threads, from here on: each would keep what its threads once needed."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(ARENA_MAX, HEAPS)


@contextlib.contextmanager
def pause_collection() -> Iterator[None]:
    """No garbage collection in the block, and never of what has come up in it: modules and the page, which stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def start_trimming(seconds: float = TRIM_SECONDS) -> None:
    """Returns what is free in them to the system, again and again, beside everything else."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        return

    def trim() -> None:
        while True:
            time.sleep(seconds)
            libc.malloc_trim(0)

    threading.Thread(target=trim, name="trimmer", daemon=True).start()
