"""What every method promises, a function a promise: each takes a method and a host, and raises
AssertionError where the promise is broken."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.compute.folding import effective
from foldtune.core.container import CONTAINER
from foldtune.core.edits import Reweight
from foldtune.core.merging import RETAINED
from foldtune.core.method import Method, written_out
from foldtune.core.structure.probe import probe
from foldtune.core.tuningfile import check_base, read, save
from foldtune.errors import InputError
from foldtune.methods.catalogue import parse
from foldtune.testing.hosts import CLASSES
from foldtune.training.speed.blocks import many_graphs, repeated_blocks

# Float64 on purpose: what is equal in exact arithmetic must agree far below any real difference.
CLOSE = 1e-10

Check = Callable[[Method, nn.Module, Tensor], None]


def check_repr_rebuilds(method: Method, model: nn.Module, x: Tensor) -> None:
    """`parse(repr(method))` and the long form in files give the method back."""
    assert parse(repr(method)) == method
    assert parse(written_out(method)) == method


def check_base_is_kept(method: Method, model: nn.Module, x: Tensor) -> None:
    """Every base key keeps its name, order and value."""
    before = _snapshot(model)
    attach(model, method, example=x, seed=0)
    after = {k: v for k, v in model.state_dict().items() if not k.startswith(CONTAINER)}
    _assert_same(before, after)


def check_start(method: Method, model: nn.Module, x: Tensor) -> None:
    """The output does not change on attaching, unless the method says that it does."""
    before = model(x)
    attach(model, method, example=x, seed=0)
    if method.starts_as_identity:
        assert _distance(model(x), before) < CLOSE


def check_every_tensor_is_reached(method: Method, model: nn.Module, x: Tensor) -> None:
    """A training loss gives every trainable tensor a gradient."""
    attachment = attach(model, method, example=x, seed=0)
    model.train()
    F.cross_entropy(_tensor(model(x)), torch.tensor([0, 1])).backward()
    missed = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missed, f"no gradient: {missed}"
    assert attachment.parameters()


def check_only_the_tuning_moves(method: Method, model: nn.Module, x: Tensor) -> None:
    """After a training step, buffers included, nothing differs but what the tuning owns."""
    before = _snapshot(model)
    attachment = attach(model, method, example=x, seed=0)
    _train_a_little(attachment, x)
    owned = {*attachment.named_tensors()}
    state = model.state_dict()
    moved = [k for k, v in before.items() if k not in owned and not torch.equal(v, state[k])]
    assert not moved, f"moved: {moved}"
    assert any(not torch.equal(v, state[k]) for k, v in before.items() if k in owned)


def check_call_equals_fold(method: Method, model: nn.Module, x: Tensor) -> None:
    """A delta's cheaper `call` computes what its `fold` says."""
    attachment = _attach_and_move(method, model, x)
    seen = probe(model, x)
    for edit in attachment.edits:
        if isinstance(edit, Reweight) and edit.delta.call is not None and edit.site.called:
            module = model.get_submodule(edit.site.path)
            given, (w, b) = seen[edit.site.path].inputs, effective(module)
            if isinstance(module, nn.Conv2d):
                folded = module._conv_forward(given, w, b)
            else:
                folded = F.linear(given, w, b)
            assert _distance(module(given), folded) < CLOSE, edit.site.path


def check_merge(method: Method, model: nn.Module, x: Tensor) -> None:
    """Merging keeps the output and leaves the plain keys, and what it says it retains; or it
    refuses and names why."""
    keys = list(model.state_dict())
    classes = [type(m) for m in model.modules()]
    attachment = _attach_and_move(method, model, x)
    before = model(x)
    if not attachment.mergeable:
        try:
            attachment.merge()
        except InputError:
            assert torch.equal(model(x), before)
            return
        raise AssertionError("a method with a side network was merged")
    merged = attachment.merge()
    assert _distance(merged(x), before) < CLOSE
    assert list(merged.state_dict()) == [*keys, *attachment.retained]
    kept = [type(m) for n, m in merged.named_modules() if not n.startswith(RETAINED)]
    assert kept == classes
    assert torch.equal(pickle.loads(pickle.dumps(merged))(x), merged(x))


