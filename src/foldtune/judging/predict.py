"""The logits of a model on many images: what every evaluator and analysis starts from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.core.structure.probe import eval_mode
from foldtune.core.tensors import check_finite
from foldtune.errors import InputError, unknown_name
from foldtune.training.batches import load_pixels
from foldtune.training.device import check_compiler, check_precision, parse_device, tensor_float
from foldtune.training.host import host_logits
from foldtune.training.recipe import PRECISIONS
from foldtune.training.speed.blocks import are_compiled, compiled_blocks, eager
from foldtune.training.speed.narrow import computed_in


def predict_logits(
    model: nn.Module,
    pixels: np.ndarray,
    indices: np.ndarray,
    prepare: Callable[[Tensor, torch.Generator | None], Tensor],
    batch_size: int = 256,
    device: str | None = None,
    precision: str = "fp32",
    compiled: bool = False,
) -> Tensor:
    """The logits (rows, classes) of the rows `indices`, in their order, float32 on the CPU.

    pixels: (images, height, width, 3) uint8. prepare is called without a generator. device: where
    the model is moved, and stays; None leaves it where it is. precision: with bf16 and bf16-kept
    logits are within a sixty-fourth of the largest one of those of fp32, on the hosts of the tests.
    compiled: blocks go through torch.compile, as they do within a compiled training; a last batch
    of fewer images runs as written. Every module's train or eval mode comes back. Raises InputError
    for an unknown precision or device, a compiler that is missing, and for no rows.
    """
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if len(indices) == 0:
        raise InputError("there are no images to predict: indices is empty")
    where = parse_device(device) or next(model.parameters()).device
    check_precision(precision, where)
    model.to(where)
    if compiled:
        check_compiler(where)
    gathered, whole = [], min(batch_size, len(indices))
    # no_grad, not inference_mode: a host that caches a tensor in its forward (position grids do)
    # could not train any more with one made in inference mode.
    with (
        torch.no_grad(), eval_mode(model), tensor_float(precision == "tf32"),
        computed_in(model, precision, where),
        compiled_blocks(model) if compiled else nullcontext(),
    ):  # fmt: skip
        parted = are_compiled(model)
        for start in range(0, len(indices), batch_size):
            batch = load_pixels(pixels, indices[start : start + batch_size], where)
            with eager(parted and len(batch) != whole):
                gathered.append(host_logits(model(prepare(batch, None))).float())
    return torch.cat(gathered).cpu()


def finite(logits: Tensor, who: object) -> Tensor:
    """The logits themselves. Raises InputError, naming `who` gave them, where one is not finite."""
    check_finite({"a logit": logits}, f"{who} cannot be used", "train it again, or use fp32")
    return logits
