"""Full names of base tensors: by kind, for methods that train them in place, and all of them."""

from __future__ import annotations

from torch import Tensor, nn

from foldtune.core.structure.sites import is_norm

# What a method that trains whole layers may do with their running mean and variance.
STATISTICS = ("held", "moving")


def bias_names(model: nn.Module) -> tuple[str, ...]:
    """Every bias vector: a 1-D parameter named `bias` or `*_bias`.

    Swin's relative position bias *table* is none, though a search for "bias" would find it.
    """
    return tuple(
        n
        for n, p in model.named_parameters()
        if p.ndim == 1 and (n.rpartition(".")[2] == "bias" or n.endswith("_bias"))
    )


def norm_names(model: nn.Module) -> tuple[str, ...]:
    """Weight and bias of every norm, known by its class and never by a name."""
    return tuple(
        f"{path}.{n}"
        for path, module in model.named_modules()
        if is_norm(module)
        for n in ("weight", "bias")
        if module._parameters.get(n) is not None
    )


def running_statistics(model: nn.Module) -> frozenset[str]:
    """The running mean, variance and counter of every norm that keeps them (BatchNorm)."""
    return frozenset(
        f"{path}.{n}" if path else n
        for path, module in model.named_modules()
        if module._buffers.get("running_mean") is not None
        for n in module._buffers
    )


def named_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters (as such) and buffers by full name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def first_names(model: nn.Module) -> dict[str, str]:
    """Every name of a parameter, to the first name of the same (tied) parameter."""
    first = {id(p): n for n, p in model.named_parameters()}
    return {n: first[id(p)] for n, p in model.named_parameters(remove_duplicate=False)}
