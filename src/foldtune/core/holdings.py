"""The tensors that an attachment holds: the method's own, and base tensors that train in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from torch import Tensor, nn

from foldtune.core.classifier import Classifier
from foldtune.core.container import CONTAINER, Container
from foldtune.core.edits import Edit, Reweight, Train
from foldtune.core.merging import RETAINED
from foldtune.core.method import Method
from foldtune.core.structure.names import first_names, named_state
from foldtune.core.tensors import is_plain, write
from foldtune.errors import InputError


class Holdings:
    """What one attachment took in, edit by edit.

    own: a tensor's name in the tuning to its full name in the host, shared tensors once. Never the
        tensors: `load_state_dict(assign=True)` puts others in their place.
    originals: the base tensors that train, by full name, as they were.
    container: the module of the host that holds the method's own tensors.
    """

    def __init__(self, model: nn.Module, method: Method, classifier: Classifier) -> None:
        self.model = model
        self.method = method
        self.classifier = classifier
        self.own: dict[str, str] = {}
        self.originals: dict[str, Tensor] = {}
        self.container = Container(self.originals, classifier).train(model.training)
        model.add_module(CONTAINER, self.container)
        self._known: set[int] = set()  # while they are taken in: whose tensors are held already

    @property
    def names(self) -> set[str]:
        """Full names in the host of all that is held, without the classifier's."""
        return {*self.own.values(), *self.originals}

    def tensors_of(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The tensors held, out of a state of the host, by their names in the tuning."""
        return {n: state[full] for n, full in self.own.items()} | {
            n: state[n] for n in self.originals
        }

    def take(self, edit: Edit, label: str) -> None:
        """Take in an edit's tensors: new ones into the container, base ones as trainable."""
        if isinstance(edit, Train):
            self._train(edit.names)
            return
        module = edit.delta if isinstance(edit, Reweight) else edit.adapter
        name = label = f"{label}.{edit.site.path}"
        number = 1
        while self._is_taken(name.replace(".", "_")):  # a site's second edit, or a.b and a_b
            number += 1
            name = f"{label}.{number}"
        inside = name.replace(".", "_")
        self.container.add_module(inside, module)
        at = self.model.get_submodule(edit.site.path)
        place = next(chain(at.parameters(), self.model.parameters()))
        module.to(place.device, place.dtype)
        module.train(self.model.training)  # else a model in eval mode would get live dropout
        for n, p in module.named_parameters():
            if id(p) not in self._known:
                self._known.add(id(p))
                self.own[f"{name}.{n}"] = f"{CONTAINER}.{inside}.{n}"

    def _is_taken(self, name: str) -> bool:
        """Whether this attachment or an affine that an earlier merge retained has the name."""
        retained = getattr(self.model, RETAINED, nn.Module())
        return name in self.container._modules or name in retained._modules

    def _train(self, names: Sequence[str]) -> None:
        state, first = named_state(self.model), first_names(self.model)
        heads = tuple(f"{p}." for p in self.classifier.paths)
        for name in (first.get(n, n) for n in names):
            if name not in state:
                raise InputError(
                    f"{self.method!r} trains {name}, which {type(self.model).__name__} has not"
                )
            if name.startswith(heads) or name in self.originals:
                continue
            if not is_plain(state[name]) and isinstance(state[name], nn.Parameter):
                raise InputError(f"{self.method!r} trains {name}, which is quantised")
            self.originals[name] = state[name].detach().clone()
            if isinstance(state[name], nn.Parameter):
                state[name].requires_grad_(True)

    def leave_frozen(self, names: Sequence[str]) -> None:
        """Take base tensors out of training again (the forward pass never uses them)."""
        state = named_state(self.model)
        for name in names:
            state[name].requires_grad_(False)
            self.originals.pop(name)

    def base_state(self) -> dict[str, Tensor]:
        """The base's own tensors before training, without classifier and added ones."""
        skip = (f"{CONTAINER}.", *(f"{p}." for p in self.classifier.paths))
        state, first = self.model.state_dict(), first_names(self.model)
        return {
            n: self.originals.get(first.get(n, n), t)
            for n, t in state.items()
            if not n.startswith(skip)
        }

    def put_back(self, owner: str) -> None:
        """Write the base tensors as they were. Raises InputError before the first is written."""
        state = named_state(self.model)
        for name, value in self.originals.items():
            if name not in state or state[name].shape != value.shape:
                raise InputError(
                    f"{owner} cannot be detached: {name}, which it trained, was replaced or "
                    "removed since; put it back first"
                )
        for name, value in self.originals.items():
            write(state[name], value)


def check_same(mine: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Raise InputError at the first name or shape in which a tuning and a model differ."""
    for name in [*mine, *tensors]:
        if name not in tensors or name not in mine:
            where = "is missing in the tuning" if name in mine else "has no place in the model"
            raise InputError(f"tuning and model differ: {name} {where}")
        if mine[name].shape != tensors[name].shape:
            raise InputError(
                f"tuning and model differ: {name} is {tuple(tensors[name].shape)} in the "
                f"tuning and {tuple(mine[name].shape)} in the model"
            )
