"""The Triton kernel of two sums, interpreted on the CPU: it is there where a card is, or by
`pip install triton`."""

import importlib.util
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import torch
from foldtune.core.compute.fused_sums import fused_sums

draw = torch.Generator().manual_seed(0)
for rows, channels in ((1, 1), (33, 64), (100, 70), (5000, 130)):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        dz, z = (torch.randn(rows, channels, generator=draw).to(dtype) for _ in range(2))
        along, total = fused_sums(dz, z)
        assert along.dtype == total.dtype == torch.float32
        # Sums of `rows` numbers of size 1 in float32.
        bound = 1e-6 * rows**0.5
        assert (along - (dz.double() * z.double()).sum(0)).abs().max() <= bound
        assert (total - dz.double().sum(0)).abs().max() <= bound
print("right")
"""


def test_fused_sums_are_those_of_float64():
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is missing; it comes with torch's builds for CUDA")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True,
        env={**os.environ, "TRITON_INTERPRET": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == "right", done.stderr[-2000:]
