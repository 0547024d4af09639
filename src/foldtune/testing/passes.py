"""Situations: forward and backward passes of other kinds."""

from __future__ import annotations

import contextlib
import copy
import threading
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.testing.tuned import CLOSE, Situation, attach_and_move, gradients, near, output


def two_threads(method: Method, model: nn.Module, x: Tensor) -> None:
    """Two threads serve one model"""
    attach_and_move(method, model, x)
    images = [x, x.flip(0) * 0.5]
    wrong: list[int] = []
    with torch.no_grad():
        alone = [output(model, i) for i in images]

    def serve(first: int) -> None:
        with torch.no_grad():
            for n in range(first, first + 10):
                if float((output(model, images[n % 2]) - alone[n % 2]).abs().max()) > CLOSE:
                    wrong.append(n)

    threads = [threading.Thread(target=serve, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, f"{len(wrong)} batches are wrong"


def called_functionally(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.func.functional_call"""
    attach_and_move(method, model, x)
    own = (*model.named_parameters(), *model.named_buffers())  # what is shared, once
    state = {k: v.detach().clone() for k, v in own}
    near(output(lambda i: functional_call(model, state, (i,)), x), output(model, x))


def mapped_over_models(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.func.vmap over two attached models"""
    twin = copy.deepcopy(attach_and_move(method, model, x)).model
    with torch.no_grad():
        for p in twin.parameters():
            if p.requires_grad:
                p.mul_(1.1)
        state: Any = stack_module_state([model, twin])

        def one(parameters: Any, buffers: Any) -> Tensor:
            return output(lambda i: functional_call(model, (parameters, buffers), (i,)), x)

        together = vmap(one, randomness="different")(*state)
        near(together[0], output(model, x))
        near(together[1], output(twin, x))


def _checkpoint_blocks(method: Method, model: nn.Module, x: Tensor, reentrant: bool) -> None:
    attachment = attach_and_move(method, model, x)
    x = x.clone().requires_grad_(reentrant)  # as the reentrant kind asks of every model
    plainly = gradients(attachment, x)
    for site in select(attachment.sites, "block"):
        block = model.get_submodule(site.path)
        inner = block.forward

        def again(*args: Any, inner: Any = inner, **kwargs: Any) -> Any:
            return checkpoint(partial(inner, **kwargs), *args, use_reentrant=reentrant)

        block.forward = again
    loss = output(model, x).square().sum()
    loss.backward()
    for p, grad in zip(attachment.parameters(), plainly, strict=True):
        assert p.grad is not None, "a tensor gets no gradient"
        near(p.grad, grad)


def checkpointed(method: Method, model: nn.Module, x: Tensor) -> None:
    """Activation checkpointing of the blocks"""
    _checkpoint_blocks(method, model, x, reentrant=False)


def checkpointed_reentrantly(method: Method, model: nn.Module, x: Tensor) -> None:
    """The same, reentrant (images that require a gradient)"""
    _checkpoint_blocks(method, model, x, reentrant=True)


def hooks_read_what_is_stored(method: Method, model: nn.Module, x: Tensor) -> None:
    """Hooks that read weights, forward and backward"""
    attachment = attach_and_move(method, model, x)

    def look(module: nn.Module, *_: Any) -> None:
        for name, p in module._parameters.items():
            assert getattr(module, name) is p, f"{name} is not the stored one"

    for module in model.modules():
        module.register_forward_pre_hook(look)
        module.register_forward_hook(look)
        module.register_full_backward_hook(look)
    gradients(attachment, x.clone().requires_grad_())


def raised_inside(method: Method, model: nn.Module, x: Tensor) -> None:
    """An error inside a forward pass"""
    attachment = attach_and_move(method, model, x)
    before = output(model, x)
    block = select(attachment.sites, "block")[-1]

    def fail(*_: Any) -> None:
        raise KeyError("on purpose")

    for module in list(model.get_submodule(block.path).modules()):
        handle = module.register_forward_pre_hook(fail)
        with contextlib.suppress(KeyError):
            model(x)
        handle.remove()
    near(output(model, x), before)


def in_inference_mode(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.inference_mode"""
    attach_and_move(method, model, x)
    before = output(model, x)
    with torch.inference_mode():
        near(output(model, x), before)


def in_bfloat16(method: Method, model: nn.Module, x: Tensor) -> None:
    """model.bfloat16() after attach"""
    attach_and_move(method, model, x, by=0.01)
    before = output(model, x)
    half = output(model.bfloat16(), x.bfloat16()).double()
    near(half / before.abs().max(), before / before.abs().max(), 0.1)


def under_autocast(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.autocast"""
    attachment = attach_and_move(method, model.float(), x.float(), by=0.01)
    before = output(model, x.float())
    with torch.autocast("cpu", torch.bfloat16):
        half = output(model, x.float())
        assert all(torch.isfinite(g).all() for g in gradients(attachment, x.float()))
    near(half.float() / before.abs().max(), before / before.abs().max(), 0.1)


def accumulated(method: Method, model: nn.Module, x: Tensor) -> None:
    """Gradients accumulated over parts of a batch"""
    attachment = attach_and_move(method, model, x)
    whole = gradients(attachment, x)
    for part in x.split(1):
        output(model, part).square().sum().backward()
    for p, grad in zip(attachment.parameters(), whole, strict=True):
        assert p.grad is not None
        near(p.grad, grad, 1e-8)  # sums in another order


PASSES: tuple[Situation, ...] = (
    two_threads,
    called_functionally,
    mapped_over_models,
    checkpointed,
    checkpointed_reentrantly,
    hooks_read_what_is_stored,
    raised_inside,
    in_inference_mode,
    in_bfloat16,
    under_autocast,
    accumulated,
)
