"""A method on one model: train it, save it, interpolate it, merge it, detach it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

from foldtune.core.checks.carriers import is_quantised
from foldtune.core.checks.shown import Shown
from foldtune.core.classifier import Classifier
from foldtune.core.compute.computed import compute, let_read, release
from foldtune.core.compute.delta import Delta
from foldtune.core.container import (
    CONTAINER,
    allow_plain_saving,
    ask_once_a_pass,
    follow_loading,
    refuse_plain_saving,
)
from foldtune.core.edits import Adapter, Edit, Reweight, Rewire, Train
from foldtune.core.holdings import Holdings, check_same
from foldtune.core.interpolation import Interpolation
from foldtune.core.merging import (
    check_mergeable,
    fold_all,
    obstacle,
    retain,
    retained_names,
    surviving,
    write_folded,
)
from foldtune.core.method import Method
from foldtune.core.structure.names import named_state
from foldtune.core.structure.sites import Site
from foldtune.core.tensors import check_finite, reshard, write
from foldtune.errors import InputError


class Named(Protocol):
    """A model with its example and its name, as a Backbone is."""

    @property
    def model(self) -> nn.Module: ...

    def example(self, batch: int = 2) -> Tensor: ...

    def identity(self, state: Mapping[str, Tensor] | None = None) -> dict[str, Any]: ...


class Attachment:
    """What `attach` returns. It belongs to one model until `merge()` or `detach()`.

    named: the Backbone that was attached to, where it was one.
    """

    def __init__(
        self, model: nn.Module, method: Method, head: Sequence[str], named: Named | None = None
    ) -> None:
        self.model = model
        self.named = named
        self.method = method
        self.sites: tuple[Site, ...] = ()
        self.edits: tuple[Edit, ...] = ()
        self.shown: Shown | None = None  # what the dry run found out
        self.handles: dict[Adapter, list[Any]] = {}
        self.guards: list[Any] = []  # further hooks, which leave with the attachment
        self.frozen_statistics: list[nn.Module] = []
        self._computed: list[tuple[nn.Module, Site]] = []
        # Which module reads the tensors of which computed one.
        self.readings: tuple[tuple[nn.Module, nn.Module], ...] = ()
        self._interpolation = Interpolation(self)
        self._grads = {n: p.requires_grad for n, p in model.named_parameters()}
        self._alive = True
        model.requires_grad_(False)
        self.classifier = Classifier(model, head)
        self.holdings = Holdings(model, method, self.classifier)
        self.guards.append(follow_loading(model))
        refuse_plain_saving(model)

    def __repr__(self) -> str:
        state = ", no longer on its model"
        if self._alive:
            state = f": {self.trainable:,} parameters and a classifier of {self.head_size:,} train"
        return f"Attachment({self.method!r} on {type(self.model).__name__}{state})"

    # -- what it consists of -------------------------------------------------------------------

    @property
    def base_names(self) -> tuple[str, ...]:
        """Full names of the base tensors that train in place, without the classifier."""
        return tuple(self.holdings.originals)

    @property
    def head(self) -> tuple[str, ...]:
        """Paths of the classifiers: one, two where the host was distilled."""
        return self.classifier.paths

    @property
    def head_names(self) -> tuple[str, ...]:
        """Full names of the classifier's parameters."""
        return self.classifier.names

    def named_tensors(self) -> dict[str, Tensor]:
        """Everything the tuning consists of: own tensors, trained base tensors, classifier."""
        self._check_alive()
        self.classifier.check_own()
        state = named_state(self.model) | (self._interpolation.tuned or {})
        return self.holdings.tensors_of(state) | {n: state[n] for n in self.head_names}

    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters, for the optimiser."""
        self._check_alive()
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def trainable(self) -> int:
        """Number of trainable parameters without the classifier."""
        self._check_alive()
        names = self.holdings.names
        named = self.model.named_parameters()
        return sum(p.numel() for n, p in named if n in names and p.requires_grad)

    @property
    def head_start(self) -> dict[str, Tensor] | None:
        """The classifier's tensors as training found them; None where a file does not tell."""
        return dict(self.classifier.start) if self.classifier.start_known else None

    @property
    def head_size(self) -> int:
        """Number of parameters of the classifier."""
        return self.classifier.size

    @property
    def num_classes(self) -> int:
        """Number of classes of the trained classifier."""
        return self.classifier.classes

    @property
    def mergeable(self) -> bool:
        """Whether the method folds into the stored tensors without loss, but for `retained`."""
        return obstacle(self.edits) is None and self.quantised is None

    @property
    def retained(self) -> tuple[str, ...]:
        """Names, in a merged model, of the tensors that no stored one could absorb; mostly none."""
        return retained_names(surviving(self.edits, self.holdings.container))

    @property
    def interpolates(self) -> bool:
        """Whether there are models between the start and the tuned one (not with prompts)."""
        keep = all(e.adapter.keeps_shape for e in self.edits if isinstance(e, Rewire))
        return keep and self.quantised is None

    @property
    def quantised(self) -> str | None:
        """The first quantised layer that carries a computed tensor, by its path."""
        found = (site.path for m, site in self._computed if is_quantised(m, site.weight))
        return next(found, None)

    @property
    def computes(self) -> bool:
        """Whether any stored tensor reads as a computed one."""
        return bool(self._computed)

    def touches(self, path: str) -> bool:
        """Whether any edit stands at the module `path` or inside it."""
        inside = f"{path}."
        for edit in self.edits:
            names = edit.names if isinstance(edit, Train) else (edit.site.path,)
            if any(f"{name}.".startswith(inside) for name in names):
                return True
        return False

    def base_state(self) -> dict[str, Tensor]:
        """The base's own tensors before training, without classifier and added ones."""
        self._check_alive()
        return self.holdings.base_state()

    def plain_state(self) -> dict[str, Tensor]:
        """The state of the plain model, as it was before `attach`."""
        return self.base_state() | self.classifier.plain_state()

    # -- building, called by `attach` ------------------------------------------------------------

    def compute(self, site: Site, deltas: Sequence[Delta], moves: bool = False) -> None:
        """Make one site's stored tensors computed ones; `moves`: its running statistics train."""
        module = self.model.get_submodule(site.path)
        assert site.weight is not None
        compute(module, deltas, site.weight, site.bias, moves)
        self._computed.append((module, site))

    def let_read(self, readings: Sequence[tuple[nn.Module, nn.Module]]) -> None:
        """Let each reader's forward read the folded tensors of the module beside it."""
        for reader, read in readings:
            let_read(reader, read)
        self.readings = tuple(readings)

    def ask_once(self) -> None:
        """Ask at the start of a pass what several deltas would each wait for the device to know."""
        self.guards += ask_once_a_pass(self.model, self.holdings.container)

    @property
    def lean(self) -> bool:
        """Whether the gradient of some delta rests on what its layer returned."""
        return any(isinstance(e, Reweight) and e.delta.lean for e in self.edits)

    def keep_plainly(self) -> bool:
        """Let no delta's gradient rest on what its layer returned; whether that changes any."""
        changes = self.lean
        for edit in self.edits:
            if isinstance(edit, Reweight):
                edit.delta.lean = False
        return changes

    # -- verbs ---------------------------------------------------------------------------------

    def detach(self) -> nn.Module:
        """Take the method off: the model is bitwise what it was before `attach`."""
        self._check_alive()
        self.holdings.put_back(repr(self))
        self.classifier.put_back()
        self.classifier.write_start()
        self._leave()
        return self.model

    def merge(self) -> nn.Module:
        """Fold the method into the stored tensors, in place; the model is a plain one again.

        The folding is done in float64 and rounded once. The trained classifier stays. A bias is
        created only where the method was asked to (`add_bias`). Raises InputError for a method with
        a side network, which no stored tensor can absorb. What is small enough to stay (SSF on
        ConvNeXt: one scale and shift) stays, under the names of `retained`.
        """
        self._check_alive()
        check_mergeable(self.method, self.edits, self.quantised)
        self.classifier.check_own()
        write_folded(fold_all(self._computed, self.method))
        staying = surviving(self.edits, self.holdings.container)
        retain(self.model, staying)
        for adapter in staying.values():
            self.handles.pop(adapter)  # its hooks stay with it
        self._leave()
        return self.model

    def interpolated(
        self, alpha: float, head_alpha: float | None = None
    ) -> AbstractContextManager[nn.Module]:
        """Inside, the model stands between its start (alpha 0) and the tuned one (alpha 1); the
        classifier at `head_alpha`, which is alpha unless given. See `Interpolation.at`."""
        return self._interpolation.at(alpha, head_alpha)

    def paused(self) -> AbstractContextManager[nn.Module]:
        """Inside, the model computes exactly what it did before `attach`, old head included."""
        return self._interpolation.pause()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy a tuning's tensors in, strictly. Raises InputError at the first difference."""
        mine = self.named_tensors()
        if self._interpolation.tuned is not None:
            raise InputError("cannot load a tuning inside interpolated() or paused()")
        check_same(mine, tensors)
        check_finite(tensors, "the tuning cannot be loaded", "train it again")
        for name, tensor in mine.items():
            write(tensor, tensors[name])

    # -- private -------------------------------------------------------------------------------

    def _leave(self) -> None:
        for handle in (*self.guards, *(h for handles in self.handles.values() for h in handles)):
            handle.remove()
        computed, readers = (m for m, _ in self._computed), (m for m, _ in self.readings)
        for module in dict.fromkeys((*computed, *self.frozen_statistics, *readers)):
            release(module)
        delattr(self.model, CONTAINER)
        allow_plain_saving(self.model)
        for name, p in self.model.named_parameters():
            p.requires_grad_(self._grads.get(name, True))
            p.grad = None
        self._alive = False

    def _check_alive(self) -> None:
        if not self._alive:
            raise InputError(f"{self!r}: it was merged or detached; attach again")
        reshard(self.model)
