"""Laws of the heap: what is free goes back to the system."""

import subprocess
import sys

ASKED = """
import time, torch
from app.heap import keep_few_heaps, start_trimming

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) >> 10

keep_few_heaps()
some = [torch.ones(8000) for _ in range(5000)]  # in the heap, each too small for pages of its own
held, before = some[::500], resident()  # a few in between, so that the heap's end does not just fall
del some
start_trimming(0.1)
time.sleep(1)
print(before - resident())
"""


def test_free_memory_is_given_back_though_some_around_it_is_held():
    done = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 100  # MiB of 152
