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
from foldtune.core.compute.called import is_plain_class, product
from foldtune.core.compute.computed import host_class, uses_calls
from foldtune.core.compute.folding import effective
from foldtune.core.edits import Reweight, Rewire, sources_kept
from foldtune.core.structure.probe import eval_mode, first_tensor
from foldtune.core.tensors import relative_distance, root_mean_square
from foldtune.errors import InputError

# A layer's output follows its weight: it may move less than the weight by this factor, no further.
# An activation of its own may be saturated in nearly all units (lite0's last, on small images).
_FOLLOWS = {torch.float64: 5e-4, torch.float32: 5e-4}
_FOLLOWS_IN_HALF = 5e-3
_ATTEMPTS = 8  # to find some unit of a side network alive
_SMALL = 2e-2  # an output that moves by more needs no closer look
# By how much a `call` may differ from what the folded weight gives.
_AGREES = {torch.float64: 1e-6, torch.float32: 1e-2}
_AGREES_IN_HALF = 0.2
_Pair = tuple[Tensor, Tensor | None]


@dataclass
class _Trial:
    """What the claims of one attachment share. called: kinds of delta and layer whose `call` was
    compared."""

    attachment: Attachment
    generator: torch.Generator
    called: set[tuple[type, type]]


@dataclass(frozen=True)
class _Claim:
    """One edit, and the module whose output shows it: its own, or the reader of its tensors."""

    edit: Reweight | Rewire
    tensors: nn.Module
    shown_by: nn.Module


def check_effects(attachment: Attachment, example: Tensor) -> None:
    """Raise InputError, naming the tensor, where moving it does not move what it should.

    Every tensor is put back bitwise. Costs a few calls of each layer that carries an edit.
    """
    if example.is_meta:
        return
    waiting: dict[nn.Module, list[_Claim]] = {}
    for claim in _claims(attachment):
        waiting.setdefault(claim.shown_by, []).append(claim)
    given: dict[nn.Module, tuple[Any, Any]] = {}
    trial = _Trial(attachment, torch.Generator().manual_seed(0), set())

    # Before all other hooks, so that side networks are entered again when the module is.
    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        if module in waiting:
            given[module] = args, kwargs

    def leave(module: nn.Module, _args: Any, _output: Any) -> None:
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


def _claims(attachment: Attachment) -> Iterator[_Claim]:
    model = attachment.model
    readers = {read: reader for reader, read in attachment.readings}
    for edit in attachment.edits:
        if isinstance(edit, Rewire):
            yield _Claim(edit, edit.adapter, model.get_submodule(edit.site.path))
        elif isinstance(edit, Reweight):
            module = model.get_submodule(edit.site.path)
            shown_by = module if edit.site.called else readers.get(module, module)
            yield _Claim(edit, edit.delta, shown_by)


def _check(trial: _Trial, claim: _Claim, args: Any, kwargs: Any) -> None:
    attachment, site = trial.attachment, claim.edit.site
    layer = attachment.model.get_submodule(site.path)
    unmoved = {name: 0.0 for name, _ in claim.tensors.named_parameters()}
    with _restored(claim.tensors) as starts:
        for attempt in range(1 if isinstance(claim.edit, Reweight) else _ATTEMPTS):
            for p, start in starts:
                p.copy_(start + _away(start, trial.generator, attempt))
            before = _output(claim, args, kwargs)
            kind = type(claim.tensors), type(layer)
            folds = isinstance(claim.edit, Reweight) and not is_quantised(layer, site.weight)
            if folds and kind not in trial.called and uses_calls(layer):
                trial.called.add(kind)
                _check_call(attachment, site.path, layer, args[0])
            for name in tuple(unmoved):
                p = claim.tensors.get_parameter(name)
                moved = _moved(claim, layer, p, trial.generator, before, (args, kwargs))
                if moved is None:
                    del unmoved[name]
                else:
                    unmoved[name] = moved
            if not unmoved:
                return
    raise _without_effect(attachment, claim, *next(iter(unmoved.items())))


def _away(start: Tensor, generator: torch.Generator, attempt: int) -> Tensor:
    """A step off the start, where some tensors hide others; from the second attempt on a far one,
    since every unit of a small bottleneck of a side network may be dead on the example."""
    step = (_draw(start, generator) - 0.5) * (root_mean_square(start) or 0.1)
    return step if not attempt else 6.0 * step - start


