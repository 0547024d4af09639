"""The Triton kernel of two sums, interpreted and compiled on the CPU: Triton is there where a card
is, or by `pip install triton`."""

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


# For an H100, with none at hand: the interpreter takes what the compiler refuses.
_COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from foldtune.core.compute.fused_sums import _sums

sizes = {"share": 64, "block_rows": 32, "block_channels": 64}
for dtype in ("fp32", "bf16", "fp16"):
    kinds = {"dz": f"*{dtype}", "z": f"*{dtype}", "partial": "*fp32"}
    kinds |= dict.fromkeys(("rows", "channels", "splits"), "i32")
    kinds |= dict.fromkeys(sizes, "constexpr")
    source = ASTSource(fn=_sums, signature=kinds, constexprs=sizes)
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32))
    assert "ld.global" in made.asm["ptx"]
print("right")
"""
WITH_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None,
    reason="triton is missing; it comes with torch's builds for CUDA",
)


@WITH_TRITON
@pytest.mark.parametrize(("program", "interpreted"), [(_PROGRAM, "1"), (_COMPILED, "0")])
def test_fused_sums_are_those_of_float64_and_compile(program, interpreted, tmp_path):
    more = {"TRITON_INTERPRET": interpreted, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ | more
    )
    assert done.stdout.strip() == "right", done.stderr[-2000:]
