"""The recipe: everything that decides how a training runs, but for data, model and seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from foldtune.errors import InputError, unknown_name

OPTIMIZERS = ("adamw", "sgd")
SCHEDULES = ("step", "study-epoch")
PRECISIONS = ("fp32", "tf32", "bf16", "bf16-kept", "fp16")
NO_REMEDY = "none"
REMEDIES = (NO_REMEDY, "weighted", "effective", "sampler", "adjusted")  # see optim/objective.py

# field: (lowest, is the lowest itself allowed, the bound above that is never reached)
_RANGES: dict[str, tuple[float, bool, float]] = {
    "lr": (0, False, math.inf),
    "head_lr": (0, False, math.inf),
    "weight_decay": (0, True, math.inf),
    "warmup_epochs": (0, True, math.inf),
    "warmup_lr": (0, True, math.inf),
    "min_lr": (0, True, math.inf),
    "momentum": (0, True, 1),
    "clip_norm": (0, False, math.inf),
    "label_smoothing": (0, True, 1),
    "mixup": (0, True, math.inf),
    "cutmix": (0, True, math.inf),
    "drop_path": (0, True, 1),
    "ema": (0, True, 1),
}


@dataclass(frozen=True)
class Recipe:
    """How to train: `dataclasses.asdict` gives JSON values, `Recipe(**values)` rebuilds it.

    Lists are taken for the tuples, since JSON knows no tuples. Raises InputError, naming the
    field, its value and what is allowed.

    >>> Recipe(epochs=30).warmup_epochs
    3.0
    """

    epochs: int = 20  # 0: nothing trains, and the classifier stays as it starts
    batch_size: int = 64  # images per step, over all processes
    optimizer: str = "adamw"  # adamw | sgd
    lr: float = 1e-3  # the peak
    # The classifier's peak, times its inputs: alike on narrow hosts and on wide ones, since a step
    # of Adam moves a logit by the rate times the inputs (Yang et al., NeurIPS 2021). At the rate of
    # all else a classifier of 1,280 inputs overshoots where one of 128 does not (docs/findings.md).
    # None: lr.
    head_lr: float | None = 0.3
    weight_decay: float = 1e-4
    decay_1d: bool = False  # True: decay on everything, as in the unifying study
    # A fraction is allowed. None: a tenth of the epochs, five at most, which the field then holds.
    warmup_epochs: float = None  # type: ignore[assignment]
    warmup_lr: float = 1e-6  # where the warm-up starts
    min_lr: float = 1e-5  # where the cosine ends
    schedule: str = "step"  # step | study-epoch, see schedule.py
    momentum: float = 0.9  # sgd only
    betas: tuple[float, float] = (0.9, 0.999)  # adamw only
    clip_norm: float | None = None  # largest norm of the whole gradient
    label_smoothing: float = 0.0
    mixup: float = 0.0  # alpha of the Beta distribution; 0 is off
    cutmix: float = 0.0  # likewise; with both on, each batch takes one of them at even odds
    drop_path: float = 0.0  # rate of the deepest block, see regularise.py
    augment: tuple[str, ...] = ()  # for whoever makes `prepare`; the loop does not read it
    precision: str = "fp32"  # fp32 | tf32 | bf16 | bf16-kept | fp16, see speed/narrow.py
    compile: bool = False  # through torch.compile, see device.py
    recompute: bool = False  # blocks keep their input alone, see speed/recompute.py
    cuda_graphs: bool = False  # whole steps recorded and launched at once, see speed/graphs.py
    # Images and convolutions' weights in that memory format; None: where it is faster, device.py.
    channels_last: bool | None = None
    drop_last: bool = False  # leave out the epoch's last batch where it is not full
    ema: float = 0.0  # decay a step of the average that is judged and kept; 0 is off, average.py
    phases: tuple[tuple[int, int], ...] = ()  # (first epoch, side in pixels), rising from epoch 1
    parts: int = 1  # epochs that one pass over the images takes
    imbalance: str = NO_REMEDY  # none | weighted | effective | sampler | adjusted

    def __post_init__(self) -> None:
        self._settle()
        for field, lowest in (("epochs", 0), ("batch_size", 1), ("parts", 1)):
            value = getattr(self, field)
            if type(value) is not int or value < lowest:
                raise _refusal(field, value, f"a whole number >= {lowest}")
        for field in _RANGES:
            value = getattr(self, field)
            if not (field in ("clip_norm", "head_lr") and value is None):
                _check_range(field, value, *_RANGES[field])
        if len(self.betas) != 2:
            raise _refusal("betas", self.betas, "two numbers in [0, 1)")
        for beta in self.betas:
            _check_range("betas", beta, 0, True, 1)
        for field, choices in (
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("precision", PRECISIONS),
            ("imbalance", REMEDIES),
        ):
            if getattr(self, field) not in choices:
                raise unknown_name(f"recipe {field}", str(getattr(self, field)), choices)
        for field in (
            "decay_1d",
            "drop_last",
            "compile",
            "recompute",
            "cuda_graphs",
            "channels_last",
        ):
            unsaid = field == "channels_last" and self.channels_last is None
            if not unsaid and type(getattr(self, field)) is not bool:
                raise _refusal(field, getattr(self, field), "True or False")
        if not all(isinstance(name, str) for name in self.augment):
            raise _refusal("augment", self.augment, "names")
        self._check_phases()
        self._check_schedule()

    def _settle(self) -> None:
        if self.warmup_epochs is None and isinstance(self.epochs, int | float):
            object.__setattr__(self, "warmup_epochs", warmup(self.epochs))
        object.__setattr__(self, "augment", tuple(self.augment))
        object.__setattr__(self, "betas", tuple(self.betas))
        object.__setattr__(self, "phases", tuple(tuple(phase) for phase in self.phases))

    def side(self, epoch: int) -> int | None:
        """The side in pixels at which epoch `epoch`, from 1, trains; None without phases."""
        return next((side for first, side in reversed(self.phases) if first <= epoch), None)

    def _check_phases(self) -> None:
        numbers = [n for phase in self.phases for n in phase]
        whole = all(type(n) is int and n >= 1 for n in numbers)
        if not whole or any(len(phase) != 2 for phase in self.phases):
            raise _refusal("phases", self.phases, "pairs of (first epoch, side in pixels)")
        firsts = [first for first, _ in self.phases]
        if firsts and (firsts[0] != 1 or firsts != sorted(set(firsts)) or firsts[-1] > self.epochs):
            allowed = f"first epochs that rise from 1 to at most epochs={self.epochs}"
            raise _refusal("phases", self.phases, allowed)

    def _check_schedule(self) -> None:
        if self.warmup_epochs >= self.epochs and (self.epochs or self.warmup_epochs):
            allowed = f"less than epochs={self.epochs}, so that the peak is reached"
            raise _refusal("warmup_epochs", self.warmup_epochs, allowed)
        if self.min_lr > self.lr:
            raise _refusal("min_lr", self.min_lr, f"at most lr={self.lr}")
        if self.warmup_epochs > 0 and self.warmup_lr > self.lr:
            raise _refusal("warmup_lr", self.warmup_lr, f"at most lr={self.lr}")


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The fields for files and hashes, JSON values: what came later is left out where it is not
    used, so that rows and identities of earlier runs stay as they are."""
    told = asdict(recipe)
    return {name: value for name, value in told.items() if value != _LATER.get(name, _NEVER)}


_LATER = {"imbalance": NO_REMEDY, "recompute": False, "cuda_graphs": False}
_NEVER = object()


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """A recipe out of a row or file. A field that it does not hold is of before that field."""
    return Recipe(**{"head_lr": None, **values})


def warmup(epochs: float) -> float:
    """Epochs of warming up by default: a tenth, five at most."""
    return min(0.1 * epochs, 5.0)


def _check_range(field: str, value: Any, lowest: float, closed: bool, above: float) -> None:
    """Refuse what is no number in the range; `not (a < b)` so that nan is refused as well."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and (value >= lowest if closed else value > lowest) and value < above:
        return
    bounds = f"{'>=' if closed else '>'} {lowest}"
    allowed = f"a number {bounds}" + (", finite" if above == math.inf else f" and < {above}")
    raise _refusal(field, value, allowed)


def _refusal(field: str, value: Any, allowed: str) -> InputError:
    return InputError(f"recipe: {field}={value!r} is out of range; allowed: {allowed}")