def _moved(
    claim: _Claim, layer: nn.Module, p: Tensor, generator: torch.Generator, before: Tensor,
    given: tuple[Any, Any],
) -> float | None:  # fmt: skip
    """None where moving p by its own size has the effect that it should, else how little it has."""
    kept = p.clone()
    # Each element by a factor of its own: a cosine attention cancels a common one.
    p.mul_(1.0 + 2.0 * _draw(p, generator))
    after = _output(claim, *given)
    moved = relative_distance(after, before)
    plain = claim.edit.site.called and is_plain_class(host_class(layer))
    least = _SMALL
    if moved < _SMALL or not plain:
        stands = _folded(claim, layer)
        p.copy_(kept)
        claimed, moved = _compared(claim, _folded(claim, layer), stands, before, after)
        least = _least(claim, claimed, before.dtype)
        # A few large features may hide what moves in all others.
        if not claim.edit.site.called or claimed is None:
            moved = max(moved, least * _share_changed(before, after))
    p.copy_(kept)
    return moved if moved <= least else None


def _without_effect(attachment: Attachment, claim: _Claim, name: str, moved: float) -> InputError:
    return InputError(
        f"{attachment.method!r} on {type(attachment.model).__name__}: {name} at "
        f"{claim.edit.site.path} trains without effect: moved by its own size, it moves what the "
        f"{host_class(claim.shown_by).__name__} gives by {moved:.0e} of that. A layer that "
        "standardises its weight cancels a gain; leave such sites out (SSF has skip=...), or take "
        "a method with other sites"
    )


def _least(claim: _Claim, claimed: float | None, dtype: torch.dtype) -> float:
    """The relative change of the output that is more than rounding; below 0: any will do."""
    if claimed == 0.0:  # a gain on weights that are zero promises nothing
        return -1.0
    if claimed is not None and claim.edit.site.called:
        return _FOLLOWS.get(dtype, _FOLLOWS_IN_HALF) * claimed
    # In half precision rounding hides what a whole block or attention would show.
    return 10 * torch.finfo(dtype).eps if dtype in _AGREES else -1.0


def _compared(
    claim: _Claim, stood: _Pair | None, stands: _Pair | None, before: Tensor, after: Tensor
) -> tuple[float | None, float]:
    """How far the folded weight moved over itself (the bias, where it moves alone, over the
    output), None for a side network; and how far the output did, without what the bias adds."""
    if stood is None or stands is None:
        return None, relative_distance(after, before)
    (w, b), (w2, b2) = stood, stands
    weight_moved = relative_distance(w2, w)
    if b is None or b2 is None or not claim.edit.site.called:
        return weight_moved or (1.0 if b2 is not b else 0.0), relative_distance(after, before)
    if not weight_moved:
        return root_mean_square(b2 - b) / (root_mean_square(before) or 1.0), relative_distance(
            after, before
        )
    shape = [1] * before.ndim
    shape[1 if claim.edit.site.layout == "maps" else -1] = -1
    return weight_moved, relative_distance(after - (b2 - b).view(shape), before)


def _share_changed(before: Tensor, after: Tensor) -> float:
    """Share of elements that moved by more than rounding, over a thousandth."""
    if before.dtype not in _AGREES:
        return 0.0
    rounding = 10 * torch.finfo(before.dtype).eps * before.abs()
    return 1e3 * float(((after - before).abs() > rounding).float().mean())


def _check_call(attachment: Attachment, path: str, layer: nn.Module, x: Tensor) -> None:
    wanted = product(layer, x, *effective(layer))
    apart = relative_distance(layer.forward(x), wanted)
    if apart > _AGREES.get(wanted.dtype, _AGREES_IN_HALF):
        raise InputError(
            f"{attachment.method!r} at {path}: its `call` gives something else than the weight "
            f"that its `fold` makes ({apart:.0e} apart), so that merging would change the model"
        )


def _draw(p: Tensor, generator: torch.Generator) -> Tensor:
    """Between 0 and 1, of the shape of p."""
    return torch.rand(p.shape, generator=generator).to(p)


def _output(claim: _Claim, args: Any, kwargs: Any) -> Tensor:
    found = first_tensor(claim.shown_by(*args, **kwargs))
    assert found is not None
    return found


def _folded(claim: _Claim, layer: nn.Module) -> _Pair | None:
    """The folded pair; None where there is none: of a side network, of a quantised layer."""
    site = claim.edit.site
    if isinstance(claim.edit, Rewire) or site.weight is None or is_quantised(layer, site.weight):
        return None
    return effective(layer, site.weight, site.bias)


@contextlib.contextmanager
def _restored(tensors: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Every tensor with a copy of it, which is in its place again after."""
    kept: list[tuple[Tensor, Tensor]] = [(p, p.clone()) for p in tensors.parameters()]
    try:
        yield kept
    finally:
        for p, value in kept:
            p.copy_(value)
