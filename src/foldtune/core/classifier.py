"""The classifiers of a host while a method is attached: the old ones, and where the new started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from foldtune.core.structure.head import set_module
from foldtune.core.structure.probe import eval_mode, first_tensor
from foldtune.core.structure.roles import parent
from foldtune.core.tensors import write
from foldtune.errors import InputError


class Classifier:
    """The modules at `paths`, whose parameters always train.

    start: their tensors by full name as training found them. start_known: False where a file did
    not tell them. old: the host's own modules where `replace` put others in their place.
    """

    def __init__(self, model: nn.Module, paths: Sequence[str]) -> None:
        self.model = model
        self.paths = tuple(paths)
        self.old: dict[str, nn.Module] = {}
        self.own = {path: model.get_submodule(path) for path in self.paths}
        self.start: dict[str, Tensor] = {}
        self.start_known = True
        self.share = 1.0  # of the first one's logits in the host's
        self._begin()

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the parameters."""
        return tuple(self.start)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(t.numel() for t in self.start.values())

    @property
    def classes(self) -> int:
        """Number of classes."""
        # The last tensor: a classifier may open with a norm.
        return int(self.start[self.names[-1]].shape[0])

    def replace(self, made: Mapping[str, nn.Module]) -> None:
        """Put new modules in the place of the host's, which `put_back` puts back."""
        for path, module in made.items():
            old = self.old[path] = self.model.get_submodule(path)
            set_module(self.model, path, module.train(old.training))
            self.own[path] = module
        self._begin()

    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Start from weight (classes, channels) and bias (classes,), solved on what the first is
        given. Others, which are given other features, add nothing at the start."""
        for path in self.paths:
            module = self.model.get_submodule(path)
            first = path == self.paths[0]
            with torch.no_grad():
                for name, value in (("weight", weight), ("bias", bias)):
                    stored = module.get_parameter(name)
                    stored.copy_(value.view(stored.shape) / self.share if first else 0 * stored)
        self._begin()

    def plain_state(self) -> dict[str, Tensor]:
        """The host's own classifiers before `attach`, by full name."""
        found: dict[str, Tensor] = {}
        for path in self.paths:
            held = self.old.get(path, self.own[path]).state_dict()
            found |= {f"{path}.{name}": tensor for name, tensor in held.items()}
            if path not in self.old:  # it trains itself
                found |= {n: t for n, t in self.start.items() if n.startswith(f"{path}.")}
        return found

    def measure_share(self, example: Tensor) -> None:
        """Find what part of the logits the first of several gives: half where a host takes the mean
        of two. example: (B, 3, H, W); the host's state is as it was."""
        if len(self.paths) < 2:
            return
        names = [f"{path}.{name}" for path in self.paths for name in ("weight", "bias")]
        state = {n: torch.zeros_like(self.model.get_parameter(n)) for n in names}
        state[names[1]] += 1.0
        with eval_mode(self.model), torch.no_grad():
            made = first_tensor(functional_call(self.model, state, (example,)))
        if made is not None and not made.is_meta and float(made[0, 0]) > 0:
            self.share = float(made[0, 0])

    def recall(self, start: Mapping[str, Tensor]) -> None:
        """Take in where they started, as a file tells it; empty: it is not known."""
        self.start_known = bool(start)
        for name, tensor in start.items():
            mine = self.start.get(name)
            if mine is None or mine.shape != tensor.shape:
                raise InputError(f"the tuning's start of the classifier does not fit: {name}")
            self.start[name] = tensor.to(mine)

    def check_own(self) -> None:
        """Raise InputError where another classifier stands in the place of the trained one."""
        for path, module in self.own.items():
            here = self.model.get_submodule(path)
            if here is not module and here is not self.old.get(path):
                raise InputError(
                    f"the classifier {path} was replaced after attach() (reset_classifier?); "
                    "detach() and attach(..., num_classes=...) instead"
                )

    def put_back(self) -> None:
        """The host's own modules, in their place again, whatever stands there."""
        for path, module in (self.own | self.old).items():
            new = self.model.get_submodule(path)
            for p in new.parameters():  # `model.to()` could not reach the old one
                module.to(p.device, p.dtype)
            # One that somebody put there may be in another mode than the model around it.
            beside = new if new is self.own.get(path) else self.model.get_submodule(parent(path))
            module.train(beside.training)
            set_module(self.model, path, module)

    def write_start(self) -> None:
        """Where the host's own classifiers stood, in them again."""
        for path, module in self.own.items():
            for name, p in module.named_parameters() if path not in self.old else ():
                write(p, self.start[f"{path}.{name}"])

    def _begin(self) -> None:
        self.start = {}
        for path in self.paths:
            for name, p in self.model.get_submodule(path).named_parameters():
                p.requires_grad_(True)
                self.start[f"{path}.{name}"] = p.detach().clone()
