"""A method: settings and one function from a model's sites to edits."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from foldtune.core.edits import Edit
from foldtune.core.structure.sites import Site
from foldtune.errors import InputError

# Fields that mean the same in every method, and so are checked once.
_SIZES = ("rank", "groups", "count")
_LARGEST = 2**16
_PROBABILITIES = ("dropout", "drop_path")


@dataclasses.dataclass(frozen=True)
class LogRange:
    """A positive number searched between two bounds, evenly in its logarithm.

    usual: what is tried first, and what a single run takes; None: the middle. Raises InputError for
    bounds that are none, and for a usual value that lies outside them.
    """

    low: float
    high: float
    usual: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.low <= (self.low if self.usual is None else self.usual) <= self.high:
            raise InputError(f"{self!r} is no range: it needs 0 < low <= usual <= high")


class Method:
    """Base of every method: a frozen dataclass that defines `edits`.

    `repr` leaves out fields at their default and rebuilds the method; it is the Python, the
    command-line argument and the label in tables.
    """

    # Whether the attached model computes exactly the base model before training.
    starts_as_identity: ClassVar[bool] = True
    # Where its classifier starts unless a run is asked for another start, see study/bench/run.py.
    head_start: ClassVar[str] = "regularised"
    # Whether nothing but the classifier trains: one that is solved on the features is then the end.
    only_classifier: ClassVar[bool] = False
    # The library whose layers it takes; none for a method that is all here.
    library: ClassVar[str] = ""
    # Whether it needs to know which rows of a fused projection are q, k and v.
    tells_qkv_apart: ClassVar[bool] = False
    # Fields that came later and are left out of `written_out` at their default, which therefore may
    # never change: so the runs of earlier studies keep their keys.
    later: ClassVar[tuple[str, ...]] = ()
    # What a search varies: fields of the method or of the training recipe, each a range or a tuple
    # of choices. Every method gets the same number of trials, whatever the size of its space.
    space: ClassVar[Mapping[str, LogRange | tuple[Any, ...]]] = {
        "lr": LogRange(3e-4, 3e-2),
        "weight_decay": (1e-4, 1e-2),
    }

    def __post_init__(self) -> None:
        """Raise InputError for a size or probability, known by its field's name, that cannot be."""
        for name, value in settings(self).items():
            if name in _SIZES and value < 1:
                raise InputError(f"{type(self).__name__}: {name} must be at least 1, not {value}")
            if name in _SIZES and value > _LARGEST:  # told before it is allocated
                raise InputError(
                    f"{type(self).__name__}: {name} must be at most {_LARGEST:,}, not {value:,}; "
                    "no layer is as wide"
                )
            if name in _PROBABILITIES and not 0.0 <= value < 1.0:
                raise InputError(f"{type(self).__name__}: {name} must lie in [0, 1), not {value}")

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        """The edits of `model`. Raises InputError where the method has no place in it."""
        raise NotImplementedError(f"{type(self).__name__} defines no edits(model, sites)")

    def check_places(self, model: nn.Module, sites: Sequence[Site]) -> None:
        """Raise InputError where `edits` would; building nothing, if the method can tell before."""
        list(self.edits(model, sites))

    @property
    def parts(self) -> tuple[Method, ...]:
        """The single methods in the order of attaching."""
        return (self,)

    def __add__(self, other: Method) -> Stack:
        if not isinstance(other, Method):
            return NotImplemented
        return Stack(self.parts + other.parts)

    def __repr__(self) -> str:
        shown = (f"{k}={v!r}" for k, v in settings(self).items() if v != _default(self, k))
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclasses.dataclass(frozen=True, repr=False)
class Stack(Method):
    """Several methods on one model, written `SSF() + LoRA(rank=4)`.

    They compose in the order of attaching, the first innermost: SSF then LoRA computes
    diag(scale) W + B A. Merging folds in the same order.
    """

    methods: tuple[Method, ...]

    def __post_init__(self) -> None:
        flat = tuple(part for method in self.methods for part in method.parts)
        if not flat:
            raise InputError("a Stack needs at least one method")
        object.__setattr__(self, "methods", flat)

    @property
    def parts(self) -> tuple[Method, ...]:
        return self.methods

    @property
    def starts_as_identity(self) -> bool:  # type: ignore[override]
        return all(m.starts_as_identity for m in self.methods)

    def edits(self, model: nn.Module, sites: Sequence[Site]) -> Iterable[Edit]:
        return [edit for part in self.methods for edit in part.edits(model, sites)]

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.methods))


def settings(method: Method) -> dict[str, Any]:
    """Every field of the method with its value, defaults included."""
    if not dataclasses.is_dataclass(method):
        name = type(method).__name__
        raise TypeError(f"{name} is no dataclass; put @dataclass(frozen=True, repr=False) above it")
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method)}


def written_out(method: Method) -> str:
    """As `repr`, with defaults written out too: what a file keeps, lest a default ever change.

    Fields that came `later` are left out at theirs."""
    return " + ".join(
        f"{type(part).__name__}({', '.join(f'{k}={v!r}' for k, v in _settings_to_tell(part))})"
        for part in method.parts
    )


def _settings_to_tell(part: Method) -> list[tuple[str, Any]]:
    return [
        (k, v) for k, v in settings(part).items() if k not in part.later or v != _default(part, k)
    ]


def _default(method: Method, name: str) -> Any:
    return next(f.default for f in dataclasses.fields(method) if f.name == name)  # type: ignore[arg-type]


def check_settings(cls: type[Method], values: Mapping[str, Any]) -> None:
    """Raise InputError for the first value that its field's annotation does not admit."""
    try:
        annotations = typing.get_type_hints(cls)
    except NameError:  # a plug-in's annotation that exists for type checkers only
        return
    for name, value in values.items():
        if not _admits(annotations[name], value):
            wanted = next(f.type for f in dataclasses.fields(cls) if f.name == name)  # type: ignore[arg-type]
            raise InputError(f"{cls.__name__}: {name} must be {wanted}, not {value!r}")


def _admits(annotation: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union):
        return any(_admits(a, value) for a in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_admits(inner[0], v) for v in value)
        return len(value) == len(inner) and all(map(_admits, inner, value))
    if annotation in (int, float):
        number = isinstance(value, int if annotation is int else int | float)
        return number and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, annotation) if isinstance(annotation, type) else True
