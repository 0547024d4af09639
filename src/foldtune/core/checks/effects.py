"""Whether each trainable tensor of a method does what the method claims, where it stands.

A gradient is no proof: a convolution that standardises its weight gives a gain a gradient that is
rounding alone. So every tensor is moved, one at a time, and its layer is called again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from foldtune.core.attachment import Attachment
from foldtune.core.checks.carriers import is_quantised
from foldtune.core.checks.moves import (
    AGREES,
    AGREES_IN_HALF,
    Claim,
    away,
    moved_too_little,
    output_of,
)
from foldtune.core.compute.called import product
from foldtune.core.compute.computed import host_class, uses_calls
from foldtune.core.compute.folding import effective
from foldtune.core.edits import Reweight, Rewire, sources_kept
from foldtune.core.structure.probe import eval_mode
from foldtune.core.tensors import relative_distance
from foldtune.errors import InputError

_ATTEMPTS = 8  # to find some unit of a side network alive


@dataclass
class _Trial:
    """What the claims of one attachment share. called: kinds of delta and layer whose `call` was
    compared."""

    attachment: Attachment
    generator: torch.Generator
    called: set[tuple[type, type]]


def check_effects(attachment: Attachment, example: Tensor) -> None:
    """Raise InputError, naming the tensor, where moving it does not move what it should.

    Every tensor is put back bitwise. Costs a few calls of each layer that carries an edit.
    """
    if example.is_meta:
        return
    waiting: dict[nn.Module, list[Claim]] = {}
    for claim in _claims(attachment):
        waiting.setdefault(claim.shown_by, []).append(claim)
    given: dict[nn.Module, tuple[Any, Any]] = {}
    trial = _Trial(attachment, torch.Generator().manual_seed(0), set())

    # Before all other hooks, so that side networks are entered again when the module is.
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        if module in waiting:
            given[module] = args, kwargs

    def leave(module: nn.Module, _args: Any, output_of: Any) -> None:
        claims = waiting.pop(module, None)  # it is called again below
        if claims is not None:
            args, kwargs = given.pop(module)
            with torch.no_grad(), sources_kept():
                for claim in claims:
                    _check(trial, claim, args, kwargs)

    handles = []
    try:
        for module in waiting:
            handles.append(module.register_forward_pre_hook(enter, prepend=True, with_kwargs=True))
            handles.append(module.register_forward_hook(leave))
        # With gradients: torch's own encoder layer never calls its children without.
        plain = torch.autocast(example.device.type, enabled=False)  # whose rounding hides effects
        with eval_mode(attachment.model), torch.enable_grad(), plain:
            attachment.model(_lively(example))
    finally:
        for handle in handles:
            handle.remove()


def _lively(example: Tensor) -> Tensor:
    """The example, or noise of its shape where it is one colour: nothing moves what it gives."""
    if float(example.float().std()):
        return example
    return torch.rand(example.shape, generator=torch.Generator().manual_seed(0)).to(example)


def _claims(attachment: Attachment) -> Iterator[Claim]:
    model = attachment.model
    readers = {read: reader for reader, read in attachment.readings}
    for edit in attachment.edits:
        if isinstance(edit, Rewire):
            yield Claim(edit, edit.adapter, model.get_submodule(edit.site.path))
        elif isinstance(edit, Reweight):
            module = model.get_submodule(edit.site.path)
            shown_by = module if edit.site.called else readers.get(module, module)
            yield Claim(edit, edit.delta, shown_by)


def _check(trial: _Trial, claim: Claim, args: Any, kwargs: Any) -> None:
    attachment, site = trial.attachment, claim.edit.site
    layer = attachment.model.get_submodule(site.path)
    unmoved = {name: 0.0 for name, _ in claim.tensors.named_parameters()}
    with _restoring(claim.tensors) as starts:
        for attempt in range(1 if isinstance(claim.edit, Reweight) else _ATTEMPTS):
            for p, start in starts:
                p.copy_(start + away(start, trial.generator, attempt))
            before = output_of(claim, args, kwargs)
            kind = type(claim.tensors), type(layer)
            folds = isinstance(claim.edit, Reweight) and not is_quantised(layer, site.weight)
            if folds and kind not in trial.called and uses_calls(layer):
                trial.called.add(kind)
                _check_call(attachment, site.path, layer, args[0])
            for name in tuple(unmoved):
                p = claim.tensors.get_parameter(name)
                moved = moved_too_little(claim, layer, p, trial.generator, before, (args, kwargs))
                if moved is None:
                    del unmoved[name]
                else:
                    unmoved[name] = moved
            if not unmoved:
                return
    raise _without_effect(attachment, claim, *next(iter(unmoved.items())))


def _without_effect(attachment: Attachment, claim: Claim, name: str, moved: float) -> InputError:
    return InputError(
        f"{attachment.method!r} on {type(attachment.model).__name__}: {name} at "
        f"{claim.edit.site.path} trains without effect: moved by its own size, it moves what the "
        f"{host_class(claim.shown_by).__name__} gives by {moved:.0e} of that. A layer that "
        "standardises its weight cancels a gain; leave such sites out (SSF has skip=...), or take "
        "a method with other sites"
    )


def _check_call(attachment: Attachment, path: str, layer: nn.Module, x: Tensor) -> None:
    wanted = product(layer, x, *effective(layer))
    apart = relative_distance(layer.forward(x), wanted)
    if apart > AGREES.get(wanted.dtype, AGREES_IN_HALF):
        raise InputError(
            f"{attachment.method!r} at {path}: its `call` gives something else than the weight "
            f"that its `fold` makes ({apart:.0e} apart), so that merging would change the model"
        )


@contextlib.contextmanager
def _restoring(tensors: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Every tensor with a copy of it, which is in its place again after."""
    kept: list[tuple[Tensor, Tensor]] = [(p, p.clone()) for p in tensors.parameters()]
    try:
        yield kept
    finally:
        for p, value in kept:
            p.copy_(value)
