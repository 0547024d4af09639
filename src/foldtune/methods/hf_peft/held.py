"""Layers of HF PEFT as changes of a stored matrix; no method itself.

PEFT builds its layer around a Linear that shares the host's stored matrix, and so decides which
tensors there are, of which shapes, and where they start. The layer is taken off that Linear and
held by a delta, which computes the changed matrix from those tensors: nothing of PEFT stands in the
host, whose keys stay, and merging, undoing and interpolating are the engine's. A kernel of a
convolution is the matrix of its flattened rows.
"""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Edit, Reweight
from foldtune.core.method import LogRange, Method, settings
from foldtune.core.structure.sites import Site
from foldtune.core.tensors import is_plain
from foldtune.errors import InputError, NotInstalled
from foldtune.methods.places import none_found, sites_for
from foldtune.torchvision_ops import declare_missing_operators

# Under which PEFT keeps the tensors of a layer.
ADAPTER = "default"
Shape = tuple[int, int]


class Ground(nn.Module):
    """In the place of the Linear that PEFT's layer stood on: its shape and dtype, no values."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.one: Tensor
        self.register_buffer("one", torch.zeros(()), persistent=False)

    @property
    def weight(self) -> Tensor:
        return self.one.expand(self.shape)


class Held(Delta):
    """W' as HF PEFT's `layer` has it; by default W + its difference.

    layer: of PEFT, whose tensors are the delta's own. W: (out, in), a kernel's rows flattened.
    """

    moves_bias = False
    # What PEFT saves of a layer beside its parameters, by its name there.
    saved: ClassVar[tuple[str, ...]] = ()

    def __init__(self, layer: Any, shape: Shape) -> None:
        super().__init__()
        layer.base_layer = Ground(shape)
        for module in layer.modules():  # drawn again from a seed or from W, so never saved
            module._non_persistent_buffers_set.update(module._buffers)
        self.layer = layer

    def fold(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        moved, bias = self.change(weight.flatten(1), bias)
        return moved.view_as(weight), bias

    def change(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The changed (out, in) and bias."""
        return weight + self.layer.get_delta_weight(ADAPTER), bias

    def own(self, name: str) -> Any:
        """What PEFT's layer keeps under `name` for the one adapter."""
        return getattr(self.layer, name)[ADAPTER]

    def peft_tensors(self) -> dict[str, Tensor]:
        """What trains, by its name in a folder that PEFT saved, the layer's path aside."""
        return _as_saved(self.named_parameters())

    def drawn_tensors(self) -> dict[str, Tensor]:
        """What a seed or the stored weights give, by its name in such a folder."""
        return _as_saved(self.named_buffers())


