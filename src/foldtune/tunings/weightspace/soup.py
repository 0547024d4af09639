"""Model soups: the mean of tunings of one method, uniform or greedy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from foldtune.backbones import Backbone, load
from foldtune.backbones.prepare import prepare_for
from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.core.edits import Reweight
from foldtune.core.tuningfile import TuningFile, save
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown_name
from foldtune.files import refuse_full
from foldtune.judging.shift import target_of, top1
from foldtune.methods.full import Full
from foldtune.tunings.answers import refuse_unless_classes
from foldtune.tunings.judging import Known, validation_rows

KINDS = ("greedy", "uniform")
# In float64 the mean of the tensors either gives the mean of the weights or misses it by far more.
_SAME = 1e-9

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Soup:
    """What `soup` made. averaged: "tensors" where their mean is the mean of the weights (or there
    are no weights to fold, as in a side network), else "merged weights"; members: of each tuning
    its validation accuracy and whether it is in; validation: of the soup. No accuracy (None) where
    there are no validation images that none of the tunings was trained on."""

    path: Path
    method: str
    averaged: str
    members: tuple[dict[str, Any], ...]
    validation: float | None


def soup(
    paths: Sequence[Path], backbone: Backbone, data: ImageData, *, out: Path, kind: str = "greedy"
) -> Soup:
    """Average tunings of one method over one backbone and write an ordinary tuning to `out`
    (Wortsman et al., ICML 2022).

    greedy: from the best validation accuracy down, each is kept that does not lower the soup's.
    Averaged are the weights that the tunings compute. Where the mean of their tensors gives these
    (SSF, BitFit, Full; proved in float64 on these tunings) the soup is a tuning of their method.
    Where it does not (the factors of LoRA), the merged weights are averaged, and the soup is a
    tuning of Full(). A side network has no weights to merge: its tensors are averaged.

    Raises InputError for fewer than two, for tunings that differ in method, backbone, classes or
    classifier, and for a greedy soup of tunings that were trained on validation.
    """
    if kind not in KINDS:
        raise unknown_name("soup", kind, KINDS)
    files = [TuningFile(path) for path in paths]
    headers = [file.header for file in files]
    refuse_full(out, max((p.stat().st_size for p in paths), default=0))
    _refuse_unlike(paths, headers)
    known = Known.of(files, headers)
    rows, why = validation_rows(known, data)
    if kind == "greedy" and why:
        raise InputError(
            f"a greedy soup chooses on images that none of its tunings must know, but {why}; give "
            "tunings that `fit` wrote, with data that holds their validation images, or "
            "--kind uniform"
        )
    own = replace(backbone, model=copy.deepcopy(backbone.model))
    average, tensors_of = _average_of(files, headers[0], own)
    target = target_of("validation", data, rows, headers[0]["classes"]) if len(rows) else None
    prepare = prepare_for(own)

    def judge(chosen: Sequence[int]) -> float | None:
        average.load_tensors(_mean([tensors_of(i) for i in chosen]))
        return None if target is None else top1(average.model, target, prepare)

    alone = [judge([i]) for i in range(len(paths))]
    chosen = list(range(len(paths))) if kind == "uniform" else _greedy(alone, judge)
    reached = judge(chosen)
    starts = [files[i].start for i in chosen]
    average.classifier.recall(_mean(starts) if all(starts) else {})
    members = tuple(
        {"tuning": str(p), "validation": a, "used": i in chosen}
        for i, (p, a) in enumerate(zip(paths, alone, strict=True))
    )
    facts = {k: headers[0][k] for k in ("backbone", "classes", "data") if k in headers[0]}
    trained = sorted({s for h in headers for s in h.get("training", {}).get("train_on", ())})
    training = {"train_on": trained, "soup": kind, "members": list(members)}
    save(average, out, facts | {"training": training}, known.pictures())
    averaged = "tensors" if repr(average.method) == _method(headers[0]) else "merged weights"
    return Soup(out, repr(average.method), averaged, members, reached)


def _greedy(
    alone: Sequence[float | None], judged: Callable[[Sequence[int]], float | None]
) -> list[int]:
    accuracies = [0.0 if one is None else one for one in alone]
    order = sorted(range(len(alone)), key=lambda i: (-accuracies[i], i))
    chosen, best = [order[0]], accuracies[order[0]]
    for i in order[1:]:
        reached = judged([*chosen, i])
        if reached is not None and reached >= best:
            chosen, best = [*chosen, i], reached
    return chosen


def _average_of(
    files: Sequence[TuningFile], header: Mapping[str, Any], backbone: Backbone
) -> tuple[Attachment, Callable[[int], Tensors]]:
    """An attachment that takes the mean, and what gives the i-th tuning's tensors for it."""
    attachment = load(files[0], backbone)
    folds = any(isinstance(e, Reweight) for e in attachment.edits)
    if not folds or _tensors_average(files, attachment):
        return attachment, lambda i: files[i].tensors
    attachment.detach()
    return _average_of_weights(files, header, backbone)


