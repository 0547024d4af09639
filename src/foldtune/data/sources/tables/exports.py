"""What annotation tools export for classification: COCO's JSON, and Label Studio's two.

COCO: `images` (id, file_name), `annotations` (image_id, category_id), `categories` (id, name).
Label Studio: a list of tasks, whose results are choices (JSON), or whose fields are plain
(JSON-MIN); an image is named by its address in the tool, of which the file's name is left, with the
eight letters that an upload puts before it or without. Where an image has several labels, all are
read as several.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from foldtune import gate
from foldtune.data.sources.tables.columns import Cells
from foldtune.errors import InputError
from foldtune.tasks.recognition import joined_labels

_ID = gate.either(gate.integer(-(1 << 53), 1 << 53), gate.text(200))
_COCO = gate.fields(
    {
        "images": gate.list_of(gate.fields({"id": _ID, "file_name": gate.text(4000)})),
        "annotations": gate.list_of(gate.fields({"image_id": _ID, "category_id": _ID})),
        "categories": gate.list_of(gate.fields({"id": _ID, "name": gate.text(1000)}), 100_000),
    }
)
_TASKS = gate.list_of(gate.mapping_of(gate.anything, 1000))
_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)", re.DOTALL)
_IMAGES, _CHOICES = ("image", "img", "photo", "picture"), ("choice", "choices", "label", "class")
_FOLDERS = ("", "images", "upload", "data")


def read_export(path: Path) -> Cells:
    """The columns `path` and `label` of an export. Raises InputError for other JSON, and for an
    image without a label where none has several."""
    told = gate.parse_file(path, largest=1 << 30)
    if isinstance(told, dict) and {"images", "annotations", "categories"} <= told.keys():
        return _coco(gate.check_value(told, _COCO, path), path)
    if isinstance(told, list) and told:
        return _label_studio(gate.check_value(told, _TASKS, path), path)
    raise InputError(
        f"{path} is no export that is known: COCO's (images, annotations, categories) or Label "
        "Studio's (a list of tasks); list its images in a CSV with columns path,label"
    )


def _coco(told: Mapping[str, Any], path: Path) -> Cells:
    categories = {one["id"]: one["name"] for one in told["categories"]}
    labels: dict[Any, set[str]] = {}
    for one in told["annotations"]:
        if one["category_id"] not in categories:
            raise InputError(f"{path} names no category {one['category_id']!r}")
        labels.setdefault(one["image_id"], set()).add(categories[one["category_id"]])
    names = [one["file_name"] for one in told["images"]]
    held = [labels.get(one["id"], set()) for one in told["images"]]
    return _cells(path, names, names, held, tuple(dict.fromkeys(categories.values())))


def _label_studio(tasks: Sequence[Mapping[str, Any]], path: Path) -> Cells:
    addresses = []
    for number, task in enumerate(tasks, 1):
        data = task.get("data", task)
        address = next((data[name] for name in _IMAGES if isinstance(data, dict)
                        and isinstance(data.get(name), str)), None)  # fmt: skip
        if address is None:
            raise InputError(
                f"{path}: task {number} has no image; its data needs one of {', '.join(_IMAGES)}"
            )
        addresses.append(address)
    names = [_local(path.parent, address) for address in addresses]
    return _cells(path, names, addresses, [_choices(task) for task in tasks])


def _cells(
    path: Path, names: list[str], said: Sequence[str], held: Sequence[set[str]],
    classes: tuple[str, ...] = (),
) -> Cells:  # fmt: skip
    """The columns of images with these labels each; said: what the export calls the images."""
    if any(len(labels) > 1 for labels in held):
        joined = [joined_labels(sorted(labels)) for labels in held]
        return Cells({"path": names, "label": joined}, several=True)
    bare = next((name for name, labels in zip(said, held, strict=True) if not labels), None)
    if bare is not None:
        raise InputError(f"{path}: {bare} has no label; label it, or take it out")
    single = [label for labels in held for label in labels]
    present = set(single)
    return Cells(
        {"path": names, "label": single}, classes=tuple(c for c in classes if c in present)
    )


def _choices(task: Mapping[str, Any]) -> set[str]:
    """The choices of a task: of its first annotation that was not cancelled, or of its fields."""
    annotations = task.get("annotations", task.get("completions"))
    if isinstance(annotations, list):
        for one in annotations:
            if isinstance(one, dict) and not one.get("was_cancelled"):
                results = one.get("result")
                return {
                    str(choice)
                    for result in (results if isinstance(results, list) else ())
                    if isinstance(result, dict) and isinstance(result.get("value"), dict)
                    for choice in _several(result["value"].get("choices"))
                }
        return set()
    field = next((task[name] for name in _CHOICES if name in task), None)
    return set(_several(field.get("choices") if isinstance(field, dict) else field))


def _several(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _local(folder: Path, address: str) -> str:
    """The file of an address, from the export's folder: where none is found, the file's name."""
    parts = urlsplit(address)
    place = parse_qs(parts.query).get("d", [unquote(parts.path)])[0].replace("\\", "/").lstrip("/")
    file = place.rpartition("/")[2]
    uploaded = _UPLOADED.fullmatch(file)
    for name in (place, file, *([uploaded[1]] if uploaded else ())):
        for beside in _FOLDERS:
            candidate = f"{beside}/{name}" if beside else name
            if ".." not in candidate.split("/") and os.path.isfile(folder / candidate):
                return candidate
    return uploaded[1] if uploaded else file
