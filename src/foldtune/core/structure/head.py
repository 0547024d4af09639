"""The classifier of a host, found by the contract the host keeps and replaced for new classes."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from foldtune.core.structure.probe import probe
from foldtune.errors import InputError, unknown_name

# Where hosts without `get_classifier` (transformers, torchvision) keep their classifier.
_USUAL_NAMES = ("classifier", "head", "fc", "heads.head")


def find_head(model: nn.Module) -> tuple[str, ...]:
    """Paths of the classifier layers (two for a distilled DeiT, one a branch for CrossViT).

    Of a compound (a norm and a Linear) the layer that gives the classes. Raises InputError where
    the host names none; pass the path to `attach(head=...)` then.
    """
    if hasattr(model, "get_classifier"):
        found = model.get_classifier()  # type: ignore[operator]
        modules = found if isinstance(found, tuple | list) else (found,)
        paths = {id(m): path for path, m in model.named_modules()}
        # `num_classes=0` hosts answer with an Identity, shared or not: its own path is needed.
        if all(id(m) in paths for m in modules) and modules:
            heads = tuple(p for m in modules for p in _last_layers(paths[id(m)], m))
            return heads + _auxiliary(model, heads)
    for name in _USUAL_NAMES:
        try:
            found = model.get_submodule(name)
        except AttributeError:
            continue
        if isinstance(found, nn.Sequential) and len(found) and isinstance(found[-1], nn.Linear):
            return (f"{name}.{len(found) - 1}",)  # transformers' ResNet flattens first
        if isinstance(found, nn.Linear | nn.Identity):
            return (name,)
        layers = [n for n, m in found.named_modules() if isinstance(m, nn.Linear)]
        if len(layers) == 1:  # behind a norm (transformers' LeViT)
            return (f"{name}.{layers[0]}",)
    inner = [name for name, m in model.named_children() if hasattr(m, "get_classifier")]
    if len(inner) == 1:  # a host in a host (transformers' wrapper of timm)
        return tuple(f"{inner[0]}.{path}" for path in find_head(model.get_submodule(inner[0])))
    raise InputError(
        f"{type(model).__name__} names no classifier (no get_classifier(), and none of "
        f"{', '.join(_USUAL_NAMES)} is a Linear); give its path: attach(..., head='path')"
    )


def _auxiliary(model: nn.Module, heads: tuple[str, ...]) -> tuple[str, ...]:
    """Further heads of the host that are added to the first (VOLO's, on every position)."""
    first = model.get_submodule(heads[0])
    return tuple(
        path
        for path, m in model.named_children()
        if _is_layer(first) and _is_layer(m) and path not in heads and "head" in path
        if m.get_parameter("weight").shape == first.get_parameter("weight").shape
    )


def _last_layers(path: str, module: nn.Module) -> tuple[str, ...]:
    """The layers of a classifier that give the classes: itself, or the last of each branch."""
    if isinstance(module, nn.ModuleList):
        return tuple(p for n, m in module.named_children() for p in _last_layers(f"{path}.{n}", m))
    if _is_layer(module):
        return (path,)
    layers = {f"{path}.{n}": m for n, m in module.named_modules() if _is_layer(m)}
    if not layers:
        # The classifier of a headless host: its own `fc`, where it has other parts as well.
        inner = [n for n, m in module.named_children() if isinstance(m, nn.Identity) and n == "fc"]
        return (f"{path}.{inner[0]}" if inner else path,)
    # Beside each other and of one number of classes: a student's and a teacher's (RepViT).
    branches = {p.split(".")[len(path.split("."))] for p in layers}
    shapes = {m.get_parameter("weight").shape for m in layers.values()}
    twins = len(shapes) == 1 and len(branches) == len(layers)
    return tuple(layers) if twins else (list(layers)[-1],)


def _is_layer(module: nn.Module) -> bool:
    """A Linear, or the 1x1 convolution that stands for one on pooled maps (DLA, BiT)."""
    one = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    return isinstance(module, nn.Linear) or one


def check_paths(model: nn.Module, head: tuple[str, ...]) -> None:
    """Raise InputError where a path of the classifier leads nowhere."""
    known = [path for path, _ in model.named_modules()]
    for path in head:
        if not path or path not in known:
            raise unknown_name("classifier", path, known[:0:-1])


def new_classifiers(
    model: nn.Module, head: tuple[str, ...], num_classes: int, example: Tensor
) -> dict[str, nn.Module]:
    """Fresh classifiers for `num_classes`, keyed by path, with nn.Linear's default draw.

    A Linear is replaced by a Linear, the Identity of a headless host as well, a 1x1 convolution by
    one; of a compound (ConvNeXt's whole head: norm and Linear) a copy whose last Linear is fresh.
    Raises InputError for a classifier that ends otherwise.
    """
    if num_classes < 1:
        raise InputError(f"num_classes must be at least 1, not {num_classes}")
    made: dict[str, nn.Module] = {}
    for path in head:
        old = model.get_submodule(path)
        if _is_layer(old):
            made[path] = _fresh(old, num_classes)
        elif isinstance(old, nn.Identity):
            width = _given_width(model, path, example)
            made[path] = _linear(width, num_classes, example)
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


def _given_width(model: nn.Module, path: str, example: Tensor) -> int:
    """The number of channels that a headless host's classifier is given."""
    given = probe(model, example)[path].inputs
    if given.ndim != 2:
        raise InputError(
            f"{type(model).__name__} gives {tuple(given.shape[1:])} an image where its classifier "
            "would stand, and no vector; build it with pooling and classes"
        )
    return int(given.shape[-1])


def _fresh(old: nn.Module, num_classes: int) -> nn.Module:
    weight = old.get_parameter("weight")
    if isinstance(old, nn.Conv2d):
        made = nn.Conv2d(old.in_channels, num_classes, 1, device="cpu", dtype=weight.dtype)
        return made.to(weight.device)
    return _linear(weight.shape[1], num_classes, weight)


def _linear(width: int, num_classes: int, beside: Tensor) -> nn.Linear:
    """A Linear where `beside` lies, drawn on the CPU: a device draws other numbers, and leaves to
    what is drawn next, a method's start, those that it did not take."""
    return nn.Linear(width, num_classes, device="cpu", dtype=beside.dtype).to(beside.device)


def set_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` at `path`, in the same position among its siblings."""
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module
