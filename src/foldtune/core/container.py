"""The module that an attachment adds to its host, and what it does when the host is loaded into."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from foldtune.core.classifier import Classifier
from foldtune.core.compute.delta import Delta
from foldtune.core.compute.lean import ask_once, forget, is_recorded, is_traced, was_found
from foldtune.core.tensors import whole, write
from foldtune.errors import InputError

# The one attribute, and prefix of keys, that an attachment adds to its host.
CONTAINER = "foldtune"


class Container(nn.Module):
    """Holds the method's own tensors; and, not as state, where base tensors that train started."""

    def __init__(self, originals: dict[str, Tensor], classifier: Classifier) -> None:
        super().__init__()
        self.originals = originals
        self.classifier = classifier

    # Bound methods serve as hooks of the host: they survive deepcopy and pickle.
    def on_enter(self, _host: nn.Module, _args: Any) -> None:
        """Ask for all deltas at once what each would wait for the device to know."""
        if not torch.is_grad_enabled():
            return
        if not is_traced():
            self.ask()
        elif torch.compiler.is_compiling() or not is_recorded():
            for delta in self._asking():
                delta.divides = None

    def on_leave(self, _host: nn.Module, _args: Any, _output: Any) -> None:
        """What was asked holds for this pass alone."""
        if not is_traced():
            forget()

    def ask(self) -> tuple[bool | None, ...]:
        """Ask now, with one wait for the device; whether each of those deltas may divide.

        The answer stays beyond the pass, for what is recorded and for blocks computed again.
        """
        deltas = self._asking()
        ask_once({id(delta): delta.divisors() for delta in deltas})
        for delta in deltas:
            delta.divides = was_found(id(delta))
        return tuple(delta.divides for delta in deltas)

    def _asking(self) -> list[Delta]:
        return [m for m in self.children() if isinstance(m, Delta) and m.lean and m.divisors()]


def ask_once_a_pass(model: nn.Module, container: Container) -> list[RemovableHandle]:
    """Hooks that ask once, at the start of a pass, what each delta would wait for the device to
    know; none where fewer than two ask."""
    if sum(bool(m.divisors()) for m in container.children() if isinstance(m, Delta)) < 2:
        return []
    return [
        model.register_forward_pre_hook(container.on_enter),
        model.register_forward_hook(container.on_leave),
    ]


def follow_loading(model: nn.Module) -> RemovableHandle:
    """Keep what `detach` and `paused` go back to in step with `model.load_state_dict`.

    A state whose frozen tensors are other ones is another backbone: a plain one is the new start of
    what trains in place. Of a tuned one that start is not known, and it is refused unless nothing
    of the base trains.
    """
    handle: RemovableHandle = model.register_load_state_dict_pre_hook(_on_load)
    return handle


def _on_load(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    container = model._modules.get(CONTAINER)
    if not isinstance(container, Container) or not _is_another_backbone(model, state, prefix):
        return
    classifier, originals = container.classifier, container.originals
    tuned = any(key.startswith(f"{prefix}{CONTAINER}.") for key in state)
    kept_head = not classifier.old
    if tuned and (originals or kept_head):
        raise InputError(
            "this state is a tuned model's of another backbone, and does not tell where "
            f"{next(iter(originals), classifier.names[0])} started; load the plain backbone, "
            "attach, and load the state then"
        )
    if tuned:
        classifier.start_known = False
        return
    starts = originals | (classifier.start if kept_head else {})
    for path, module in classifier.old.items():
        starts |= {f"{path}.{name}": p for name, p in module.named_parameters()}
    for name, start in starts.items():
        value = state.get(prefix + name)
        if value is not None and value.shape == start.shape:
            write(start, whole(value).to(start.device, start.dtype))


@torch.no_grad()
def _is_another_backbone(model: nn.Module, state: dict[str, Tensor], prefix: str) -> bool:
    """Whether a tensor that no training moves is another one in `state`."""
    for name, p in model.named_parameters():
        value = state.get(prefix + name)
        if p.requires_grad or value is None or value.shape != p.shape or p.is_meta:
            continue
        here = whole(p)
        if not torch.equal(whole(value).to(here.device, here.dtype), here):
            return True
    return False


def refuse_plain_saving(model: nn.Module) -> None:
    """Let `save_pretrained` of a transformers model say that it would lose the tuning.

    transformers 5 renames keys by patterns on saving, those of the tuning among them, and what it
    reloads leaves every tensor of the method at its start, without a word.
    """
    if any(c.__module__.startswith("transformers.") for c in type(model).__mro__):
        name = type(model).__name__
        model.__dict__["save_pretrained"] = functools.partial(_refuse_saving, name)


def allow_plain_saving(model: nn.Module) -> None:
    """Undo `refuse_plain_saving`."""
    model.__dict__.pop("save_pretrained", None)


def _refuse_saving(name: str, *_: Any, **__: Any) -> None:
    raise InputError(
        f"save_pretrained of {name} would rename the tuning's tensors and lose them on reloading; "
        "foldtune.save(attachment, path) keeps them, or merge() first. Under Trainer see "
        "docs/own-loop.md"
    )
