"""Freed memory is returned to the system."""

import subprocess
import sys

SCRIPT = """
import time, torch
from app.malloc_trim import limit_arenas, start_trimming

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) >> 10

limit_arenas()
tensors = [torch.ones(8000) for _ in range(5000)]  # each too small for a memory mapping of its own
kept, before = tensors[::500], resident()  # a few in between, so that the end of the heap cannot simply shrink
del tensors
start_trimming(0.1)
time.sleep(1)
print(before - resident())
"""


def test_free_memory_between_used_blocks_is_returned():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100  # MiB of 152
