"""Types of options that are checked before any work: where results go, and seeds."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from foldtune.errors import InputError
from foldtune.files import names_folder, refuse_full
from foldtune.gate import check_seed

# Bytes without which a disk is full; what a verb will write it asks for once that is known.
_ROOM = 1 << 20
_SHOWN = 3  # foreign files that a refusal names


def _as_path(_type: Any, tokens: Sequence[Any]) -> Path:
    text = tokens[0].value
    if not text.strip() or "\0" in text:
        raise InputError(f"{tokens[0].keyword or 'OUT'} is empty; name a file or folder")
    return Path(text)


def _folder(*ours: str) -> Callable[[Any, Path | None], None]:
    """A check that a folder may be made or gone on with. ours: names one of which is in every
    folder that the verb wrote; with none, any folder will do."""

    def check(_type: Any, path: Path | None) -> None:
        if path is None:
            return None
        if _mode(path) is None:
            return _writable(_nearest(path), path)
        if not path.is_dir():
            raise InputError(f"{path} is {_kind(path)}; name a folder")
        _writable(path, path)
        inside = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
        if ours and inside and not any(name in ours for name in inside):
            raise InputError(
                f"{path} holds other files ({', '.join(inside[:_SHOWN])}); name a new folder"
            )
        return None

    return check


def _file(*suffixes: str) -> Callable[[Any, Path | None], None]:
    """A check that a file may be written. suffixes: of names whose file may be replaced."""

    def check(_type: Any, path: Path | None) -> None:
        if path is None:
            return
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            raise InputError(f"{path} is {_kind(path)}; name a file")
        if mode is not None and path.stat().st_size and path.suffix not in suffixes:
            raise InputError(
                f"{path} is there already and no {' or '.join(suffixes)}; name another file"
            )
        _writable(_nearest(path.parent), path)

    return check


def _file_or_folder(kind: Any, path: Path | None) -> None:
    check = _folder("foldtune.json") if path and names_folder(path) else _file(".safetensors")
    check(kind, path)


def _mode(path: Path) -> int | None:
    """What is at the path; None where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # too long, or in a folder that one may not look into
        raise InputError(f"{_cut(path)}: {(error.strerror or str(error)).lower()}") from None


def _nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    found = path.absolute()
    while _mode(found) is None:
        found = found.parent
    return found


def _writable(folder: Path, path: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{path} cannot be made: {folder} is {_kind(folder)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: {folder} takes no files of yours")
    refuse_full(path, _ROOM)


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a file" if stat.S_ISREG(mode) else "a device or pipe"


def _cut(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-20:]}"


def whole(_type: Any, tokens: Sequence[Any]) -> int:
    """A whole number as it is written; cyclopts (5.4) would round 1.5 in silence."""
    text = tokens[0].value
    try:
        return int(text)
    except ValueError:
        raise InputError(
            f"{tokens[0].keyword or 'a number'} is {text!r}; give a whole number, such as 1"
        ) from None


def _seed(_type: Any, value: int | None) -> None:
    if value is not None:
        check_seed(value)


def _parameter(check: Callable[[Any, Path | None], None], text: str) -> Parameter:
    return Parameter(converter=_as_path, validator=check, help=text)


_STUDY = ("study.json", "rows.jsonl", "lock", "runs", "names.json")
_SPLITS = ("fold0", "repeat0", "repeat0-fold0", "folds.json")
_RUN = ("tuning.safetensors", "checkpoint.safetensors", "logits.safetensors", "error.txt")
_OF_STUDY = "The study's folder; one that is there is gone on with."
STUDY_OUT = Annotated[Path, _parameter(_folder(*_STUDY, *_SPLITS), _OF_STUDY)]
_OF_FIT = "A folder for the tuning and its test logits."
FIT_OUT = Annotated[Path, _parameter(_folder(*_RUN, "validation.safetensors"), _OF_FIT)]
ENSEMBLE_OUT = Annotated[Path, _parameter(_folder("ensemble.json"), "The ensemble's folder.")]
ADAPTER_OUT = Annotated[Path, _parameter(_folder("adapter_config.json"), "The adapter's folder.")]
EXPORT_OUT = Annotated[Path, _parameter(_folder("foldtune.json"), "The folder to write.")]
FOLDER_OUT = Annotated[Path, _parameter(_folder(), "A folder.")]
TENSORS_OUT = Annotated[Path, _parameter(_file(".safetensors"), "The .safetensors file to write.")]
_OF_MERGE = "The .safetensors file to write; or a folder, as export writes it."
MERGE_OUT = Annotated[Path, _parameter(_file_or_folder, _OF_MERGE)]
PAGE_OUT = Annotated[Path, _parameter(_file(".html", ".htm"), "Where the page goes.")]
_OF_PICTURE = "A file that gets a picture of some images of each class."
PICTURE_OUT = Annotated[Path, _parameter(_file(".png", ".jpg", ".jpeg", ".webp"), _OF_PICTURE)]
_OF_FEATURES = "The .npz or .parquet file to write."
FEATURES_OUT = Annotated[Path, _parameter(_file(".npz", ".parquet"), _OF_FEATURES)]
TABLE_OUT = Annotated[Path, _parameter(_file(".csv"), "The .csv file to write.")]
LIST_OUT = Annotated[Path, _parameter(_file(".txt", ".csv"), "The list of names to write.")]
SEED_CHECK = Parameter(converter=whole, validator=_seed)
SEED = Annotated[int, SEED_CHECK]
WHOLE = Annotated[int, Parameter(converter=whole)]
