"""What every method can do on every family of backbones, found by trying.

`probe_pair` attaches one method to one tiny host (`foldtune.testing.hosts`), in float64 or float32,
and tells what came of it. The packaged table (`foldtune/methods/capabilities.json`, shown by
`foldtune methods --json`) holds the result for all pairs; `python benchmarks/capabilities.py`
writes it and `docs/capabilities.md` again, and a test compares it with what is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.compute.folding import effective, stored_tensor
from foldtune.core.edits import Reweight, Train
from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.core.tensors import relative_distance
from foldtune.errors import InputError
from foldtune.methods.catalogue import catalogue, parse
from foldtune.testing.hosts import build_host
from foldtune.training.host import host_logits

# Largest relative error of a merged model's logits that counts as exact.
LIMITS = {torch.float64: 1e-10, torch.float32: 1e-5}
# Sums that compose on the same tensors, beside the single methods.
STACKS = ("SSF() + LoRA(rank=4)", "SSF() + Full()")


@dataclass(frozen=True)
class Cell:
    """One pair of method and family.

    refused: the reason, and then nothing else is told. merges: it folds into the stored tensors.
    blocks: how many of the blocks hold something of the method, "2/2". adds: keys that the merged
    model has beside the plain ones (an affine that stays). moves: the output changes on attaching.
    """

    refused: str = ""
    merges: bool = False
    blocks: str = ""
    adds: int = 0
    moves: bool = False


def own_methods() -> tuple[str, ...]:
    """Every method that is all here with its defaults, and the stacks."""
    return (*_packaged_methods(library=""), *STACKS)


def probed_methods() -> tuple[str, ...]:
    """Every method of the package with its defaults: our own, the stacks, and those whose layers
    are HF PEFT's."""
    return (*own_methods(), *_packaged_methods(library="peft"))


def _packaged_methods(library: str) -> tuple[str, ...]:
    return tuple(
        f"{name}()"
        for name, cls in catalogue().items()
        if cls.__module__.startswith("foldtune.methods.") and cls.library == library
    )


def probe_pair(
    method: Method, host: nn.Module, x: Tensor, *, traced: bool = False
) -> tuple[Cell, float]:
    """The cell of `method` on a copy of `host`, and the relative error of merging (0 if it stays).

    x: images (B, 3, H, W) in the host's dtype. traced: `torch.export` and `torch.compile` as well.
    Raises AssertionError where a trainable tensor gets no gradient in training, an output changes
    on attaching that should not, a merge is not exact, detaching leaves a trace, or a traced model
    disagrees.
    """
    model = copy.deepcopy(host)
    base = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        plain = host_logits(model(x))
    try:
        attachment = attach(model, method, example=x, seed=0)
    except InputError as refusal:
        _check_base(model, base)
        # The reason alone: which methods can instead is what the other cells say.
        return Cell(refused=refusal.args[0]), 0.0
    blocks, exact = _blocks(attachment), LIMITS[x.dtype]
    with torch.no_grad():
        moves = _error(host_logits(model(x)), plain) > exact
    assert not (moves and method.starts_as_identity), f"{method!r} does not start as the identity"
    _check_gradients(attachment, x)
    _move(attachment)
    with torch.no_grad():
        tuned = host_logits(model(x))
    assert _error(tuned, plain) > 0, f"{method!r}: moving every trainable tensor changes nothing"
    if traced:
        _check_traces(model, x)
    twin = copy.deepcopy(attachment)
    _check_base(twin.detach(), base)
    if not attachment.mergeable:
        return Cell(blocks=blocks, moves=moves), 0.0
    kept = set(attachment.retained)
    with torch.no_grad():
        error = _error(host_logits(attachment.merge()(x)), tuned)
    assert error <= exact, f"{method!r}: merging changes the logits by {error:.1e}"
    keys = [k for k in model.state_dict() if k not in kept]
    assert keys == list(base), f"{method!r}: a merged model has other keys than the plain one"
    return Cell(merges=True, blocks=blocks, adds=len(kept), moves=moves), error


