"""The hooks that an attachment puts on its host, and takes along when it leaves."""

from __future__ import annotations

from torch import Tensor, nn

from foldtune.core.attachment import Attachment
from foldtune.core.edits import Rewire
from foldtune.errors import InputError


def guard_group_norms(attachment: Attachment) -> None:
    """Keep torch from crashing in the backward pass of a trained GroupNorm on frozen maps.

    Seen with torch 2.13 on the CPU: where the maps are stored channels-last and need no gradient
    themselves, the kernel writes to a null pointer. Standing before it, the maps are made
    contiguous; AS-MLP's and PoolFormer's norms are GroupNorms.
    """
    for module in attachment.model.modules():
        if isinstance(module, nn.GroupNorm) and any(p.requires_grad for p in module.parameters()):
            handle = module.register_forward_pre_hook(_contiguous)
            attachment.guards.append(handle)


def _contiguous(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    x = args[0]
    return None if x.requires_grad or x.device.type != "cpu" else (x.contiguous(), *args[1:])


def hook(attachment: Attachment, edit: Rewire) -> None:
    """Install a side network around its module; refuse one that the host never calls."""
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
        if adapter.sees_output:
            handles.append(source.register_forward_hook(adapter.on_source_output))
        else:
            handles.append(source.register_forward_pre_hook(adapter.on_source, with_kwargs=True))
    handles.append(module.register_forward_pre_hook(adapter.on_enter, with_kwargs=True))
    handles.append(module.register_forward_hook(adapter.on_leave, with_kwargs=True))
