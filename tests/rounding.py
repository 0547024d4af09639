"""Another processor's last bits, on this one: `pytest --other-rounding`.

A library picks its kernel by processor, shape, layout and alignment, and two kernels round sums in
two ways. So the same product over a mirrored or a larger batch may differ in its last bit where a
test's author saw none. Here every float result of an operation that sums or approximates moves by
up to one unit in its last place, drawn from the operation's name and its tensors' shapes, strides
and alignment: the same computation again gives the same bits, any other may not.
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_NAMES = """
    mm addmm bmm baddbmm mv dot linear convolution convolution_backward sum mean var std var_mean
    cumsum norm linalg_vector_norm _softmax _log_softmax _softmax_backward_data exp log tanh sigmoid
    sqrt rsqrt pow erfinv gelu gelu_backward silu addcmul addcdiv native_layer_norm
    native_layer_norm_backward native_group_norm native_group_norm_backward native_batch_norm
    native_batch_norm_backward _native_batch_norm_legit avg_pool2d _adaptive_avg_pool2d
    grid_sampler_2d upsample_bilinear2d upsample_bicubic2d _upsample_bilinear2d_aa
    _upsample_bicubic2d_aa _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_flash_attention_for_cpu_backward _native_multi_head_attention
    _transformer_encoder_layer_fwd"""
_ROUNDS = frozenset(_NAMES.split())
# They ask which operations run, or hand them to a compiler: the mode would be seen, or traced.
_WATCHES = (
    "trace", "compile", "export", "product", "profile", "check_method", "graph", "odd_batch",
    "contract_is_one_line", "your-own-method",
)  # fmt: skip
# They ask for the bits of another process, which this mode does not reach.
_ELSEWHERE = ("of_one_process", "one_in_process", "killed_worker", "recipes/test_micro")


@contextmanager
def rounded_otherwise(test: str) -> Iterator[None]:
    name = test.rpartition("::")[2]
    plain = any(word in name for word in _WATCHES) or any(word in test for word in _ELSEWHERE)
    with nullcontext() if plain else _OtherRounding():
        yield


class _OtherRounding(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in _ROUNDS:
            key = repr((name, [_layout(a) for a in args if isinstance(a, Tensor)]))
            for place, tensor in enumerate(out if isinstance(out, tuple | list) else (out,)):
                _move(tensor, f"{key}{place}")
        return out


def _layout(tensor: Tensor) -> tuple:
    offset = tensor.storage_offset() * tensor.element_size() % 64
    return tuple(tensor.shape), tensor.stride(), offset


def _move(tensor: object, key: str) -> None:
    if type(tensor) is Tensor and tensor.is_floating_point() and tensor.layout is torch.strided:
        tensor.mul_(_units(tuple(tensor.shape), tensor.dtype, zlib.crc32(key.encode())))


@lru_cache(maxsize=500)
def _units(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """One, or a unit in the last place beside it."""
    steps = torch.randint(-1, 2, shape, generator=torch.Generator().manual_seed(seed))
    return (1 + torch.finfo(dtype).eps * steps).to(dtype)