def probe_family(
    family: str, methods: tuple[str, ...], dtype: torch.dtype = torch.float64, traced: bool = False
) -> tuple[dict[str, Cell], dict[str, float]]:
    """Cells and merging errors of `methods`, by name, on one family."""
    host, x = build_host(family)
    host, x = host.to(dtype), x.to(dtype)
    cells: dict[str, Cell] = {}
    errors: dict[str, float] = {}
    for name in methods:
        try:
            cells[name], errors[name] = probe_pair(parse(name), host, x, traced=traced)
        except AssertionError as error:
            raise AssertionError(f"{family}: {error}") from error
    return cells, errors


def as_json(cell: Cell) -> dict[str, Any]:
    """The facts of a cell that are not at their default."""
    return {k: v for k, v in asdict(cell).items() if v != getattr(Cell, k)}


def from_json(facts: Mapping[str, Any]) -> Cell:
    """The cell of such facts."""
    return Cell(**facts)


def _blocks(attachment: Attachment) -> str:
    """Blocks that hold an edit, of all."""
    blocks = select(attachment.sites, "block")
    touched: set[int] = set()
    for edit in attachment.edits:
        if isinstance(edit, Train):
            for block in blocks:
                if any(name.startswith(f"{block.path}.") for name in edit.names):
                    touched.add(block.depth)
        else:
            touched.add(edit.site.depth)
    return f"{sum(s.depth in touched for s in blocks)}/{len(blocks)}"


def _check_gradients(attachment: Attachment, x: Tensor) -> None:
    """In training mode, where hosts may take another path than the dry run did."""
    model = attachment.model.train()
    output = model(x)
    logits = output[0] if isinstance(output, tuple) else host_logits(output)
    F.cross_entropy(logits, torch.arange(len(x)), label_smoothing=0.1).backward()
    model.eval()
    distilled = len(attachment.head) > 1  # its second classifier is trained by a teacher alone
    missed = [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and p.grad is None and not (distilled and n in attachment.head_names)
    ]
    assert not missed, f"{attachment.method!r}: no gradient in training reaches {missed}"


def _move(attachment: Attachment) -> None:
    """Every trainable tensor by a twentieth, or by less where a matrix would move by more than its
    own size (FourierFT's numbers count 300 times): rounding is told beside what is usual."""
    generator = torch.Generator().manual_seed(2)
    starts = [p.detach().clone() for p in attachment.parameters()]
    steps = [torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.05 for p in starts]
    size = 1.0
    with torch.no_grad():
        while size == 1.0 or _furthest(attachment) > 1.0:
            for p, start, step in zip(attachment.parameters(), starts, steps, strict=True):
                p.copy_(start + size * step)
            size /= 4


def _furthest(attachment: Attachment) -> float:
    """How far the furthest computed matrix lies from the stored one, over that one."""
    moved = [0.0]
    for edit in attachment.edits:
        if isinstance(edit, Reweight) and edit.site.weight is not None:
            module = attachment.model.get_submodule(edit.site.path)
            weight, _ = effective(module, edit.site.weight, edit.site.bias)
            plain = stored_tensor(module, edit.site.weight)
            assert plain is not None
            moved.append(relative_distance(weight, plain))
    return max(moved)


def _check_traces(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        eager = host_logits(model(x))
        exported = host_logits(torch.export.export(model, (x,), strict=False).module()(x))
        torch.compiler.reset()
        compiled = host_logits(torch.compile(model, fullgraph=True, backend="eager")(x))
    exact = LIMITS[x.dtype]
    assert _error(exported, eager) <= exact, "torch.export disagrees"
    assert _error(compiled, eager) <= exact, "torch.compile disagrees"


def _check_base(model: nn.Module, base: dict[str, Tensor]) -> None:
    state = model.state_dict()
    assert list(state) == list(base), "keys differ after detaching or refusing"
    assert all(torch.equal(v, base[k]) for k, v in state.items()), "values differ after detaching"


def _error(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((a - b).abs().max() / b.abs().max())
