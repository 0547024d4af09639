"""What is tried on a model before an attachment is handed over, and undone on the first failure."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from foldtune.core.attachment import Attachment
from foldtune.core.checks.effects import check_effects
from foldtune.core.checks.shown import Shown
from foldtune.core.compute.computed import keeps_statistics, uses_calls
from foldtune.core.compute.readers import watching
from foldtune.core.edits import Reweight
from foldtune.core.structure.probe import all_tensors, eval_mode, without_trace
from foldtune.core.tensors import check_finite
from foldtune.errors import InputError

HALF = torch.float16  # in which a sum of logits may overflow where a scaled loss does not
log = logging.getLogger("foldtune")


def dry_run(attachment: Attachment, example: Tensor) -> None:
    """Forward and backward as in use and as in training; refuse what gets no gradient (None; zero
    is normal).

    The passes also show which modules read computed tensors, and let them.
    """
    model = attachment.model
    lean = attachment.lean
    tensors = {n: t for n, t in attachment.named_tensors().items() if t.requires_grad}
    with watching(model) as read:
        with eval_mode(model):
            missed = _without_gradient(attachment, example, tensors)
            if attachment.computes:  # another path may run without gradients: torch's own encoder
                with torch.no_grad():
                    model(example)
        _refuse_dead(attachment, missed, "")
        if missed:
            attachment.holdings.leave_frozen(missed)
            log.warning("left frozen, the forward pass never uses them: %s", ", ".join(missed))
        _train_once(attachment, example, {n: t for n, t in tensors.items() if n not in missed})
    attachment.let_read(read)
    check_effects(attachment, example)
    _warn_of_lost_dropout(attachment)
    paths = {module: path for path, module in model.named_modules()}
    readings = tuple((paths[reader], paths[module]) for reader, module in read)
    plainly = lean != attachment.lean
    attachment.shown = Shown(attachment.sites, tuple(missed), plainly, readings)


def take_as_shown(attachment: Attachment, shown: Shown) -> None:
    """Leave the attachment as the dry run of one like it left that."""
    if shown.unused:
        attachment.holdings.leave_frozen(shown.unused)
    if shown.plainly:
        attachment.keep_plainly()
    find = attachment.model.get_submodule
    attachment.let_read([(find(reader), find(module)) for reader, module in shown.readings])
    attachment.shown = shown


def _train_once(attachment: Attachment, example: Tensor, tensors: dict[str, Tensor]) -> None:
    """The same in training mode, where dropout may write over what a layer gave."""
    model = attachment.model
    if len(example) == 1:
        example = example.expand(2, *example.shape[1:])  # a BatchNorm needs two
    missed = list(tensors)
    with training(model), without_trace(model):
        for _ in range(3):  # a host may leave out blocks by chance
            missed = _without_gradient(attachment, example, {n: tensors[n] for n in missed})
            if not missed:
                break
    _refuse_dead(attachment, missed, " in training mode")


def _refuse_dead(attachment: Attachment, missed: Sequence[str], when: str) -> None:
    dead = [n for n in missed if when or n not in attachment.base_names]
    if dead:
        raise InputError(
            f"{attachment.method!r} on {type(attachment.model).__name__}: no gradient reaches "
            f"{dead[0]}{f' and {len(dead) - 1} more' if len(dead) > 1 else ''}{when}; the forward "
            "pass never uses it. Give the method other sites, or take the unused layer out of the "
            "model"
        )


def _without_gradient(
    attachment: Attachment, example: Tensor, tensors: dict[str, Tensor]
) -> list[str]:
    """Names of the tensors that get no gradient."""
    try:
        grads = _gradients(attachment, example, list(tensors.values()))
    except RuntimeError as error:
        # The host writes over what a layer returns (EfficientNet's activations, a dropout).
        if "inplace" not in str(error) or not attachment.keep_plainly():
            raise
        grads = _gradients(attachment, example, list(tensors.values()))
    check_finite(
        {n: g for n, g in zip(tensors, grads, strict=True) if g is not None and g.dtype != HALF},
        f"{attachment.method!r} on {type(attachment.model).__name__}: the gradient",
        "it could not be trained",
    )
    return [name for name, grad in zip(tensors, grads, strict=True) if grad is None]


def _gradients(
    attachment: Attachment, example: Tensor, tensors: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    model = attachment.model
    with torch.enable_grad():
        outputs = [t for t in _outputs(attachment, example) if t.requires_grad]
        if not outputs:
            raise InputError(
                f"{type(model).__name__} cannot be trained: its output is no tensor that depends "
                "on a trainable one (does it run under no_grad?)"
            )
        check_finite(
            {"the output": outputs[0]},
            f"{attachment.method!r} on {type(model).__name__}",
            "before any training: the plain backbone's output is finite",
        )
        return torch.autograd.grad([_loss(t) for t in outputs], tensors, allow_unused=True)


def _loss(output: Tensor) -> Tensor:
    # No symmetric function of the logits: a plain sum has zero slope in some directions.
    weights = torch.linspace(-1.0, 2.0, output.shape[-1], device=output.device)
    return (output.float() * weights).sum()


def _outputs(attachment: Attachment, example: Tensor) -> list[Tensor]:
    try:
        return all_tensors(attachment.model(example))
    except RuntimeError as error:
        if attachment.interpolates:
            raise
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{attachment.method!r} cannot be attached to {type(attachment.model).__name__}: it "
            f"does not take another number of tokens ({reason})"
        ) from error


@contextlib.contextmanager
def training(model: nn.Module) -> Iterator[None]:
    """Inside, every module is in training mode but for those whose statistics are held; after, each
    is in the mode that it was in."""
    modes = [(m, m.training) for m in model.modules()]
    try:
        for module, _ in modes:
            module.training = not keeps_statistics(module)
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _warn_of_lost_dropout(attachment: Attachment) -> None:
    lost = [
        e.site.path
        for e in attachment.edits
        if isinstance(e, Reweight)
        and getattr(e.delta, "dropout", None)
        and not (e.site.called and uses_calls(attachment.model.get_submodule(e.site.path)))
    ]
    if lost:
        warnings.warn(
            f"dropout of {attachment.method!r} has no effect at {lost[0]} and {len(lost) - 1} "
            "more: these layers take their changed weight, and dropout is no function of a weight",
            stacklevel=4,
        )
