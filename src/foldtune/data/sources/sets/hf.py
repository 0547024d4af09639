"""Hugging Face `datasets`: by name (`hf:beans`), or saved to disk (`hf@folder`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from foldtune.data.sources.listing import Item, Listing
from foldtune.data.sources.readers import regular_bytes
from foldtune.data.sources.spec import Spec
from foldtune.data.sources.tables.rows import sorted_labels
from foldtune.data.splits import split_name
from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Regression
from foldtune.tasks.recognition import joined_labels

_LABELS = ("label", "labels", "fine_label", "class", "target")
_REAL = ("float16", "float32", "float64")


class HfReader:
    """Reads `split/row`. The data set does not travel: each process opens its own."""

    def __init__(self, spec: Spec, column: str) -> None:
        self.spec, self.column = spec, column
        self._open: Mapping[str, Any] | None = None

    def __call__(self, name: str) -> bytes:
        if self._open is None:
            self._open = {s: _without_decoding(d, self.column) for s, d in load(self.spec).items()}
        split, row = name.rsplit("/", 1)
        cell = self._open[split][int(row)][self.column]
        if cell.get("bytes") is not None:
            encoded: bytes = cell["bytes"]
            return encoded
        return regular_bytes(cell["path"])

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "column": self.column, "_open": None}


def read(spec: Spec) -> Listing:
    """List a data set. Splits named train, val(idation) and test are taken; others are refused."""
    splits = load(spec)
    first = next(iter(splits.values()))
    image, label = _image_column(spec, first), _label_column(spec, first)
    feature = first.features[label]
    if (inner := _inner(feature)) is not None or str(getattr(feature, "dtype", "")) in _REAL:
        return _list_unclassed(spec, splits, image, label, inner)
    names = getattr(feature, "names", None)
    cells = {split: data[label] for split, data in splits.items()}
    classes = tuple(names) if names else sorted_labels({str(c) for v in cells.values() for c in v})
    index = {name: number for number, name in enumerate(classes)}
    group = spec.options.get("group")
    items: list[Item] = []
    stamps: list[str] = []
    groups: list[str] = []
    for split, data in splits.items():
        given = split_name(split) if len(splits) > 1 or split_name(split) != "train" else None
        for row, cell in enumerate(cells[split]):
            value = int(cell) if names else index[str(cell)]
            if not 0 <= value < len(classes):
                raise InputError(
                    f"{spec.text}: {split} row {row} has the label {cell}; unlabelled?"
                )
            items.append(Item(f"{split}/{row}", value, given))
            stamps.append(f"{data._fingerprint}:row:{row}")
        groups += [str(value) for value in data[group]] if group else []
    reader = HfReader(spec, image)
    return Listing(tuple(items), classes, reader, tuple(stamps), groups=tuple(groups))


def _inner(feature: Any) -> Any:
    """What a feature is a list of; None for what is no list."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", None)


def _list_unclassed(
    spec: Spec, splits: Mapping[str, Any], image: str, label: str, inner: Any
) -> Listing:
    """The listing of lists of labels, or of numbers to predict."""
    names, group = getattr(inner, "names", None), spec.options.get("group")
    rows: list[tuple[str, str, str | None]] = []
    stamps: list[str] = []
    groups: list[str] = []
    for split, data in splits.items():
        given = split_name(split) if len(splits) > 1 or split_name(split) != "train" else None
        for row, cell in enumerate(data[label]):
            if cell is None:
                raise InputError(f"{spec.text}: {split} row {row} has no label; leave it out")
            if inner is None:
                text = repr(float(cell))
            else:
                text = joined_labels([names[one] if names else str(one) for one in cell])
            rows.append((f"{split}/{row}", text, given))
            stamps.append(f"{data._fingerprint}:row:{row}")
        groups += [str(value) for value in data[group]] if group else []
    classes = sorted_labels({text for _, text, _ in rows})
    index = {text: place for place, text in enumerate(classes)}
    items = tuple(Item(name, index[text], given) for name, text, given in rows)
    task = Regression() if inner is None else MultiLabel()
    return Listing(
        items, classes, HfReader(spec, image), tuple(stamps), groups=tuple(groups), task=task
    )


def load(spec: Spec) -> dict[str, Any]:
    """The splits of a data set, by name."""
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            "hf needs the package datasets; pip install 'foldtune[hf-data]'"
        ) from error
    try:
        if spec.root is not None:
            found = datasets.load_from_disk(str(spec.root))
        else:
            found = datasets.load_dataset(
                spec.part, spec.options.get("config"), revision=spec.options.get("revision")
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        text = " ".join(str(error).split())[:200]
        raise InputError(f"{spec.text!r} cannot be loaded ({text})") from error
    splits = dict(found) if isinstance(found, datasets.DatasetDict) else {"train": found}
    odd = [name for name in splits if split_name(name) is None]
    if odd:
        raise InputError(
            f"{spec.text!r} has the splits {', '.join(splits)}; {odd[0]} is none of train, "
            "validation, test: save the ones to use under these names (DatasetDict.save_to_disk)"
        )
    return splits


def _without_decoding(data: Any, column: str) -> Any:
    from datasets import Image

    return data.cast_column(column, Image(decode=False))


def _image_column(spec: Spec, data: Any) -> str:
    from datasets import Image

    wanted = spec.options.get("image")
    found = [name for name, kind in data.features.items() if isinstance(kind, Image)]
    if wanted in found:
        return str(wanted)
    if wanted is not None or len(found) != 1:
        raise InputError(
            f"{spec.text!r} has the image columns {', '.join(found) or 'none'} of "
            f"{', '.join(data.features)}; say which by image=COLUMN"
        )
    return str(found[0])


def _label_column(spec: Spec, data: Any) -> str:
    wanted = spec.options.get("label")
    for name in (wanted,) if wanted else _LABELS:
        if name in data.features:
            return str(name)
    raise InputError(
        f"{spec.text!r} has no column {wanted or ' or '.join(_LABELS)}, but "
        f"{', '.join(data.features)}; say which by label=COLUMN"
    )