class HeldMethod(Method):
    """Base of the methods whose layers are HF PEFT's.

    A subclass says which type of PEFT it is, which delta holds its layers, and gives PEFT's
    options for layers of given shapes. `targets` are those of LoRA; grouped convolutions, whose
    kernels are no matrix of all channels, are left alone.
    """

    library: ClassVar[str] = "peft"
    peft_type: ClassVar[str]
    # PEFT's name of each setting, where it is another one.
    peft_options: ClassVar[Mapping[str, str]] = {"rank": "r"}
    delta: ClassVar[type[Held]] = Held
    # Whether tensors are shared by all layers, which then are built together.
    shares: ClassVar[bool] = False
    # Of what is shared, the names that PEFT saves beside the layers.
    beside: ClassVar[tuple[str, ...]] = ()
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = Method.space
    targets: tuple[str, ...]

    def options(self, shapes: Sequence[Shape]) -> Mapping[str, Any]:
        """PEFT's options for layers of these shapes (out, in), sizes made to fit."""
        raise NotImplementedError(f"{type(self).__name__} defines no options(shapes)")

    @classmethod
    def settings_of(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Our settings as PEFT's `options` spell them, `targets` aside."""
        names = {n: cls.peft_options.get(n, n) for n in settings(cls()) if n != "targets"}
        found = {ours: options[theirs] for ours, theirs in names.items() if theirs in options}
        if "alpha" in found and settings(cls())["alpha"] is None:
            found["alpha"] = None if found["alpha"] == found["rank"] else float(found["alpha"])
        return found

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        check_installed(type(self).__name__)
        places = self._places(model, sites)
        weights = list(places.values())
        layers = self._layers(weights, [site.bias is not None for site in places])
        return [
            Reweight(site, self.delta(layer, shape_of(weight)))
            for site, layer, weight in zip(places, layers, weights, strict=True)
        ]

    def check_places(self, model: nn.Module, sites: Sequence[Site]) -> None:
        check_installed(type(self).__name__)
        self._size_options([shape_of(w) for w in self._places(model, sites).values()])

    def _places(self, model: nn.Module, sites: Sequence[Site]) -> dict[Site, Tensor]:
        """The sites, each with its stored matrix (out, in)."""
        places = [
            s
            for s in sites_for(model, sites, self.targets)
            if s.weight and getattr(model.get_submodule(s.path), "groups", 1) == 1
        ]
        if not places:
            raise none_found(type(self).__name__, model, sites, self.targets)
        return {site: self._matrix(model, site) for site in places}

    def _matrix(self, model: nn.Module, site: Site) -> Tensor:
        stored: Tensor = getattr(model.get_submodule(site.path), site.weight or "")
        if not is_plain(stored):
            raise InputError(
                f"{self!r} cannot stand at {site.path}: its weight is quantised, and "
                f"{type(self).__name__} needs the whole matrix; take LoRA"
            )
        if stored.ndim < 2:
            raise InputError(
                f"{type(self).__name__} needs a matrix; {site.path} ({site.role}) stores none"
            )
        return stored.detach().flatten(1)

    def _layers(self, weights: Sequence[Tensor], bias: Sequence[bool]) -> list[Any]:
        """PEFT's layers on Linears of these weights, in their order."""
        options = self._size_options([shape_of(w) for w in weights])
        if self.shares:
            return _build_layers(self.peft_type, options[0], weights, bias)
        return [
            _build_layers(self.peft_type, own, [w], [b])[0]
            for own, w, b in zip(options, weights, bias, strict=True)
        ]

    def _size_options(self, shapes: Sequence[Shape]) -> list[Mapping[str, Any]]:
        """PEFT's options for each layer; for all together where they share tensors."""
        groups = [shapes] if self.shares else [[shape] for shape in shapes]
        return [self.options(group) for group in groups]


def _as_saved(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Of PEFT's layer, by its names without that of the adapter."""
    inside = ((n.removeprefix("layer."), t) for n, t in tensors if n.startswith("layer."))
    return {
        n.replace(f".{ADAPTER}", "", 1): t for n, t in inside if not n.startswith("base_layer.")
    }


def divisor(limit: int, *sizes: int) -> int:
    """The largest number, at most `limit`, that divides all sizes."""
    return next(n for n in range(min(limit, *sizes), 0, -1) if all(s % n == 0 for s in sizes))


class _Shell(nn.Module):
    """Linears for PEFT to stand on, which share their weights with the host."""

    def __init__(self, weights: Sequence[Tensor], bias: Sequence[bool]) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for weight, biased in zip(weights, bias, strict=True):
            rows, columns = weight.shape
            layer = nn.Linear(columns, rows, bias=biased, device="meta")
            layer.weight = nn.Parameter(weight, requires_grad=False)
            if biased:
                layer.bias = nn.Parameter(weight.new_zeros(rows), requires_grad=False)
            self.layers.append(layer)


def _build_layers(
    kind: str, options: Mapping[str, Any], weights: Sequence[Tensor], bias: Sequence[bool]
) -> list[Any]:
    """PEFT's layers of type `kind` on Linears of these weights."""
    declare_missing_operators()
    peft: Any = importlib.import_module("peft")
    config = peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType[kind]]
    shell = _Shell(weights, bias)
    with _quiet():
        names = [str(i) for i in range(len(weights))]
        held = peft.get_peft_model(shell, config(target_modules=names, **options))
    return list(held.base_model.model.layers)


def check_installed(asking: str) -> None:
    """Raise InputError, saying what to install, where PEFT is not there; imports nothing."""
    if importlib.util.find_spec("peft") is None:
        raise NotInstalled(f"{asking}, whose layers are HF PEFT's,", "peft", "peft")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PEFT warns of what a shell of Linears lacks, and of sizes that it makes fit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def shape_of(weight: Tensor) -> Shape:
    return weight.shape[0], weight.shape[1]
