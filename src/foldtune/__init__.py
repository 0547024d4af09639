"""Fine-tune a frozen vision backbone, compare methods fairly, fold the winner back in.

    import foldtune
    result = foldtune.compare("photos/", "micro", out="study")

Names are resolved when first used, so that importing foldtune imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from foldtune.torchvision_ops import declare_before_torchvision

__version__ = "0.1.0"

if TYPE_CHECKING:
    from foldtune import methods as methods
    from foldtune.backbones import load as load
    from foldtune.backbones import load_backbone as load_backbone
    from foldtune.core.attach import attach as attach
    from foldtune.core.compute.folding import effective as effective
    from foldtune.core.structure.finding import find_sites as find_sites
    from foldtune.core.tuningfile import save as save
    from foldtune.core.verbs import interpolate as interpolate
    from foldtune.data import load_data as load_data
    from foldtune.report.notebook import charts as charts
    from foldtune.report.notebook import show as show
    from foldtune.report.page import write_report as write_report
    from foldtune.study.advise import advise as advise
    from foldtune.study.classifier import Classifier as Classifier
    from foldtune.study.compare import compare as compare
    from foldtune.study.fit import fit as fit
    from foldtune.study.folds import compare_folds as compare_folds
    from foldtune.study.tuned.export import export as export
    from foldtune.study.tuned.predict import predict as predict
    from foldtune.study.tuned.verbs import evaluate as evaluate
    from foldtune.study.tuned.verbs import merge as merge
    from foldtune.training.recipe import Recipe as Recipe

_HOMES = {
    "Classifier": "foldtune.study.classifier",
    "Recipe": "foldtune.training.recipe",
    "advise": "foldtune.study.advise",
    "attach": "foldtune.core.attach",
    "charts": "foldtune.report.notebook",
    "compare": "foldtune.study.compare",
    "compare_folds": "foldtune.study.folds",
    "effective": "foldtune.core.compute.folding",
    "evaluate": "foldtune.study.tuned.verbs",
    "export": "foldtune.study.tuned.export",
    "find_sites": "foldtune.core.structure.finding",
    "fit": "foldtune.study.fit",
    "interpolate": "foldtune.core.verbs",
    "load": "foldtune.backbones",
    "load_backbone": "foldtune.backbones",
    "load_data": "foldtune.data",
    "merge": "foldtune.study.tuned.verbs",
    "predict": "foldtune.study.tuned.predict",
    "save": "foldtune.core.tuningfile",
    "show": "foldtune.report.notebook",
    "write_report": "foldtune.report.page",
}
__all__ = [*_HOMES, "methods"]
_NOT_OURS = {"TYPE_CHECKING", "Any", "annotations", "declare_before_torchvision", "importlib"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name == "methods":
        return importlib.import_module("foldtune.methods")
    raise AttributeError(f"module 'foldtune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - _NOT_OURS)


declare_before_torchvision()
