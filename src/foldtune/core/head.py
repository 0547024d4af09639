"""The classifier of a host, found by the contract the host keeps and replaced for new classes."""

from __future__ import annotations

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
            if isinstance(model.get_submodule(name), nn.Linear | nn.Identity):
                return (name,)
        except AttributeError:
            continue
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
    """Fresh Linear classifiers for `num_classes`, keyed by path, with nn.Linear's default draw.

    Raises InputError where the present classifier is neither a Linear nor an Identity.
    """
    if num_classes < 2:
        raise InputError(f"num_classes must be at least 2, not {num_classes}")
    made: dict[str, nn.Module] = {}
    for path in head:
        old = model.get_submodule(path)
        if isinstance(old, nn.Linear):
            made[path] = nn.Linear(
                old.in_features, num_classes, device=old.weight.device, dtype=old.weight.dtype
            )
        elif isinstance(old, nn.Identity):
            width = probe(model, example)[""].output.shape[-1]
            made[path] = nn.Linear(width, num_classes, device=example.device, dtype=example.dtype)
        else:
            raise InputError(
                f"the classifier {path} is a {type(old).__name__}; only a Linear (or the Identity "
                "of a headless backbone) can be replaced"
            )
    return made


def set_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put `module` at `path`, in the same position among its siblings."""
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module
