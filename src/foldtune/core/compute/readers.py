"""Who may read a computed tensor folded: the forward pass of a module that reads it, nobody else.

A reader's `forward` opens the windows of the modules whose tensors it reads, in its own thread and
for as long as it runs. Which modules are readers is found by watching forward passes (`watching`).
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

# Attribute of a reader: the windows that its forward opens.
OPENS = "_foldtune_opens"


class Window:
    """Open while a reader of one computed module is inside its forward.

    A plain object, which reader and module share: a deepcopy or pickle of both keeps the pair.
    """


class _Thread(threading.local):
    """What goes on in this thread. Tuples of plain attributes: dynamo traces these, and refuses
    a ContextVar."""

    open: tuple[Window, ...] = ()
    watcher: Callable[[nn.Module], None] | None = None


_thread = _Thread()


def reads_folded(module: nn.Module, window: Window) -> bool:
    """Whether a read of the computed `module`, whose window it is, is one of the host's own."""
    if (watcher := _thread.watcher) is not None:
        watcher(module)
        return True
    return any(w is window for w in _thread.open) or _recomputing()


def opening(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The host's `forward`, with the windows of OPENS open while it runs."""

    @functools.wraps(forward)
    def reading(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        before = _thread.open
        _thread.open = before + self.__dict__[OPENS]
        try:
            return forward(self, *args, **kwargs)
        finally:
            _thread.open = before

    return reading


def _recomputing() -> bool:
    """Whether a checkpoint runs a part of the forward pass again, inside the backward pass.

    Where a host checkpoints a function of its own, no reader's forward is about then. Both kinds of
    checkpoint compute with gradients; a hook that somebody put on the backward pass does not, and
    is shown the stored tensor.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    return bool(torch._C._current_graph_task_id() != -1)


@contextlib.contextmanager
def watching(model: nn.Module) -> Iterator[list[tuple[nn.Module, nn.Module]]]:
    """Inside, every read of a computed module's tensors is folded; collects (reader, read): the
    module whose forward is the innermost to run, and another one whose tensors it reads."""
    running: list[nn.Module] = []
    found: list[tuple[nn.Module, nn.Module]] = []
    inside = {id(m) for m in model.modules()}

    def watch(read: nn.Module) -> None:
        reader = running[-1] if running else read
        if reader is not read and not any(a is reader and b is read for a, b in found):
            found.append((reader, read))

    def enter(module: nn.Module, _args: Any) -> None:
        if _thread.watcher is watch and id(module) in inside:
            running.append(module)

    def leave(module: nn.Module, _args: Any, _output: Any) -> None:
        if _thread.watcher is watch and id(module) in inside:
            running.pop()

    # Hooks of every module, not of each: torch's own encoder layer leaves its fast path, which
    # reads all its children's tensors, where a module inside it carries a hook.
    handles = [
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    ]
    outer = _thread.watcher
    try:
        _thread.watcher = watch
        yield found
    finally:
        _thread.watcher = outer
        for handle in handles:
            handle.remove()
