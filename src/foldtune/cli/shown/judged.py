"""What one tuning's figures say on a terminal: after `fit`, and of `eval`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foldtune.console import duration, facts, percent, table, write

if TYPE_CHECKING:
    from foldtune.study.fit import Fitted

_TRAINED = "_including_trained"
_OF_HOME = ("home", "drop", "predicted", "effective")
# Of each figure what it is, and whether it is a share of images.
_FIGURES = {
    "top5": ("among the five likeliest", True),
    "per_class": ("mean over classes", True),
    "nll": ("negative log-likelihood, nats an image", False),
    "brier": ("Brier score, 0 to 2", False),
    "ece": ("calibration error (ECE, 15 bins)", True),
    "aurc": ("errors at all coverages (AURC)", False),
}


def show_fit(found: Fitted, data: str) -> None:
    """What came of it in a sentence, what trained, the file, and what to do with it."""
    from scipy.special import ndtri

    from foldtune.analysis.spread import wilson

    row = found.row
    low, high = wilson(row["test_accuracy"], row["test_images"], ndtri(0.975))
    write(
        f"{row['method']} reaches {percent(row['test_accuracy'])} on {row['test_images']:,} test "
        f"images (95 % interval {100 * low:.1f} to {100 * high:.1f}, over such images)."
    )
    facts(
        {
            "validation": percent(row.get("val_accuracy")),
            "trained": f"{row['trainable']:,} parameters and a classifier of {row['head']:,}, "
            f"of {row['total']:,} in all",
            "time": duration(row["seconds"]),
            "tuning": str(found.tuning),
        }
    )
    name = shlex.quote(str(found.tuning))
    write(f"Next: foldtune predict {name} IMAGES, foldtune eval {name} {shlex.quote(data)}")
    if row["mergeable"]:
        write(f"      foldtune merge {name} --out merged.safetensors")


def show_judged(told: Mapping[str, Any]) -> None:
    """How often it is right, with the interval, then further figures in words, then shifts."""
    from scipy.special import ndtri

    from foldtune.analysis.spread import wilson

    name = "top1" if "top1" in told else f"top1{_TRAINED}"
    share, images = told[name], told["images"]
    low, high = wilson(share, images, ndtri(0.975))
    seen = ", those that it was trained on among them" if name != "top1" else ""
    write(
        f"It is right about {percent(share)} of {images:,} images (split {told['split']}{seen}; "
        f"95 % interval {100 * low:.1f} to {100 * high:.1f}, over such images)."
    )
    shown = {}
    for key, (words, is_share) in _FIGURES.items():
        value = told.get(key, told.get(f"{key}{_TRAINED}"))
        if value is not None:
            shown[words] = percent(value) if is_share else value
    if "absent" in told:
        shown["classes without an image"] = f"{told['absent_classes']}: {', '.join(told['absent'])}"
    facts(shown)
    if told.get("shifts"):
        first: dict[str, Any] = {key: None for row in told["shifts"] for key in row}
        leading = ("shift", "images", "classes", "top1")
        table(
            told["shifts"],
            [c for c in first if c in leading or c.partition("_including")[0] in _OF_HOME],
        )
    if told.get("corruptions"):
        facts(told["corruptions"])
