"""Memory that a training step frees stays with the process for the next step."""

from __future__ import annotations

import contextlib
import ctypes
import platform
from collections.abc import Iterator

# Of glibc's malloc.h; the largest thresholds that mallopt takes.
_TRIM, _MMAP = -1, -3
_LARGEST_TRIM, _LARGEST_MMAP = 2**31 - 1, 32 * 2**20
# Where glibc's own adjustment ends, once large blocks were freed.
_USUAL_TRIM, _USUAL_MMAP = 64 * 2**20, 32 * 2**20
# Less than this is left for the next training: a run of seconds would feel its faults.
_WORTH_RETURNING = 256 * 2**20


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, the allocator keeps freed blocks; at the end they go back, where they are many.

    A backward pass frees all that the forward pass kept. glibc returns it to the system, and the
    next step's first touch of every page is a fault: 2 % of a step of ViT-S with 16 images. Does
    nothing with another C library. It is about the host's memory alone.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_TRIM, _LARGEST_TRIM)
    libc.mallopt(_MMAP, _LARGEST_MMAP)
    try:
        yield
    finally:
        libc.mallopt(_TRIM, _USUAL_TRIM)
        libc.mallopt(_MMAP, _USUAL_MMAP)
        if _free(libc) > _WORTH_RETURNING:
            libc.malloc_trim(0)


def _free(libc: ctypes.CDLL) -> int:
    """Bytes that malloc holds and nobody uses."""
    if not hasattr(libc, "mallinfo2"):  # before glibc 2.33 the counts were 32 bits wide
        return _WORTH_RETURNING + 1
    libc.mallinfo2.restype = _Mallinfo2
    return int(libc.mallinfo2().fordblks)
