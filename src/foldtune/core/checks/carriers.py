"""Which models and which stored tensors can carry a method, asked before anything is changed.

| a layer is | a computed tensor (Reweight) | a side network (Rewire) |
|---|---|---|
| plain | yes | yes |
| quantised (a tensor subclass, or integers) | by `call`; never merged or interpolated | yes |
| weight-normed, spectral-normed, parametrized, pruned, tied | refused by name | yes |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.utils import parametrize

from foldtune.core.compute.delta import Delta
from foldtune.core.structure.sites import Site
from foldtune.core.tensors import is_plain, is_sharded
from foldtune.errors import InputError


def check_model(model: nn.Module) -> None:
    """Raise InputError for a model that must be attached to before it is wrapped or sharded."""
    name = type(model).__name__
    compiled = (n for n, m in model.named_modules() if hasattr(m, "_orig_mod") or _compiles(m))
    inside = next(compiled, None)
    if inside is not None:
        where = f"{inside} of {name} is" if inside else f"{name} is a model that was"
        raise InputError(
            f"cannot attach: {where} compiled by torch.compile, which does not notice what is "
            "attached; attach to the plain model (._orig_mod) first, and compile after"
        )
    for path, module in model.named_modules():
        if type(module).__module__.startswith("torch.ao.nn.quantized"):
            raise InputError(
                f"cannot attach: {path} is a {type(module).__name__} of dynamic quantisation, "
                "which no gradient passes; quantise weights only (torchao), or after merging"
            )
    wrapped = nn.DataParallel, nn.parallel.DistributedDataParallel
    if isinstance(model, wrapped):
        raise InputError(f"cannot attach to {name}: attach to model.module, and wrap after")
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_sharded(tensor):
            raise InputError(
                f"cannot attach: {path} is sharded already; attach first, then fully_shard"
            )
        if nn.parameter.is_lazy(tensor):
            raise InputError(f"cannot attach: {path} has no shape yet; run the model once")
        if tensor.is_inference():
            raise InputError(
                f"cannot attach: {path} was made in inference mode, so that nothing could be "
                "trained behind it; build or load the model outside of torch.inference_mode()"
            )
    if isinstance(model, nn.Sequential):
        raise InputError(
            "cannot attach to a bare nn.Sequential: it would run the added container as a layer; "
            "attach to the backbone inside it"
        )


def check_classifiers(model: nn.Module, paths: Sequence[str]) -> None:
    """Raise InputError where the classifiers at `paths` cannot train as they are."""
    own = [(f"{path}.{n}", p) for path in paths for n, p in _parameters(model, path)]
    if not own:
        raise InputError(
            f"{type(model).__name__} has no classifier ({paths[0]} holds no parameter); give "
            "attach(..., num_classes=...)"
        )
    wrong = next((n for n, p in own if not is_plain(p)), None)
    if wrong is not None:
        raise InputError(
            f"the classifier's {wrong} is quantised and cannot train; give "
            "attach(..., num_classes=...), or leave it out of quantisation"
        )


def _parameters(model: nn.Module, path: str) -> Iterator[tuple[str, nn.Parameter]]:
    return model.get_submodule(path).named_parameters()


def _compiles(module: nn.Module) -> bool:
    """Whether module.compile() was called."""
    return getattr(module, "_compiled_call_impl", None) is not None


def check_site(method: object, module: nn.Module, site: Site, deltas: Sequence[Delta]) -> None:
    """Raise InputError, naming the layer, where its stored tensor cannot be computed."""
    reason = _obstacle(module, site, deltas)
    if reason:
        raise InputError(f"{method!r} cannot stand at {site.path}: {reason}")


def is_quantised(module: nn.Module, name: str | None) -> bool:
    """Whether the stored weight is no plain tensor of floats (torchao, bitsandbytes)."""
    weight = module._parameters.get(name or "")
    return weight is not None and not is_plain(weight)


def _obstacle(module: nn.Module, site: Site, deltas: Sequence[Delta]) -> str | None:
    for name in filter(None, (site.weight, site.bias)):
        if f"{name}_orig" in module._parameters and f"{name}_mask" in module._buffers:
            return f"its {name} is pruned; make that permanent with prune.remove()"
        if parametrize.is_parametrized(module, name):
            kinds = [type(p).__name__ for p in module.parametrizations[name]]  # type: ignore[index]
            return (
                f"its {name} is parametrized ({', '.join(kinds)}); "
                "parametrize.remove_parametrizations() first"
            )
        if name not in module._parameters:
            return (
                f"its {name} is computed by somebody else already (weight_norm, spectral_norm); "
                "remove that first"
            )
    if not is_quantised(module, site.weight):
        return None
    folding = next((d for d in deltas if d.call is None), None)
    if folding is not None or not site.called:
        who = "its reader" if folding is None else type(folding).__name__
        return (
            f"its {site.weight} is quantised ({type(module._parameters[str(site.weight)]).__name__}"
            f"), and {who} needs the whole matrix. Methods that act on features can stand there "
            "(LoRA, SSF, side networks)"
        )
    return None


def refusal_of(method: object, model: nn.Module, error: BaseException) -> InputError:
    """What a host raised while a method was tried on it, as a refusal in one line."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return InputError(f"{method!r} cannot be attached to {type(model).__name__}: {reason}")
