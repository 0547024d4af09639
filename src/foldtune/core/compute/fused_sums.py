"""Both sums in one pass over the two maps, as a Triton kernel; imported where Triton is there.

`TRITON_INTERPRET=1` runs it on a CPU, in Python, for its correctness.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_BLOCK_ROWS, _BLOCK_CHANNELS = 32, 64
# Programs to start: several for each of a card's processors (132 on an H100), which take them in
# any order; each leaves a partial sum, so the sum is the same whatever the order.
_PROGRAMS = 528


def fused_sums(dz: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """sum(dz z) and sum(dz) over rows, (channels,) float32 each; dz, z: (rows, channels),
    contiguous, of any floating dtype. Every read of dz and z is made once."""
    rows, channels = z.shape
    across = triton.cdiv(channels, _BLOCK_CHANNELS)
    wanted = max(1, min(triton.cdiv(rows, _BLOCK_ROWS), _PROGRAMS // across))
    # A power of two: the kernel is compiled for each, and so for few.
    share = max(_BLOCK_ROWS, triton.next_power_of_2(triton.cdiv(rows, wanted)))
    splits = triton.cdiv(rows, share)
    partial = torch.empty((2, splits, channels), dtype=torch.float32, device=z.device)
    _sums[(across, splits)](
        dz, z, partial, rows, channels, splits,
        share=share, block_rows=_BLOCK_ROWS, block_channels=_BLOCK_CHANNELS,
    )  # fmt: skip
    along, total = partial.sum(1)
    return along, total


# Triton's compiler reads annotations, and refuses names that it does not know.
@triton.jit  # type: ignore[untyped-decorator]
def _sums(  # type: ignore[no-untyped-def]
    dz, z, partial, rows, channels, splits,
    share: tl.constexpr, block_rows: tl.constexpr, block_channels: tl.constexpr,
):  # fmt: skip
    """One program sums `share` rows of `block_channels` channels."""
    columns = tl.program_id(0) * block_channels + tl.arange(0, block_channels)
    split = tl.program_id(1)
    first = split * share
    along = tl.zeros((block_rows, block_channels), dtype=tl.float32)
    total = tl.zeros((block_rows, block_channels), dtype=tl.float32)
    for start in range(0, share, block_rows):
        row = first + start + tl.arange(0, block_rows)
        inside = (row < rows)[:, None] & (columns < channels)[None, :]
        # Features of a batch may number more than 2^31.
        place = row.to(tl.int64)[:, None] * channels + columns[None, :]
        gradient = tl.load(dz + place, mask=inside, other=0.0).to(tl.float32)
        total += gradient
        along += gradient * tl.load(z + place, mask=inside, other=0.0).to(tl.float32)
    out = split * channels + columns
    tl.store(partial + out, tl.sum(along, axis=0), mask=columns < channels)
    other = splits * channels + out
    tl.store(partial + other, tl.sum(total, axis=0), mask=columns < channels)
