"""README.md of an exported folder: a model card, put together from what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from foldtune.console import plain
from foldtune.tunings.export.hosts import LIVE, TIMM, TRANSFORMERS

_SHOWN = 20  # classes that are named

_LOAD = {
    TIMM: """```python
import timm
from PIL import Image

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or hf-hub:OWNER/NAME
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
logits = model(transform(Image.open("photo.jpg").convert("RGB"))[None])
print(model.pretrained_cfg["label_names"][logits.argmax()])
```""",
    TRANSFORMERS: """```python
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("FOLDER").eval()
processor = AutoImageProcessor.from_pretrained("FOLDER")
logits = model(**processor(Image.open("photo.jpg"), return_tensors="pt")).logits
print(model.config.id2label[int(logits.argmax())])
```""",
    LIVE: """The method cannot be folded into the backbone, so the trained tensors are beside it:
`tuning.safetensors`, to be read with foldtune and the same backbone.

```
foldtune predict FOLDER photo.jpg
```""",
}


def card(told: Mapping[str, Any]) -> str:
    """The text. told: what foldtune.json says, see `export_tuning`."""
    parts = [
        _front(told), _opening(told), "## Use\n\n" + _LOAD[told["kind"]], _images(told),
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


def _opening(told: Mapping[str, Any]) -> str:
    classes = [_text(name) for name in told["classes"]]
    more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    return (
        f"# {_text(told['backbone']['name'])}, tuned with {_text(told['method'])}\n\n"
        f"An image classifier of {len(classes)} classes: {', '.join(classes[:_SHOWN])}{more}. "
        f"Made with foldtune {told['foldtune']}."
    )


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
        rows.append(
            f"- test accuracy {row['test_accuracy']:.2%} over {row['test_images']:,} images"
            + _between(row)
        )
    if row.get("val_accuracy") is not None:
        rows.append(f"- validation accuracy {row['val_accuracy']:.2%}, on which it was chosen")
    for name, value in sorted((row.get("test") or {}).items()):
        rows.append(f"- test {name} {value:.4g}")
    first = next(iter(told["certificates"]), None)
    if not rows and first is not None and first["accuracy"] is not None:
        seen = first["trained_on"]
        rows.append(
            f"- accuracy {first['accuracy']:.2%} over {first['images']:,} images{_between(first)}"
            + f"; {seen} of them were trained on" * bool(seen)
        )
    return "## Results\n\n" + "\n".join(rows) if rows else ""


def _between(row: Mapping[str, Any]) -> str:
    if row.get("low") is None:
        return ""
    return f" (95 % interval {row['low']:.2%} to {row['high']:.2%})"


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
        "| file | runtime | largest difference | predictions changed | accuracy before, after | "
        "bytes | ms an image, tuning's |\n|---|---|---|---|---|---|---|"
    ) if found else ""  # fmt: skip
    return "\n".join([head, *(_line(one) for one in found)]) if found else ""


def _line(one: Mapping[str, Any]) -> str:
    right = "-"
    if one["accuracy"] is not None:
        right = f"{one['accuracy_before']:.2%}, {one['accuracy']:.2%}{_between(one)}"
    return (
        f"| {one['file']} | {one['runtime']} | {one['largest']:.2e} of {one['scale']:.3g} | "
        f"{one['changed']} | {right} | {one['bytes']:,} | {one['milliseconds']:.2f}, "
        f"{one['milliseconds_before']:.2f} |"
    )


def _limits(told: Mapping[str, Any]) -> str:
    lines: Iterable[str] = (
        "It names one of its classes for every image, also for one that shows none of them.",
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
