"""Further situations: compilers, and the libraries that wrap a model for training."""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

from foldtune.core.attach import attach
from foldtune.core.method import Method
from foldtune.core.tensorfile import hash_tensors
from foldtune.core.tensors import whole
from foldtune.testing.tuned import Situation, attach_and_move, gradients, near, output


def compiled_after(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.compile(fullgraph=True) after attach, at three batch sizes"""
    attach_and_move(method, model, x)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager", dynamic=True)
    for images in (x, torch.cat([x, x[:1]]), torch.cat([x, x, x])):
        near(output(compiled, images), output(model, images))


def compiled_before(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.compile before attach"""
    attach_and_move(method, torch.compile(model, backend="eager"), x)  # type: ignore[arg-type]
    raise AssertionError("a compiled model was taken")


def compiled_in_place_before(method: Method, model: nn.Module, x: Tensor) -> None:
    """model.compile() before attach"""
    model.compile(backend="eager")
    attach_and_move(method, model, x)
    raise AssertionError("a compiled model was taken")


def compiled_then_detached(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.compile after attach, then detach"""
    before = output(model, x)
    attachment = attach_and_move(method, model, x)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    near(output(compiled, x), output(model, x))
    attachment.detach()
    near(output(compiled, x), before)


def exported(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.export with a dynamic batch"""
    attach_and_move(method, model, x)
    model.requires_grad_(False)
    shapes = ({0: torch.export.Dim("batch", min=1, max=1 << 20)},)
    given = torch.cat([x, x[:1]])
    made = torch.export.export(model, (given,), dynamic_shapes=shapes, strict=False).module()
    for images in (x, torch.cat([x, x, x])):
        near(output(made, images), output(model, images))


def traced(method: Method, model: nn.Module, x: Tensor) -> None:
    """torch.jit.trace"""
    attach_and_move(method, model, x)
    with torch.no_grad():
        made = torch.jit.trace(model, x)
        near(output(made, x.flip(0)), output(model, x.flip(0)))


@contextlib.contextmanager
def one_process() -> Iterator[None]:
    """A process group of one, unless there is a group already, for a situation of GROUPED."""
    if dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        dist.destroy_process_group()


def in_ddp(method: Method, model: nn.Module, x: Tensor) -> None:
    """DistributedDataParallel"""
    attachment = attach_and_move(method, model, x)
    plainly = gradients(attachment, x)
    wrapped = nn.parallel.DistributedDataParallel(model)
    output(wrapped, x).square().sum().backward()
    for p, grad in zip(attachment.parameters(), plainly, strict=True):
        assert p.grad is not None
        near(p.grad, grad)


def sharded_after(method: Method, model: nn.Module, x: Tensor) -> None:
    """fully_shard (FSDP2) after attach: a step, the tuning, pause, merge or detach"""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    plain = copy.deepcopy(model)
    attachment, alone = attach_and_move(method, model, x), attach_and_move(method, plain, x)
    trainable = [n for n, p in plain.named_parameters() if p.requires_grad]
    for site in attachment.sites:
        if site.role == "block":
            fully_shard(model.get_submodule(site.path))
    fully_shard(model)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == trainable
    assert all(isinstance(p, DTensor) for p in model.parameters())
    near(output(model, x), output(plain, x))  # a pass without a backward one: gathered still
    for one in (attachment, alone):
        optimizer = torch.optim.SGD(one.parameters(), lr=0.01)
        output(one.model, x).square().sum().backward()
        optimizer.step()
    near(output(model, x), output(plain, x), 1e-8)
    wanted = alone.named_tensors()
    for name, tensor in attachment.named_tensors().items():
        near(whole(tensor), wanted[name], 1e-8)
    assert hash_tensors(attachment.base_state()) == hash_tensors(alone.base_state())
    with attachment.paused(), alone.paused():
        near(output(model, x), output(plain, x))
    if attachment.mergeable:
        near(output(attachment.merge(), x), output(alone.merge(), x), 1e-8)
    else:
        near(output(attachment.detach(), x), output(alone.detach(), x))


def sharded_before(method: Method, model: nn.Module, x: Tensor) -> None:
    """fully_shard before attach"""
    from torch.distributed.fsdp import fully_shard

    fully_shard(model)
    attach_and_move(method, model, x)
    raise AssertionError("a sharded model was taken")


def accelerated(method: Method, model: nn.Module, x: Tensor) -> None:
    """Accelerate: prepare, save_state, load_state"""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    attachment = attach_and_move(method, model, x)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.SGD(attachment.parameters(), lr=0.01)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    accelerator.backward(output(wrapped, x).square().sum())
    optimizer.step()
    after = output(wrapped, x)
    with tempfile.TemporaryDirectory() as folder:
        accelerator.save_state(folder)
        with torch.no_grad():
            for p in attachment.parameters():
                p.mul_(1.1)
        accelerator.load_state(folder)
    near(output(wrapped, x), after)
    AcceleratorState._reset_state(reset_partial_state=True)


def grouped_by_timm(method: Method, model: nn.Module, x: Tensor) -> None:
    """timm's own optimizer factory on the model"""
    from timm.optim import create_optimizer_v2

    attachment = attach(model, method, example=x, seed=0)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.01, weight_decay=0.1)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in attachment.parameters()}


WRAPPED: tuple[Situation, ...] = (
    compiled_after,
    compiled_before,
    compiled_in_place_before,
    compiled_then_detached,
    exported,
    traced,
    in_ddp,
    sharded_after,
    sharded_before,
    accelerated,
    grouped_by_timm,
)
# Those that ask for a process group around them.
GROUPED: tuple[Situation, ...] = (in_ddp, sharded_after, sharded_before)
