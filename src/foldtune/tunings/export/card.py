"""README.md of an exported folder: a model card, put together from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foldtune.console import plain
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.tasks.task import Task
from foldtune.tunings.export.certificate import task_told
from foldtune.tunings.export.hosts import LIVE, TIMM, TRANSFORMERS
from foldtune.tunings.outputs import told_figure

_SHOWN = 20  # classes that are named

_LOAD = {
    TIMM: """```python
import timm
from PIL import Image

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or hf-hub:OWNER/NAME
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
logits = model(transform(Image.open("photo.jpg").convert("RGB"))[None])
ANSWER
```""",
    TRANSFORMERS: """```python
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("FOLDER").eval()
processor = AutoImageProcessor.from_pretrained("FOLDER")
logits = model(**processor(Image.open("photo.jpg"), return_tensors="pt")).logits
ANSWER
```""",
    LIVE: """The method cannot be folded into the backbone, so the trained tensors are beside it:
`foldtune/tuning.safetensors`, to be read with foldtune and the same backbone.

```
foldtune predict FOLDER photo.jpg
```""",
}


# The names of the outputs, as each library keeps them.
_NAMES = {
    TIMM: 'names = model.pretrained_cfg["label_names"]',
    TRANSFORMERS: "names = list(model.config.id2label.values())",
}
_ANSWERS: Mapping[type[Task], str] = {
    SingleLabel: "print(names[logits.argmax()])",
    MultiLabel: "print([name for name, x in zip(names, logits[0]) if x >= 0])  # from one half on",
    # Each output is the chance of being above a grade given above the one before.
    Ordinal: "above = logits[0].sigmoid().cumprod(0)\nprint(GRADES[int((above > 0.5).sum())])",
    Regression: "print(float(logits[0, 0]))",
}
_WHAT: Mapping[type[Task], str] = {
    SingleLabel: "An image classifier of {} classes", MultiLabel: "Names which of {} labels hold",
    Ordinal: "Grades an image on {} grades", Regression: "Predicts a number from an image",
}  # fmt: skip
_LIMITS: Mapping[type[Task], str] = {
    SingleLabel: "It names one of its classes for every image, also for one that shows none of "
    "them.",
    MultiLabel: "A label that it was not trained on is never named, and one half is a threshold "
    "like any other.",
    Ordinal: "It grades every image, also one that the grades have no meaning for.",
    Regression: "It gives a number for every image, also one that it has no meaning for.",
}


def card(told: Mapping[str, Any]) -> str:
    """The text. told: what foldtune.json says, see `export_tuning`."""
    parts = [
        _front(told), _opening(told), "## Use\n\n" + _use(told), _images(told),
        _results(told), _training(told), _certificates(told["certificates"]), _limits(told),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def _front(told: Mapping[str, Any]) -> str:
    """The header that a hub reads; values as JSON, which YAML takes."""
    library = {TIMM: "timm", TRANSFORMERS: "transformers", LIVE: "foldtune"}[told["kind"]]
    lines = [f"library_name: {library}", "pipeline_tag: image-classification"]
    if told.get("licence"):
        lines.append(f"license: {json.dumps(told['licence'])}")
    lines.append('tags: ["image-classification", "foldtune", "peft"]')
    return "\n".join(["---", *lines, "---"])


def _task(told: Mapping[str, Any]) -> Task:
    return task_told(told.get("task"))


def _use(told: Mapping[str, Any]) -> str:
    kind, task = told["kind"], _task(told)
    lines = [_NAMES.get(kind, "")] if isinstance(task, SingleLabel | MultiLabel) else []
    if isinstance(task, Ordinal):
        lines = [f"GRADES = {json.dumps(list(told['classes']))}"]
    return _LOAD[kind].replace("ANSWER", "\n".join([*lines, _ANSWERS[type(task)]]))


def _opening(told: Mapping[str, Any]) -> str:
    task = _task(told)
    if isinstance(task, Regression):
        what = f"{_WHAT[Regression]}, in the unit of the labels."
        return f"{_title(told)}\n\n{what} Made with foldtune {told['foldtune']}."
    classes = [_text(name) for name in told["classes"]]
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return (
        f"{_title(told)}\n\n{_WHAT[type(task)].format(len(classes))}: "
        f"{', '.join(classes[:_SHOWN])}{more}. Made with foldtune {told['foldtune']}."
    )


def _title(told: Mapping[str, Any]) -> str:
    return f"# {_text(told['backbone']['name'])}, tuned with {_text(told['method'])}"


def _images(told: Mapping[str, Any]) -> str:
    way = told["transform"]
    size = way["size"] if isinstance(way["size"], int) else " x ".join(map(str, way["size"]))
    squash = "squashed to that size whatever their aspect"
    how = squash if way["resize"] == "squash" else "resized, and their centre cut out"
    lines = [
        f"Images are {size} pixels, {how} ({way['interpolation']}), values from 0 to 1 less "
        f"mean {way['mean']}, over std {way['std']}.",
        *(f"Not expressed in the files: {line}." for line in told["inexpressible"]),
    ]
    return "\n".join(lines)


def _results(told: Mapping[str, Any]) -> str:
    row, rows = told.get("row") or {}, []
    if row.get("test_accuracy") is not None:
        score = "accuracy" if _task(told).usual else "score"
        rows.append(
            f"- test {score} {row['test_accuracy']:.2%} over {row['test_images']:,} images"
            + _between(row)
        )
    if row.get("val_accuracy") is not None:
        score = "accuracy" if _task(told).usual else "score"
        rows.append(f"- validation {score} {row['val_accuracy']:.2%}, on which it was chosen")
    for name, value in sorted((row.get("test") or {}).items()):
        rows.append(f"- test {name} {value:.4g}")
    first = next(iter(told["certificates"]), None)
    if not rows and first is not None and first["accuracy"] is not None:
        seen = first["trained_on"]
        rows.append(
            f"- {first['metric']} {_figure_text(first, 'accuracy')} over {first['images']:,} images"
            + _ends(first)
            + f"; {seen} of them were trained on" * bool(seen)
        )
    return "## Results\n\n" + "\n".join(rows) if rows else ""


def _between(row: Mapping[str, Any]) -> str:
    if row.get("low") is None:
        return ""
    return f" (95 % interval {row['low']:.2%} to {row['high']:.2%})"


def _figure_text(one: Mapping[str, Any], name: str) -> str:
    return told_figure(one[name], task_told(one.get("task")))


def _ends(one: Mapping[str, Any]) -> str:
    if one.get("low") is None:
        return ""
    return f" (95 % interval {_figure_text(one, 'low')} to {_figure_text(one, 'high')})"


def _training(told: Mapping[str, Any]) -> str:
    data, training = told["data"], told["training"]
    recipe = training.get("recipe") or {}
    counts = ", ".join(f"{count:,} {name}" for name, count in told["pictures"].items())
    lines = [
        f"- data: {_text(data.get('name'))}, {counts or 'unknown numbers of images'}; "
        f"identity `{_code(data.get('identity'))}`",
        f"- trained on: {', '.join(training.get('train_on', ())) or 'unknown'}; "
        f"seed {training.get('seed')}",
        f"- backbone: {_text(told['backbone']['name'])}, weights "
        f"{_text(told['backbone'].get('weights'))}, hash `{_code(told['backbone'].get('hash'))}`",
        f"- method: `{_code(told['method'])}`, {told['trainable']:,} trained parameters and a "
        f"classifier of {told['head']:,}",
        "- recipe: " + (", ".join(f"{k} {v}" for k, v in recipe.items()) or "unknown"),
    ]
    return "## Training\n\n" + "\n".join(lines)


def _certificates(found: Sequence[Mapping[str, Any]]) -> str:
    head = (
        "## Certificate\n\nEach file in its own runtime beside the tuning in torch, over "
        f"{found[0]['images']:,} real images" + (
            f", {found[0]['trained_on']:,} of which were trained on" * bool(found[0]["trained_on"])
        ) + ".\n\n"
        f"| file | runtime | largest difference | predictions changed | "
        f"{found[0]['metric']} before, after | "
        "bytes | ms an image, tuning's |\n|---|---|---|---|---|---|---|"
    ) if found else ""  # fmt: skip
    return "\n".join([head, *(_line(one) for one in found)]) if found else ""


def _line(one: Mapping[str, Any]) -> str:
    right = "-"
    if one["accuracy"] is not None:
        right = (
            f"{_figure_text(one, 'accuracy_before')}, {_figure_text(one, 'accuracy')}{_ends(one)}"
        )
    return (
        f"| {one['file']} | {one['runtime']} | {one['largest']:.2e} of {one['scale']:.3g} | "
        f"{one['changed']} | {right} | {one['bytes']:,} | {one['milliseconds']:.2f}, "
        f"{one['milliseconds_before']:.2f} |"
    )


def _limits(told: Mapping[str, Any]) -> str:
    lines: Iterable[str] = (
        _LIMITS[type(_task(told))],
        "The figures hold for images like those it was tested on; `foldtune eval FOLDER DATA` "
        "judges it on yours.",
        f"Licence of the backbone's weights: {told['licence']}."
        if told.get("licence")
        else "The licence of the backbone's weights is not known here: look it up before you share "
        "this model.",
    )
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _text(value: Any) -> str:
    """A name of somebody else's as one line that Markdown takes as text."""
    said = " ".join(plain(str(value)).split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in said)


def _code(value: Any) -> str:
    """The same inside backticks."""
    return " ".join(plain(str(value)).split()).replace("`", "'")
