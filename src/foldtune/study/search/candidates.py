"""Which methods stand on a host within a budget of parameters, and in what order to try them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean, median
from typing import Any, TypeVar

from torch import nn

from foldtune.analysis.tasks.advice import published_cases
from foldtune.backbones import Backbone
from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.checks.coverage import shortfall
from foldtune.core.method import Method
from foldtune.core.structure.head import find_head
from foldtune.errors import InputError
from foldtune.judging.counters import count
from foldtune.methods.catalogue import catalogue
from foldtune.options.cards import YARDSTICK, read_packaged, relative
from foldtune.study.bench.execute import Say
from foldtune.study.bench.failure import reason_of
from foldtune.study.inputs import silent

RULE = (
    "the fewest points below the best first, as tuned on the 19 tasks of VTAB-1K (published, "
    "ViT-B/16; what has no figure there stands at their median), then what merges, then the fewest "
    "operations of a step"
)
_TOLD = 10  # methods a line
_CLASSES = 10  # of the classifier; no parameter of it is counted

T = TypeVar("T")
Row = dict[str, Any]


def dry(
    backbone: Backbone, method: Method, label: str, classes: int, look: Callable[[Attachment], T]
) -> tuple[T, str] | InputError:
    """What `look` finds on the method, attached dry, and where it would stand on a part of its
    places, empty for none; or why it cannot stand. The backbone is plain after."""
    try:
        attachment = attach(backbone, method, num_classes=classes, seed=0)
        try:
            found = look(attachment)
        finally:
            plain = attachment.detach()
        return found, shortfall(plain, attachment.sites) if attachment.edits else ""
    except InputError as refusal:
        return refusal
    except Exception as error:  # a method of somebody else's, or a host that nobody has tried
        told = InputError(f"{label} fails on {backbone.name}: {reason_of(error)}")
        told.__cause__ = error
        return told


def in_part(short: str) -> InputError:
    """The refusal of a method that nobody named and that would not stand everywhere."""
    return InputError(f"it would stand on a part of its places: {short}")


def read_budget(text: str) -> Callable[[int], int]:
    """The most parameters that may train, of a backbone's number: `100000`, or `0.5%` of it.

    >>> read_budget("0.5%")(86_000_000), read_budget("100_000")(7)
    (430000, 100000)
    """
    share = text.strip().removesuffix("%")
    try:
        value = float(share) / 100 if share != text.strip() else int(share)
    except ValueError:
        value = -1
    if not 0 <= value < float("inf"):
        raise InputError(f"{text!r} is no budget; write a number of parameters, 100000, or 0.5%")
    return lambda whole: int(value * whole) if isinstance(value, float) else value


def candidates(
    backbone: Backbone,
    budget: str | None = None,
    methods: Mapping[str, type[Method]] | None = None,
    say: Say = silent,
) -> Row:
    """Every method at its defaults, attached dry to the backbone: those that stand with at most
    `budget` trainable parameters (see `read_budget`; the classifier is not counted), by RULE; what
    takes more parameters, and what cannot stand and why. methods: beside LoRA, by default all.
    say: is told how many were tried, for on ViT-B each takes seconds.

    A suggestion has `trainable`, `merges`, and a step's `operations` and `activations` of the
    packaged table's batch, counted on this backbone, LoRA's being 1.
    """
    whole = _size(backbone.model)
    most = whole if budget is None else read_budget(budget)(whole)
    batch = read_packaged()["counted"]["batch"]
    below = _points_below()
    found: dict[str, Row] = {}
    refused: dict[str, str] = {}
    yardstick = catalogue()[YARDSTICK]()

    def look(attachment: Attachment) -> Row:
        row = {"trainable": attachment.trainable, "merges": attachment.mergeable}
        if attachment.trainable > most and attachment.method != yardstick:
            return row
        operations, kept = count(backbone.model, backbone.example(2)).of_step(batch)
        return row | {"gflop": operations / 1e9, "mib": kept / 2**20}

    known = dict(methods or catalogue()) | {YARDSTICK: type(yardstick)}
    for number, (name, cls) in enumerate(known.items(), 1):
        told = dry(backbone, cls(), name, _CLASSES, look)
        if number % _TOLD == 0:
            say(f"{number} of {len(known)} methods tried")
        if not isinstance(told, InputError) and told[1]:
            told = in_part(told[1])
        if isinstance(told, InputError):
            refused[name] = str(told.args[0])
        else:
            found[name] = told[0]
    over = {n: row["trainable"] for n, row in found.items() if row["trainable"] > most}
    rows = [
        {"method": name, "merges": row["merges"], "share": row["trainable"] / whole}
        | {"points_below_best": below.get(name)}
        | relative(row, found.get(YARDSTICK))
        for name, row in found.items()
        if name not in over
    ]
    middle = median(below.values())
    rows.sort(key=lambda row: _place(row, middle))
    return {
        "model": backbone.name, "parameters": whole, "budget": most, "rule": RULE,
        "suggestions": rows, "over_budget": over, "refused": refused,
    }  # fmt: skip


def _place(row: Row, middle: float) -> tuple[float, bool, float]:
    points = row["points_below_best"]
    return middle if points is None else points, not row["merges"], row["operations"] or 0.0


def _points_below() -> dict[str, float]:
    """By method, the mean points below the best method over the published tasks."""
    cases = published_cases()
    return {name: round(fmean(c.shortfall[name] for c in cases), 2) for name in cases[0].shortfall}


def _size(model: nn.Module) -> int:
    """Parameters of the backbone, the classifier's left out."""
    heads = {id(p) for path in find_head(model) for p in model.get_submodule(path).parameters()}
    return sum(p.numel() for p in model.parameters() if id(p) not in heads)
