"""What the oldest libraries that are allowed lack, by name; only the tests of that skip there."""

import inspect

import pytest
import torch
from accelerate import Accelerator

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])

_NO_SHARDING = not hasattr(torch.cpu.Stream, "record_event")
NEEDS_SHARDING = pytest.mark.skipif(
    _NO_SHARDING, reason="FSDP2 of this torch has no streams on a CPU"
)
NEEDS_NEW_COMPILER = pytest.mark.skipif(
    TORCH < (2, 7), reason="torch.compile of torch 2.6 breaks off, or makes a graph a block, here"
)
NEEDS_UNIQUE_ON_META = pytest.mark.skipif(
    TORCH < (2, 7), reason="torch 2.6 has no unique() of meta tensors, which timm's RegNet asks for"
)
NEEDS_NEW_ACCELERATE = pytest.mark.skipif(
    "keep_torch_compile" not in inspect.signature(Accelerator.unwrap_model).parameters,
    reason="the Trainer of this transformers wants a later accelerate",
)
