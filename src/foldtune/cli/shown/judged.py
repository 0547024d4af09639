"""What one tuning's figures say on a terminal: after `fit`, and of `eval`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foldtune.console import duration, facts, percent, table, write

if TYPE_CHECKING:
    from foldtune.study.fit import Fitted

_CLASSES, _CONFUSIONS = 40, 3  # that a terminal shows
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
    row = found.row
    write(f"{row['method']} reaches {_test_figure(row)}.")
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


def _test_figure(row: Mapping[str, Any]) -> str:
    """The test figure; of right and wrong images with its interval."""
    from scipy.special import ndtri

    from foldtune.analysis.spread import wilson
    from foldtune.tasks.metrics import DEFAULT, METRICS

    on = f"on {row['test_images']:,} test images"
    metric = METRICS[row.get("metric") or DEFAULT]
    if metric is not METRICS[DEFAULT]:
        how = f"1 minus the {metric.title} over the span of the labels"
        return f"{percent(row['test_accuracy'])} {on} ({how if metric.error else metric.title})"
    low, high = wilson(row["test_accuracy"], row["test_images"], ndtri(0.975))
    interval = f"95 % interval {100 * low:.1f} to {100 * high:.1f}, over such images"
    return f"{percent(row['test_accuracy'])} {on} ({interval})"


def show_judged(told: Mapping[str, Any]) -> None:
    """How often it is right, with the interval, then further figures in words, what it confuses by
    class, then shifts; of another task than one class an image its metrics."""
    name = "top1" if "top1" in told else f"top1{_TRAINED}"
    if name in told:
        _show_share(told, name)
    else:
        facts({k: v for k, v in told.items() if k != "notes" and not k.startswith("judgement")})
    _show_judgement(next((v for k, v in told.items() if k.startswith("judgement")), {}))
    if told.get("shifts"):
        first: dict[str, Any] = {key: None for row in told["shifts"] for key in row}
        leading = ("shift", "images", "classes", "top1")
        table(
            told["shifts"],
            [c for c in first if c in leading or c.partition("_including")[0] in _OF_HOME],
        )
    if told.get("corruptions"):
        facts(told["corruptions"])


def _show_share(told: Mapping[str, Any], name: str) -> None:
    """The share that is right, and what else is known of confidences."""
    from scipy.special import ndtri

    from foldtune.analysis.spread import wilson

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


def _show_judgement(found: Mapping[str, Any]) -> None:
    """By class or label how many are found, the largest confusions, and the least sure left out."""
    rows = [
        {**row, **{name: _with_interval(row[name]) for name in ("recall", "precision")}}
        for row in found.get("classes", ())
    ]
    at = found.get("thresholds", {})
    for row in rows if at else ():
        row["threshold"] = "never" if at[row["class"]] is None else f"{at[row['class']]:.3f}"
    if rows:
        columns = ("class", "images", "recall", "precision", *(("threshold",) if at else ()))
        table(rows[:_CLASSES], columns)
    if len(rows) > _CLASSES:
        write(f"{len(rows) - _CLASSES} more classes; --json tells all")
    for one in found.get("confusions", ())[:_CONFUSIONS]:
        write(f"{one['images']:g} of {one['truth']} are called {one['said']} ({one['share']:.0%})")
    for one in found.get("left_out", ())[1:]:
        write(f"without the {one['left_out']:.0%} least sure: {one['accuracy']:.1%} are right")
    if cost := found.get("cost"):
        write(
            f"Answers of least expected cost cost {cost['mean']:.4g} an image and are right about "
            f"{cost['accuracy']:.1%}; those of the likeliest class cost "
            f"{cost['mean_of_likeliest']:.4g}."
        )
        if cost["mean"] > cost["mean_of_likeliest"]:
            write("Costs weigh probabilities, and these are off; export, and predict --calibrated.")
    if error := found.get("mae"):
        facts({"mean absolute error": _with_interval(error)})


def _with_interval(told: Mapping[str, Any]) -> str:
    """A figure with its interval, where there is one."""
    if told["value"] is None:
        return "–"
    bare = f"{told['value']:.3f}"
    return bare if told["low"] is None else f"{bare} [{told['low']:.3f}, {told['high']:.3f}]"
