"""The way of an attachment's model between its start and the tuned one, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from foldtune.core.classifier import Classifier
from foldtune.core.compute.computed import set_strength
from foldtune.core.edits import Edit, Reweight, Rewire
from foldtune.core.holdings import Holdings
from foldtune.core.method import Method
from foldtune.core.structure.head import set_module
from foldtune.core.structure.names import named_state
from foldtune.core.structure.sites import Site
from foldtune.core.tensors import reshard, whole, write
from foldtune.errors import InputError


class Attached(Protocol):
    """What is asked of the attachment whose model is moved."""

    model: nn.Module
    method: Method
    edits: tuple[Edit, ...]
    classifier: Classifier
    _alive: bool
    holdings: Holdings
    _computed: list[tuple[nn.Module, Site]]

    @property
    def base_names(self) -> tuple[str, ...]: ...

    @property
    def head(self) -> tuple[str, ...]: ...

    @property
    def interpolates(self) -> bool: ...

    @property
    def quantised(self) -> str | None: ...

    def named_tensors(self) -> dict[str, Tensor]: ...

    def _check_alive(self) -> None: ...


class Interpolation:
    """Where one attachment's model stands, and the verbs that move it."""

    def __init__(self, attachment: Attached) -> None:
        self.attachment = attachment
        self.point = (1.0, 1.0)  # alpha of the method, alpha of the head
        self.tuned: dict[str, Tensor] | None = None  # what is interpolated, at alpha 1

    @contextlib.contextmanager
    def at(
        self, alpha: float, head_alpha: float | None = None, *, pausing: bool = False
    ) -> Iterator[nn.Module]:
        """Inside, the model stands between its start (alpha 0) and the tuned one (alpha 1).

        Stored tensors: W + alpha (W' - W), a true weight interpolation (WiSE-FT, Wortsman et al.,
        CVPR 2022); where W itself is trained too (DiffFit, SSF + BitFit), first W moves from its
        start to its trained value by alpha, so that the path is bent. Side networks: what they
        add, times alpha. Classifier: between its start and its tuned value at `head_alpha`, which
        is alpha unless given.

        Raises InputError where a method has nothing between 0 and 1 (see `interpolates`), and for
        a tuning whose file does not tell where its classifier started.
        """
        attachment = self.attachment
        attachment._check_alive()
        point = (alpha, alpha if head_alpha is None else head_alpha)
        for value in point:
            if not 0.0 <= value <= 1.0:
                raise InputError(f"alpha must lie in 0..1, not {value}")
        if alpha not in (0.0, 1.0) and attachment.quantised is not None:
            raise InputError(
                f"{attachment.method!r} cannot be interpolated: {attachment.quantised} is quantised"
            )
        if alpha not in (0.0, 1.0) and not attachment.interpolates:
            raise InputError(
                f"{attachment.method!r} cannot be interpolated: it adds tokens, and there is no "
                "model between two numbers of tokens. Ensemble the logits of the two models instead"
            )
        if point[1] != 1.0 and not attachment.classifier.start_known and not pausing:
            raise InputError(
                "the tuning's file is of format 1 and does not tell where its classifier started; "
                "interpolate the body alone (head_alpha=1), or train it again"
            )
        outer, outer_tuned = self.point, self.tuned
        try:
            self.tuned = self.tuned or {
                n: whole(t.detach()).clone()
                for n, t in attachment.named_tensors().items()
                if n not in attachment.holdings.own
            }
            self._move(*point)
            yield attachment.model
        finally:
            if attachment._alive:
                self._move(*outer)
                self.tuned = outer_tuned

    @contextlib.contextmanager
    def pause(self) -> Iterator[nn.Module]:
        """Inside, the model computes exactly what it did before `attach`, old head included."""
        attachment = self.attachment
        new_head = {p: attachment.model.get_submodule(p) for p in attachment.classifier.old}
        with self.at(0.0, pausing=True):
            attachment.classifier.put_back()
            try:
                yield attachment.model
            finally:
                if attachment._alive:
                    for path, module in new_head.items():
                        set_module(attachment.model, path, module)

    def _move(self, alpha: float, head_alpha: float) -> None:
        """Take every tensor and side network to the given points between start and tuned."""
        attachment, model = self.attachment, self.attachment.model
        assert self.tuned is not None
        reshard(model)
        state, starts = named_state(model), dict(attachment.holdings.originals)
        if not any(model.get_submodule(p) is m for p, m in attachment.classifier.old.items()):
            starts |= attachment.classifier.start  # else paused: the old head stays as it is
        blended = set()
        for module, site in attachment._computed:
            # A stored tensor that trains itself stays: its start is blended after the folding.
            names = {n: f"{site.path}.{n}" for n in (site.weight, site.bias) if n}
            start = {
                n: starts[full].to(state[full].device, state[full].dtype)
                for n, full in names.items()
                if full in starts
            }
            blended |= {names[n] for n in start}
            set_strength(module, head_alpha if site.path in attachment.head else alpha, start)
        for name in sorted(starts.keys() - blended):  # in one order on every process
            at = head_alpha if name in attachment.classifier.start else alpha
            between = _between(starts[name].to(self.tuned[name]), self.tuned[name], at)
            write(state[name], between)
        for edit in attachment.edits:
            if isinstance(edit, Rewire):
                edit.adapter._strength = alpha
        self.point = (alpha, head_alpha)


def ways(attachment: Attached) -> tuple[str, ...]:
    """How the attached model gets from its start to the tuned one, in words for a result."""
    base = set(attachment.base_names)
    sides, bent = False, False
    for edit in attachment.edits:
        if isinstance(edit, Rewire):
            sides |= not edit.adapter.survives_merge
        elif isinstance(edit, Reweight):
            stored = (edit.site.weight, edit.site.bias)
            bent |= any(f"{edit.site.path}.{n}" in base for n in stored if n)
    body = "weights, each factor by itself" if bent else "weights"
    only_sides = sides and not base and all(isinstance(e, Rewire) for e in attachment.edits)
    told = () if only_sides else (body,)
    return (*told, "scaled output of side networks") if sides else told


def _between(start: Tensor, tuned: Tensor, at: float) -> Tensor:
    if at == 1.0:
        return tuned
    if not tuned.is_floating_point():  # a counter of batches: nothing lies between two counts
        return start if at == 0.0 else tuned
    return torch.lerp(start, tuned, at)