def _tensors_average(files: Sequence[TuningFile], attachment: Attachment) -> bool:
    """Whether the mean of the tensors folds to the mean of the folded weights, in float64."""
    if not attachment.mergeable:
        raise InputError(
            f"{attachment.method!r} folds one part and runs another beside the network; there is "
            "no soup of both. Give tunings of one method"
        )
    double = copy.deepcopy(attachment)
    double.model.double()

    def fold(tensors: Tensors) -> Tensors:
        double.load_tensors(tensors)
        return copy.deepcopy(double).merge().state_dict()

    each = [{n: t.double() for n, t in file.tensors.items()} for file in files]
    wanted, found = _mean([fold(t) for t in each]), fold(_mean(each))
    floats = [n for n, t in wanted.items() if t.is_floating_point()]
    return all(bool((wanted[n] - found[n]).abs().max() < _SAME) for n in floats)


def _average_of_weights(
    files: Sequence[TuningFile], header: Mapping[str, Any], backbone: Backbone
) -> tuple[Attachment, Callable[[int], Tensors]]:
    plain = set(backbone.model.state_dict())

    def merge_member(i: int) -> Tensors:
        other = replace(backbone, model=copy.deepcopy(bare))
        return load(files[i], other).merge().state_dict()

    bare = copy.deepcopy(backbone.model)
    whole = Full("moving" if _moves_statistics(header) else "held")
    average = attach(
        backbone, whole, num_classes=header["num_classes"], head=header["head"], seed=0
    )
    names = list(average.named_tensors())
    added = [n for n in merge_member(0) if n not in plain and n not in names]
    if added:
        average.detach()
        raise InputError(
            f"{header['method']} merges into a network with tensors of its own ({added[0]}), which "
            "no tuning can hold; merge each tuning and average the files"
        )
    return average, lambda i: {n: t for n, t in merge_member(i).items() if n in names}


def _mean(many: Sequence[Tensors]) -> Tensors:
    """The mean of each tensor, summed in float64; of counters, those of the first."""
    first = many[0]
    return {
        n: sum((m[n].double() for m in many[1:]), t.double()).div(len(many)).to(t.dtype)
        if t.is_floating_point()
        else t
        for n, t in first.items()
    }


def _moves_statistics(header: Mapping[str, Any]) -> bool:
    """Whether running statistics of BatchNorm are among what the tuning changed."""
    from foldtune.methods.catalogue import parse

    return any(
        getattr(part, "statistics", "held") == "moving" for part in parse(header["method"]).parts
    )


def _method(header: Mapping[str, Any]) -> str:
    from foldtune.methods.catalogue import parse

    return repr(parse(header["method"]))


def _refuse_unlike(paths: Sequence[Path], headers: Sequence[Mapping[str, Any]]) -> None:
    if len(paths) < 2:
        raise InputError("a soup needs at least two tunings")
    refuse_unless_classes(headers[0], "a soup")
    for what in ("method", "base_hash", "classes", "head"):
        for path, header in zip(paths, headers, strict=True):
            if header.get(what) != headers[0].get(what):
                told = "backbone's weights" if what == "base_hash" else what
                raise InputError(
                    f"{path} has another {told} than {paths[0]}; a soup is of tunings of one "
                    "method, over one backbone, for the same classes"
                )
