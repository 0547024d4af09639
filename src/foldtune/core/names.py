"""Full names of base parameters by kind, for methods that train them in place."""

from __future__ import annotations

from torch import nn

from foldtune.core.sites import is_norm


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
