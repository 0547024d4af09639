"""The classifier of a host, found by the contract the host keeps and replaced for new classes."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from foldtune.core.probe import probe
from foldtune.errors import InputError, unknown

# Where hosts without `get_classifier` (transformers, torchvision) keep their classifier.
_USUAL_NAMES = ("classifier", "head", "fc", "heads.head")


def find_head(model: nn.Module) -> tuple[str, ...]:
    """Paths of the classifier layers (two for a distilled DeiT).

    Raises InputError where the host names none; pass the path to `attach(head=...)` then.
    """
    if hasattr(model, "get_classifier"):
        found = model.get_classifier()  # type: ignore[operator]
        modules = found if isinstance(found, tuple | list) else (found,)
        paths = {id(m): path for path, m in model.named_modules()}
        # `num_classes=0` hosts answer with an Identity, shared or not: its own path is needed.
        if all(id(m) in paths for m in modules) and modules:
            return tuple(paths[id(m)] for m in modules)
    for name in _USUAL_NAMES:
        try:
            found = model.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(found, nn.Sequential) and len(found) and isinstance(found[-1], nn.Linear):
            return (f"{name}.{len(found) - 1}",)  # transformers' ResNet flattens first
        if isinstance(found, nn.Linear | nn.Identity):
            return (name,)
    raise InputError(
        f"{type(model).__name__} names no classifier (no get_classifier(), and none of "
        f"{', '.join(_USUAL_NAMES)} is a Linear); give its path: attach(..., head='path')"
    )


def check_paths(model: nn.Module, head: tuple[str, ...]) -> None:
    """Raise InputError where a path of the classifier leads nowhere."""
    known = [path for path, _ in model.named_modules()]
    for path in head:
        if not path or path not in known:
            raise unknown("classifier", path, known[:0:-1])


def new_classifiers(
    model: nn.Module, head: tuple[str, ...], num_classes: int, example: Tensor
) -> dict[str, nn.Module]:
    """Fresh classifiers for `num_classes`, keyed by path, with nn.Linear's default draw.

    A Linear is replaced by a Linear, the Identity of a headless host as well; of a compound
    (ConvNeXt's whole head: norm and Linear) a copy whose last Linear is fresh. Raises InputError
    for a classifier that ends otherwise.
    """
    if num_classes < 2:
        raise InputError(f"num_classes must be at least 2, not {num_classes}")
    made: dict[str, nn.Module] = {}
    for path in head:
        old = model.get_submodule(path)
        if isinstance(old, nn.Linear):
            made[path] = _fresh(old, num_classes)
        elif isinstance(old, nn.Identity):
            width = probe(model, example)[""].output.shape[-1]
            made[path] = nn.Linear(width, num_classes, device=example.device, dtype=example.dtype)
        else:
            made[path] = _compound(model, path, old, num_classes, example)
    return made


def _compound(
    model: nn.Module, path: str, old: nn.Module, num_classes: int, example: Tensor
) -> nn.Module:
    calls = probe(model, example)
    inside = [p for p in calls if p.startswith(f"{path}.")]
    linears = [p for p in inside if isinstance(model.get_submodule(p), nn.Linear)]
    if not linears or calls[linears[-1]].output.shape != calls[path].output.shape:
        raise InputError(
            f"the classifier {path} is a {type(old).__name__}; only a Linear, a module that ends "
            "in one, or the Identity of a headless backbone can be replaced"
        )
    made, last = copy.deepcopy(old), linears[-1].removeprefix(f"{path}.")
    set_module(made, last, _fresh(old.get_submodule(last), num_classes))
    return made


def _fresh(old: nn.Module, num_classes: int) -> nn.Linear:
    assert isinstance(old, nn.Linear)
    return nn.Linear(old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype)


def set_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` at `path`, in the same position among its siblings."""
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module
