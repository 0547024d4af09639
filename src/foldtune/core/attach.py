"""Put a method on a model: freeze, install the edits, prove that each trainable tensor is used."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from foldtune.core.attachment import CONTAINER, Attachment
from foldtune.core.computed import compute, has_statistics
from foldtune.core.edits import Edit, Reweight, Rewire, Train
from foldtune.core.head import check_paths, find_head, new_classifiers
from foldtune.core.method import Method
from foldtune.core.probe import first_tensor
from foldtune.core.sites import find_sites
from foldtune.errors import InputError

log = logging.getLogger("foldtune")


def attach(
    model: nn.Module,
    method: Method,
    *,
    example: Tensor | None = None,
    num_classes: int | None = None,
    head: str | Sequence[str] | None = None,
    seed: int | None = None,
) -> Attachment:
    """Attach `method` to `model` in place, freeze the rest, and return the attachment.

    example: images (B, 3, H, W) for the probe and the dry run; zeros-free noise of the host's own
    `pretrained_cfg` input size by default. num_classes: replace the classifier by a fresh Linear
    (None keeps it); either way the classifier trains. head: path(s) of the classifier, where the
    host does not name it. seed: draw the initial values from this seed and leave torch's global
    generator untouched; None draws from the global generator.

    Every base key keeps its name and value. Build the optimiser after attaching, from
    `attachment.parameters()`.

    Raises InputError, with the model as it was, where the method has no place in the model or a
    trainable tensor would get no gradient.
    """
    if hasattr(model, CONTAINER):
        raise InputError(
            f"{type(model).__name__} carries an attachment already; detach() or merge() it first, "
            "or attach a sum such as SSF() + LoRA()"
        )
    if isinstance(model, nn.Sequential):
        raise InputError(
            "cannot attach to a bare nn.Sequential: it would run the added container as a layer; "
            "attach to the backbone inside it"
        )
    example = _example(model, example)
    paths = (head,) if isinstance(head, str) else tuple(head or find_head(model))
    check_paths(model, paths)
    with _seeded(seed):
        attachment = Attachment(model, method, paths)
        try:
            if num_classes is not None:
                attachment.replace_head(new_classifiers(model, paths, num_classes, example))
            attachment.sites = find_sites(model, example, paths)
            _install(attachment)
            _dry_run(attachment, example)
        except BaseException:
            attachment.detach()
            raise
    return attachment


def _install(attachment: Attachment) -> None:
    model = attachment.model
    edits: list[Edit] = []
    labels: list[str] = []
    for part in attachment.method.parts:
        found = list(part.edits(model, attachment.sites))
        label = type(part).__name__
        label += str(labels.count(label) + 1) if label in labels else ""
        for edit in found:
            attachment.own(edit, label)
        labels.append(label)
        edits += found
    attachment.edits = tuple(edits)
    by_site: dict[str, list[Reweight]] = {}
    for edit in edits:
        if isinstance(edit, Reweight):
            by_site.setdefault(edit.site.path, []).append(edit)
        elif isinstance(edit, Rewire):
            _hook(attachment, edit)
    for group in by_site.values():
        attachment.compute(group[0].site, [e.delta for e in group])
    trained = {n for e in edits if isinstance(e, Train) for n in e.names}
    for path, module in model.named_modules():
        # Statistics of a frozen BatchNorm must not drift: it stays in eval mode, unless the method
        # trains them (Full).
        moves = f"{path}.running_mean" in trained
        if has_statistics(module) and not moves and path not in by_site:
            compute(module, [])
            attachment.frozen_statistics.append(module)


def _hook(attachment: Attachment, edit: Rewire) -> None:
    model, adapter = attachment.model, edit.adapter
    for site in filter(None, (edit.site, edit.source)):
        if not site.called:
            raise InputError(
                f"{attachment.method!r} cannot stand at {site.path}: {type(model).__name__} reads "
                "its tensors itself and never calls it, so an adapter there would never run"
            )
    module = model.get_submodule(edit.site.path)
    handles = attachment.handles.setdefault(adapter, [])
    if edit.source is not None:
        source = model.get_submodule(edit.source.path)
        handles.append(source.register_forward_pre_hook(adapter.on_source))
    handles.append(module.register_forward_pre_hook(adapter.on_enter))
    handles.append(module.register_forward_hook(adapter.on_leave))


def _dry_run(attachment: Attachment, example: Tensor) -> None:
    """One forward and backward pass; refuse what gets no gradient (None; zero is normal)."""
    model = attachment.model
    tensors = {n: t for n, t in attachment.named_tensors().items() if t.requires_grad}
    modes = [(m, m.training) for m in model.modules()]
    try:
        with torch.enable_grad():
            output = _first_output(attachment, example)
            assert output is not None
            # No symmetric function of the logits: a plain sum has zero slope in some directions.
            weights = torch.linspace(-1.0, 2.0, output.shape[-1], device=output.device)
            grads = torch.autograd.grad(
                (output.float() * weights).sum(), list(tensors.values()), allow_unused=True
            )
    finally:
        for module, mode in modes:
            module.training = mode
    missed = [name for name, grad in zip(tensors, grads, strict=True) if grad is None]
    dead = [n for n in missed if n not in attachment.base_names]
    if dead:
        raise InputError(
            f"{attachment.method!r} on {type(model).__name__}: no gradient reaches {dead[0]}"
            f"{f' and {len(dead) - 1} more' if len(dead) > 1 else ''}; the forward pass never uses "
            "it. Restrict the method's sites to those of `foldtune sites` that are in use"
        )
    if missed:
        attachment.leave_frozen(missed)
        log.warning("left frozen, the forward pass never uses them: %s", ", ".join(missed))
    _warn_of_lost_dropout(attachment)


def _first_output(attachment: Attachment, example: Tensor) -> Tensor | None:
    try:
        return first_tensor(attachment.model.eval()(example))
    except RuntimeError as error:
        if attachment.interpolates:
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{attachment.method!r} cannot be attached to {type(attachment.model).__name__}: it "
            f"does not take another number of tokens ({reason})"
        ) from error


def _warn_of_lost_dropout(attachment: Attachment) -> None:
    lost = [
        e.site.path
        for e in attachment.edits
        if isinstance(e, Reweight) and not e.site.called and getattr(e.delta, "dropout", None)
    ]
    if lost:
        warnings.warn(
            f"dropout of {attachment.method!r} has no effect at {lost[0]} and {len(lost) - 1} "
            "more: the host reads these weights itself, and dropout is no function of a weight",
            stacklevel=3,
        )


def _example(model: nn.Module, example: Tensor | None) -> Tensor:
    parameter = next(model.parameters())
    if example is None:
        size = (getattr(model, "pretrained_cfg", None) or {}).get("input_size")
        if size is None:
            raise InputError(
                f"{type(model).__name__} does not say its input size; give "
                "attach(..., example=images) with a small batch (B, 3, H, W)"
            )
        example = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    return example.to(parameter.device, parameter.dtype)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
