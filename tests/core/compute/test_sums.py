"""The two sums behind the gradients of a scale and a shift, against plain ones in float64."""

import pytest
import torch

from foldtune.core.compute.sums import sums_by_channel


def _maps(shape, dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw).to(dtype) for _ in range(2)]


def _exactly(dz, z, axis):
    others = [i for i in range(z.ndim) if i != axis % z.ndim]
    return (dz.double() * z.double()).sum(others), dz.double().sum(others)


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 50, 7), -1), ((600, 5), 1), ((2, 6, 9, 11), 1), ((1, 4), -1)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_sums_are_those_of_float64(shape, axis, dtype):
    dz, z = _maps(shape, dtype)
    wide = torch.promote_types(dtype, torch.float32)
    along, total = sums_by_channel(dz, z, axis, wide)
    want_along, want_total = _exactly(dz, z, axis)
    assert along.dtype == total.dtype == wide
    count = z.numel() / len(want_total)
    # The unit of the sums; of bfloat16 a product may be rounded to its own 8 bits, at random.
    unit = {torch.float64: 1e-14, torch.bfloat16: 2.0**-8}.get(dtype, 1e-6)
    assert (along - want_along).abs().max() <= 4 * unit * count**0.5
    assert (total - want_total).abs().max() <= 4 * min(unit, 1e-6) * count**0.5


def test_a_sum_of_bfloat16_is_no_sum_in_bfloat16():
    dz, z = torch.ones(2, 5000, 3).bfloat16().unbind()
    along, total = sums_by_channel(dz, z, -1, torch.float32)
    # bfloat16 stops at 256; in float32 another order of additions is another last bit.
    assert along.tolist() == pytest.approx([5000.0] * 3, rel=1e-6)
    assert total.tolist() == pytest.approx([5000.0] * 3, rel=1e-6)


def test_a_product_of_float16_may_be_larger_than_float16_holds():
    dz, z = torch.full((2, 4, 3), 300.0).half().unbind()
    along, _ = sums_by_channel(dz, z, -1, torch.float32)
    assert along.tolist() == [360000.0] * 3