def check_detach(method: Method, model: nn.Module, x: Tensor) -> None:
    """Detaching gives the model back bitwise: values, key order, classes, repr, flags, hooks."""
    model.train()
    before, drawn = _snapshot(model), repr(model)
    flags = [(n, p.requires_grad) for n, p in model.named_parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()]
    attachment = attach(model, method, example=x, num_classes=CLASSES + 2, seed=0)
    _train_a_little(attachment, x)
    model.train()
    attachment.detach()
    _assert_same(before, model.state_dict())
    assert repr(model) == drawn
    assert [(n, p.requires_grad) for n, p in model.named_parameters()] == flags
    assert [m.training for m in model.modules()] == modes
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()] == hooks


def check_deepcopy_is_independent(method: Method, model: nn.Module, x: Tensor) -> None:
    """A deepcopy agrees, and neither training nor merging it touches the original."""
    attachment = _attach_and_move(method, model, x)
    before = model(x)
    twin = copy.deepcopy(attachment)
    assert torch.equal(twin.model(x), before)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.1)
    assert _distance(twin.model(x), before) > 0
    assert torch.equal(model(x), before)
    twin.detach()
    assert torch.equal(model(x), before)


def check_pickle(method: Method, model: nn.Module, x: Tensor) -> None:
    """A pickled and restored model agrees."""
    _attach_and_move(method, model, x)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def check_compile(method: Method, model: nn.Module, x: Tensor) -> None:
    """`torch.compile(fullgraph=True)` captures one graph that agrees, forward and backward, and a
    model whose blocks are compiled by themselves agrees, as a training with `compile` has them."""
    attachment = _attach_and_move(method, model, x)
    parameters = attachment.parameters()
    eager = model(x)
    eager_grads = torch.autograd.grad(eager.square().sum(), parameters)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")(x)
    assert _distance(compiled, eager) < CLOSE
    grads = torch.autograd.grad(compiled.square().sum(), parameters)
    for p, q in zip(eager_grads, grads, strict=True):
        assert _distance(p, q) < 1e-8  # sums over many elements, in another order
    with many_graphs():
        for block in repeated_blocks(model):
            block.compile(dynamic=False, backend="eager")
        assert _distance(model(x), eager) < CLOSE


def check_export(method: Method, model: nn.Module, x: Tensor) -> None:
    """`torch.export` agrees."""
    _attach_and_move(method, model, x)
    model.requires_grad_(False)
    exported = torch.export.export(model, (x,), strict=False).module()
    assert _distance(exported(x), model(x)) < CLOSE


def check_save_and_load(method: Method, model: nn.Module, x: Tensor) -> None:
    """A saved tuning, loaded onto a fresh copy of the base, gives the same output."""
    fresh = copy.deepcopy(model)
    attachment = _attach_and_move(method, model, x)
    with tempfile.TemporaryDirectory() as folder:
        header, tensors = read(save(attachment, Path(folder) / "t.safetensors"))
    again = attach(fresh, parse(header["method"]), example=x, num_classes=header["num_classes"])
    check_base(header, again)
    again.load_tensors(tensors)
    assert torch.equal(fresh(x), model(x))


def check_interpolation(method: Method, model: nn.Module, x: Tensor) -> None:
    """Alpha 0 is the start, 1 the tuned model, paused the base; and all of it is undone."""
    base = model(x)
    attachment = _attach_and_move(method, model, x, CLASSES + 1)
    tuned = model(x)
    with attachment.interpolated(1.0):
        assert torch.equal(model(x), tuned)
    with attachment.interpolated(0.0, head_alpha=1.0):
        assert _distance(model(x), tuned) > 0 or not attachment.trainable
    with attachment.paused():
        # Bitwise in the weights; another attention kernel may run where nothing needs gradients.
        assert _distance(model(x), base) < CLOSE
    assert torch.equal(model(x), tuned)


def _attach_and_move(
    method: Method, model: nn.Module, x: Tensor, num_classes: int | None = None
) -> Attachment:
    """Attached, with every trainable tensor moved, in eval mode."""
    attachment = attach(model, method, example=x, num_classes=num_classes, seed=0)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.05)
    model.eval()
    return attachment


def _train_a_little(attachment: Attachment, x: Tensor) -> None:
    model = attachment.model.train()
    optimizer = torch.optim.SGD(attachment.parameters(), lr=0.1)
    F.cross_entropy(_tensor(model(x)), torch.tensor([0, 1])).backward()
    optimizer.step()
    model.eval()


def _tensor(output: Tensor) -> Tensor:
    output = getattr(output, "logits", output)
    return output[0] if isinstance(output, tuple) else output


def _snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def _assert_same(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert list(before) == list(after), "keys or their order changed"
    changed = [k for k in before if not torch.equal(before[k], after[k])]
    assert not changed, f"values changed: {changed}"


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())
