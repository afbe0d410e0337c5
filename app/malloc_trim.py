"""Return freed memory to the system. The C allocator would keep it, which matters for a server that runs for weeks.

This works with glibc. With other C libraries, the functions have no effect on the allocator.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Iterator

M_ARENA_MAX = -8  # parameter number of glibc's mallopt
MAX_ARENAS = 1
TRIM_SECONDS = 5.0


def limit_arenas() -> None:
    """Make all threads share MAX_ARENAS arenas. By default each thread has its own, which keeps freed memory."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, MAX_ARENAS)


@contextlib.contextmanager
def pause_garbage_collection() -> Iterator[None]:
    """Pause garbage collection during the block, and exclude objects that exist at its end from later collections."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def start_trimming(seconds: float = TRIM_SECONDS) -> None:
    """Start a thread that returns free memory to the system every `seconds`."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        return

    def trim() -> None:
        while True:
            time.sleep(seconds)
            libc.malloc_trim(0)

    threading.Thread(target=trim, name="malloc-trim", daemon=True).start()
