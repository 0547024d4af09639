"""Put a method on a model: freeze, install the edits, prove that each trainable tensor is used"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor, nn

from foldtune.core.attachment import Attachment, Named
from foldtune.core.checks.carriers import check_classifiers, check_model, check_site, refusal_of
from foldtune.core.checks.coverage import shortfall
from foldtune.core.checks.dryrun import dry_run, take_as_shown
from foldtune.core.checks.shown import Shown
from foldtune.core.compute.computed import freeze_statistics, has_statistics, is_computed
from foldtune.core.container import CONTAINER
from foldtune.core.edits import Edit, Reweight, Rewire, Train
from foldtune.core.hooks import guard_group_norms, hook
from foldtune.core.method import Method, check_settings, settings
from foldtune.core.structure.finding import find_sites
from foldtune.core.structure.head import check_paths, find_head, new_classifiers
from foldtune.core.structure.qkv import with_letters
from foldtune.core.structure.sites import Site
from foldtune.errors import InputError

log = logging.getLogger("foldtune")


def attach(
    model: nn.Module | Named,
    method: Method,
    *,
    example: Tensor | None = None,
    num_classes: int | None = None,
    head: str | Sequence[str] | None = None,
    seed: int | None = None,
    shown: Shown | None = None,
) -> Attachment:
    """Attach `method` to `model` in place, freeze the rest, and return the attachment.

    model: any nn.Module, or a Backbone, which brings its example along and whose name `save` keeps.
    example: images (B, 3, H, W) for the probe and the dry run; by default noise of the input size
    in the host's own `pretrained_cfg`. num_classes: replace the classifier by a fresh Linear
    (None keeps it); either way the classifier trains. head: path(s) of the classifier, where the
    host does not name it. seed: draw the initial values from this seed and leave torch's global
    generator untouched; None draws from the global generator. shown: the `shown` of an earlier
    attachment of an equal method, example, number of classes and head on this very model, which
    spares some ten passes of the example; None finds it out.

    Every base key keeps its name and value. Build the optimiser after attaching, from
    `attachment.parameters()`.

    Raises InputError, with the model as it was, where the method has no place in the model or a
    trainable tensor would get no gradient.
    """
    named: Named | None = None
    if not isinstance(model, nn.Module):
        named = model
        example = model.example() if example is None else example
        model = model.model
    _refuse(model, method)
    example = _example(model, example)
    paths = (head,) if isinstance(head, str) else tuple(head or find_head(model))
    check_paths(model, paths)
    if num_classes is None:
        check_classifiers(model, paths)
    grads = [(p, p.grad) for p in model.parameters()]
    with _seeding(seed):
        attachment = Attachment(model, method, paths, named)
        try:
            if num_classes is not None:
                attachment.classifier.replace(new_classifiers(model, paths, num_classes, example))
                attachment.classifier.measure_share(example)
            attachment.sites = _sites(attachment, example) if shown is None else shown.sites
            _warn_of_shortfall(attachment)
            _install(attachment)
            if shown is None:
                dry_run(attachment, example)
            else:
                take_as_shown(attachment, shown)
        except BaseException as error:
            attachment.detach()
            for p, grad in grads:
                p.grad = grad
            # A tensor or device that lacks an operation, in its own words.
            if type(error) is NotImplementedError:
                raise refusal_of(method, model, error) from error
            raise
    model.zero_grad()  # what was accumulated before is no gradient of the tuning
    return attachment


def _sites(attachment: Attachment, example: Tensor) -> tuple[Site, ...]:
    sites = find_sites(attachment.model, example, attachment.head)
    if any(part.tells_qkv_apart for part in attachment.method.parts):
        sites = with_letters(attachment.model, example, sites)
    return sites


def _refuse(model: nn.Module, method: Method) -> None:
    """Raise InputError where nothing may be attached, or not with these settings."""
    if any(CONTAINER in m._modules for m in model.modules()):
        raise InputError(
            f"{type(model).__name__} carries an attachment already; detach() or merge() it first, "
            "or attach a sum such as SSF() + LoRA()"
        )
    for part in method.parts:
        check_settings(type(part), settings(part))
    check_model(model)


def _install(attachment: Attachment) -> None:
    model = attachment.model
    edits: list[Edit] = []
    labels: list[str] = []
    for part in attachment.method.parts:
        found = list(part.edits(model, attachment.sites))
        if not found and not part.only_classifier:
            raise InputError(f"{part!r} finds no place in {type(model).__name__}")
        labels.append(type(part).__name__)
        count = labels.count(labels[-1])
        for edit in found:
            attachment.holdings.take(edit, labels[-1] + (str(count) if count > 1 else ""))
        edits += found
    attachment.edits = tuple(edits)
    for edit in edits:
        if isinstance(edit, Rewire):
            hook(attachment, edit)
    trained = {n for e in edits if isinstance(e, Train) for n in e.names}
    _compute(attachment, trained)
    for path, module in model.named_modules():
        # Statistics of a frozen BatchNorm must not drift: it stays in eval mode, unless the method
        # trains them (Full).
        moves = f"{path}.running_mean" in trained
        if has_statistics(module) and not moves and not is_computed(module):
            freeze_statistics(module)
            attachment.frozen_statistics.append(module)
    guard_group_norms(attachment)
    attachment.ask_once()


def _compute(attachment: Attachment, trained: Collection[str]) -> None:
    """Let the tensors of each site that deltas change be computed from then on."""
    model, method = attachment.model, attachment.method
    by_site: dict[str, list[Reweight]] = {}
    for edit in attachment.edits:
        if isinstance(edit, Reweight):
            by_site.setdefault(edit.site.path, []).append(edit)
    uses = Counter(id(p) for m in model.modules() for p in m._parameters.values())
    for group in by_site.values():
        # A method that adds a bias where the host has none names it in its own copy of the site.
        site = next((e.site for e in group if e.site.bias is not None), group[0].site)
        _refuse_parted_projection(attachment, site)
        module = model.get_submodule(site.path)
        check_site(method, module, site, [e.delta for e in group])
        if uses[id(module._parameters[str(site.weight)])] > 1:
            raise InputError(
                f"{method!r} cannot stand at {site.path}: its {site.weight} is tied to "
                "that of another module, which a merge would change too"
            )
        moves = f"{site.path}.running_mean" in trained
        attachment.compute(site, [e.delta for e in group], moves)


def _refuse_parted_projection(attachment: Attachment, site: Site) -> None:
    """nn.MultiheadAttention with kdim or vdim: q, k and v are three tensors without a site."""
    owner = attachment.model.get_submodule(site.path.rpartition(".")[0])
    if isinstance(owner, nn.MultiheadAttention) and owner.in_proj_weight is None:
        raise InputError(
            f"{attachment.method!r} cannot stand at {site.path}: beside it q, k and v are bare "
            "tensors (kdim or vdim is set) that no site names, so it would train less than it says"
        )


def _warn_of_shortfall(attachment: Attachment) -> None:
    short = shortfall(attachment.model, attachment.sites)
    if short:
        host = type(attachment.model).__name__
        log.warning(
            "%r may stand on a part of %s: %s (`foldtune sites`)", attachment.method, host, short
        )


def _example(model: nn.Module, example: Tensor | None) -> Tensor:
    parameter = next(model.parameters())
    if example is None:
        config = getattr(model, "pretrained_cfg", None)
        size = config.get("input_size") if isinstance(config, dict) else None
        if size is None:
            raise InputError(
                f"{type(model).__name__} does not say its input size; give "
                "attach(..., example=images) with a small batch (B, 3, H, W)"
            )
        # timm's `img_size=` does not reach the configuration (1.0.31).
        sides = getattr(getattr(model, "patch_embed", None), "img_size", None) or size[1:]
        example = torch.rand(2, size[0], *sides, generator=torch.Generator().manual_seed(0))
    return example.to(parameter.device, parameter.dtype)


@contextlib.contextmanager
def _seeding(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
