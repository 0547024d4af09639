"""Freed memory is kept for the next step, and given back afterwards."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
from contextlib import nullcontext
import torch
from foldtune.training.memory import freed_memory_kept

def step():
    kept = [torch.ones(2**20) for _ in range(100)]  # 400 MiB in blocks of 4
    pin = torch.ones(8)
    del kept
    return pin

def faults(steps=4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

step(), step()
plain = faults()
with freed_memory_kept():
    step()
    kept, held = faults(), resident()
print(plain, kept, held - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_steps_find_their_pages_again_and_the_end_gives_them_back():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plain, kept, returned = map(int, done.stdout.split())
    assert kept * 10 < plain, (plain, kept)
    assert returned > 300 * 2**20
