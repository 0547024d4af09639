"""A PEFT adapter folder as an attachment of ours, with equal logits, or a refusal that says why.

PEFT itself is not needed, and nothing is executed from the folder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from foldtune.backbones.backbone import Backbone
from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.edits import Reweight
from foldtune.core.method import Method
from foldtune.core.structure.head import find_head
from foldtune.core.tuningfile import check_base
from foldtune.errors import InputError
from foldtune.interop.peft_folder import PeftAdapter, read_adapter
from foldtune.interop.peft_held import (
    check_places,
    fill_held,
    held_type,
    method_of,
    paths_of,
)
from foldtune.interop.peft_method import method_for, name_by_roles
from foldtune.interop.peft_options import layer_settings
from foldtune.interop.peft_tensors import (
    GAIN,
    INPUT,
    OUTPUT,
    A,
    B,
    Layer,
    check_layer,
    fill,
)
from foldtune.methods.catalogue import parse
from foldtune.methods.hf_peft.held import Held, shape_of
from foldtune.methods.linear_probe import LinearProbe


def from_peft(
    source: str | Path | PeftAdapter,
    model: nn.Module | Backbone,
    *,
    example: Tensor | None = None,
    head: str | Sequence[str] | None = None,
) -> Attachment:
    """Attach the adapter in a folder to `model`, in place, with the logits that PEFT computes.

    model: the backbone that the adapter was made for, classifier aside. example, head: as for
    `attach`. The method is LoRA, DoRA, IA3 or LayerNorm (with BitFit where PEFT trained biases, or
    the very method where foldtune wrote the folder); save the attachment as any other.

    Raises InputError, with the model as it was, for another backbone, naming the first difference,
    and for what has no equal here: layers that PEFT wraps without effect, modules saved whole.
    """
    adapter = source if isinstance(source, PeftAdapter) else read_adapter(source)
    if not isinstance(model, nn.Module):
        example = model.example() if example is None else example
        model = model.model
    head = head or adapter.header.get("head")
    heads = (head,) if isinstance(head, str) else tuple(head or find_head(model))
    _refuse_absent(adapter, model, heads)
    layers = _layers(adapter, model)
    of_head = {path: layers.pop(path) for path in heads if path in layers}
    classes = _new_classes(adapter, model, heads[0])
    method = _method(adapter, model, layers, heads, example, classes)
    attachment = attach(model, method, example=example, num_classes=classes, head=heads, seed=0)
    try:
        if adapter.header:
            check_base(adapter.header, attachment)
        _load(attachment, adapter, layers, of_head)
        if classes is not None:
            attachment.classifier.recall({})  # PEFT does not keep where a new classifier started
    except BaseException:
        attachment.detach()
        raise
    return attachment


def _layers(adapter: PeftAdapter, model: nn.Module) -> dict[str, Layer]:
    """The wrapped layers without the axes of convolutions, with scale and side of the gain."""
    modules = dict(model.named_modules())
    layers: dict[str, Layer] = {}
    for path, stored in adapter.parts.items():
        weight = getattr(modules.get(path), "weight", None)
        if weight is None:
            raise InputError(
                f"the adapter in {adapter.folder} was made for {adapter.base or 'another model'}; "
                f"the first difference is {path}, which {type(model).__name__} does not have"
            )
        if (A in stored) != (B in stored):
            raise InputError(f"{adapter.folder} is damaged: {path} has one of {A} and {B}")
        if any(stored[n].ndim < 2 for n in (A, B) if n in stored):
            raise InputError(f"{adapter.folder} is damaged: {A} or {B} of {path} is no matrix")
        tensors = {n: t.flatten(1) if n in (A, B) else t.flatten() for n, t in stored.items()}
        rank = tensors[A].shape[0] if A in tensors else 1
        if not rank:
            raise InputError(f"{adapter.folder} is damaged: {A} of {path} is empty")
        scale, dropout, on_input = layer_settings(adapter.config, path, rank)
        if GAIN in tensors:
            tensors[INPUT if on_input else OUTPUT] = tensors.pop(GAIN)
        layers[path] = Layer(tensors, scale, dropout)
    return layers


def _refuse_absent(adapter: PeftAdapter, model: nn.Module, heads: Sequence[str]) -> None:
    """Refuse a classifier that the model does not have; a note may name any."""
    known = {name for name, _ in model.named_modules()}
    absent = next((path for path in heads if path not in known), None)
    if absent is not None:
        raise InputError(
            f"the adapter in {adapter.folder} names the classifier {absent!r}, which "
            f"{type(model).__name__} does not have"
        )


def _new_classes(adapter: PeftAdapter, model: nn.Module, head: str) -> int | None:
    """The number of classes, where the adapter's classifier has another shape than the model's."""
    stored = adapter.plain.get(f"{head}.weight")
    here = getattr(model.get_submodule(head), "weight", None)
    if stored is None or (here is not None and here.shape == stored.shape):
        return None
    # Before a classifier is made for it: a vector of a million entries is no million classes.
    if stored.ndim < 2 or (here is not None and here.shape[1:] != stored.shape[1:]):
        raise InputError(
            f"{adapter.folder} does not fit: its classifier {head}.weight is "
            f"{tuple(stored.shape)}, the model's {'absent' if here is None else tuple(here.shape)}"
        )
    return stored.shape[0]


def _method(
    adapter: PeftAdapter,
    model: nn.Module,
    layers: Mapping[str, Layer],
    heads: tuple[str, ...],
    example: Tensor | None,
    classes: int | None,
) -> Method:
    probe = attach(model, LinearProbe(), example=example, num_classes=classes, head=heads, seed=0)
    sites = probe.sites
    probe.detach()
    by_path = {site.path: site for site in sites if site.weight}
    for path in layers:
        if path not in by_path:
            raise InputError(f"the adapter changes {path}, which is no site of `foldtune sites`")
        check_layer(model, by_path[path])
    kind = held_type(adapter.config["peft_type"])
    paths = [] if kind is None else paths_of(kind, adapter.config, adapter.held, model)
    check_places(model, by_path, paths)
    if adapter.header:
        return parse(adapter.header["method"])
    held = None
    if kind is not None:
        state = model.state_dict()
        shapes = [shape_of(state[f"{path}.weight"]) for path in paths]
        held = method_of(kind, adapter.config, name_by_roles(paths, sites), shapes, adapter.held)
    inside = tuple(f"{path}." for path in heads)
    trained = [name for name in adapter.plain if not name.startswith(inside)]
    return method_for(model, layers, trained, sites, held)


def _load(
    attachment: Attachment,
    adapter: PeftAdapter,
    layers: Mapping[str, Layer],
    of_head: Mapping[str, Layer],
) -> None:
    tensors = {name: t.detach().clone() for name, t in attachment.named_tensors().items()}
    state = attachment.model.state_dict()
    for name, stored in adapter.plain.items():
        if name in tensors:
            tensors[name] = stored
        elif name not in state or not torch.equal(stored.to(state[name]), state[name]):
            raise InputError(
                f"cannot read {adapter.folder}: it moves {name}, which {attachment.method!r} does "
                "not train; no method here trains just that"
            )
    for path, layer in of_head.items():
        if A not in layer.tensors or len(layer.tensors) > 2:
            raise InputError(f"cannot read {adapter.folder}: of the classifier only LoRA is read")
        moved = layer.scale * layer.tensors[B] @ layer.tensors[A]
        tensors[f"{path}.weight"] = tensors[f"{path}.weight"] + moved.to(tensors[f"{path}.weight"])
    attachment.load_tensors(tensors)
    fill_held(attachment, adapter.held, str(adapter.folder))
    left = dict(layers)
    for edit in attachment.edits:
        if isinstance(edit, Reweight) and not isinstance(edit.delta, Held):
            if edit.site.path not in left:
                raise InputError(
                    f"the adapter in {adapter.folder} holds nothing for {edit.site.path}, which "
                    f"{attachment.method!r} changes; it is damaged"
                )
            fill(edit.delta, left.pop(edit.site.path), edit.site.path)
    if left:
        raise InputError(
            f"{attachment.method!r} has no place for the adapter at {next(iter(left))}"
        )
