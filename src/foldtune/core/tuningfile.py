"""The tuning file: one safetensors file with a JSON header, never a pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from foldtune.core.attachment import Attachment
from foldtune.core.header import FORMAT, SEALED, checked_header
from foldtune.core.method import written_out
from foldtune.core.tensorfile import hash_tensors, write_tensors
from foldtune.core.tensors import whole
from foldtune.errors import InputError
from foldtune.files import digest, once_a_file

TUNING = "tuning.safetensors"  # in the folder of a run
# In an exported folder, where timm takes every .safetensors beside the configuration for weights.
EXPORTED = f"foldtune/{TUNING}"
_FIELD = "foldtune"
# The end of a header: the hash of all before it and of the tensors. It is no field of its own in
# the file, since safetensors writes several in another order each time (0.8).
_SEAL = re.compile(r'(.*), "hash": "([0-9a-f]{32})"\}', re.DOTALL)
_START = "start:"  # before the names of the classifier's tensors as training found them
_PICTURES = "pictures:"  # before the names of the splits whose pictures are kept


def save(
    attachment: Attachment,
    path: str | Path,
    facts: Mapping[str, Any] | None = None,
    pictures: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write everything the attachment owns, with what is needed to put it back.

    facts: further JSON-able header fields (backbone, classes, transform, training). pictures: by
    split, what those are known by that it was trained and judged on. The file appears whole or not
    at all. Raises InputError when it cannot be written.
    """
    header = header_of(attachment, facts)
    kept = dict(attachment.named_tensors())
    kept |= {_START + n: t for n, t in (attachment.head_start or {}).items()}
    kept |= {_PICTURES + n: t for n, t in (pictures or {}).items()}
    tensors = {n: whole(t.detach()).cpu().contiguous() for n, t in kept.items()}
    text = header_text(header)
    seal = f', "hash": "{_hash(text, tensors)}"}}'
    write_tensors(tensors, Path(path), {_FIELD: text[:-1] + seal})
    return Path(path)


def header_of(attachment: Attachment, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a file says of an attachment: format, method, head, base keys and their hash, facts.

    Raises InputError where a fact has the name of one of these.
    """
    import foldtune

    base = attachment.base_state()
    header = {
        "format": FORMAT,
        "foldtune": foldtune.__version__,
        "method": written_out(attachment.method),
        "head": list(attachment.head),
        "num_classes": attachment.num_classes,
        "base_keys": {name: list(t.shape) for name, t in base.items()},
        "base_hash": hash_tensors(base),
    }
    if attachment.named is not None and "backbone" not in (facts or {}):
        header["backbone"] = attachment.named.identity(attachment.plain_state())
    for name, fact in (facts or {}).items():
        if name in (*header, "hash"):
            raise InputError(
                f"a tuning's header says its own {name!r}; give that fact another name"
            )
        header[name] = fact
    return header


def header_text(header: Mapping[str, Any]) -> str:
    """The header as text. Raises InputError for a fact that JSON has no word for."""
    try:
        return json.dumps(header, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise InputError(f"a fact of the tuning cannot be written as JSON ({error})") from error


def tuning_in(folder: Path) -> Path:
    """The tuning's file in the folder of a run, or in an exported one."""
    exported = folder / EXPORTED
    return exported if exported.is_file() else folder / TUNING


class TuningFile:
    """A tuning in its file, opened and checked once; what it holds is read as it is asked for.

    path: of the file; header: what it says. Raises InputError for a missing, truncated, altered or
    foreign file.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.path = path = tuning_in(path) if path.is_dir() else path
        if not path.is_file():
            raise InputError(f"no tuning file at {path}; give the .safetensors that `fit` wrote")
        try:
            # Left open: the file may be replaced meanwhile, and this stays what was checked.
            self._file = safe_open(path, "pt").__enter__()
            metadata = self._file.metadata() or {}
            self._names = tuple(self._file.keys())
        except (SafetensorError, OSError) as error:
            raise self._damage_error(error) from error
        if _FIELD not in metadata:
            raise InputError(f"{path} is a safetensors file, but no foldtune tuning")
        self.header: Mapping[str, Any] = checked_header(metadata[_FIELD], str(path))
        known = is_sealed(path)
        if known is False or (known is None and self.header["format"] >= SEALED):
            raise InputError(
                f"{path} is not as it was written: it was altered or damaged; copy or train it "
                "again"
            )

    @classmethod
    def of(cls, source: Source) -> TuningFile:
        """The same, or the one at a path: a file's, or that of the folder of a run or an export."""
        return source if isinstance(source, TuningFile) else cls(source)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """What was trained, by name."""
        return self._read(lambda name: not name.startswith((_START, _PICTURES)))

    @cached_property
    def start(self) -> dict[str, Tensor]:
        """The classifier's tensors as training found them; empty in files of format 1."""
        found = self._read(lambda name: name.startswith(_START))
        return {n.removeprefix(_START): t for n, t in found.items()}

    @cached_property
    def pictures(self) -> dict[str, Tensor]:
        """What `save` kept of pictures, by split, (images, 2) int64; empty in files of formats 1
        and 2. Raises InputError for pictures of another form."""
        found = self._read(lambda name: name.startswith(_PICTURES))
        for name, tensor in found.items():
            if tensor.dtype != torch.int64 or tensor.shape[1:] != (2,):
                raise InputError(f"{self.path} is damaged: its {name} are no keys of pictures")
        return {n.removeprefix(_PICTURES): t for n, t in found.items()}

    def __repr__(self) -> str:
        return f"TuningFile({self.header['method']} in {self.path})"

    def _read(self, wanted: Callable[[str], bool]) -> dict[str, Tensor]:
        try:
            return {name: self._file.get_tensor(name) for name in self._names if wanted(name)}
        except (SafetensorError, OSError) as error:
            raise self._damage_error(error) from error

    def _damage_error(self, error: Exception) -> InputError:
        return InputError(
            f"{self.path} is truncated or no safetensors file ({error}); copy or train it again"
        )


Source = str | Path | TuningFile


def read(source: Source) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors of a tuning file. Raises InputError as `TuningFile` does."""
    file = TuningFile.of(source)
    return dict(file.header), file.tensors


@once_a_file
def is_sealed(path: Path) -> bool | None:
    """Whether a tuning file is as it was written; None where an earlier foldtune wrote it, which
    kept no hash."""
    try:
        with safe_open(path, "pt") as file:
            found = _SEAL.fullmatch((file.metadata() or {}).get(_FIELD, ""))
            if found is None:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
    return found[2] == _hash(found[1] + "}", tensors)


def _hash(header: str, tensors: Mapping[str, Tensor]) -> str:
    return digest([header, hash_tensors(tensors)])


def check_base(header: Mapping[str, Any], attachment: Attachment) -> None:
    """Raise InputError, naming the first difference, where the tuning is for another backbone."""
    base = attachment.base_state()
    mine = {name: list(t.shape) for name, t in base.items()}
    theirs: dict[str, list[int]] = header["base_keys"]
    made_for = (header.get("backbone") or {}).get("name", "another backbone")
    for name in [*theirs, *mine]:
        if mine.get(name) != theirs.get(name):
            raise InputError(
                f"the tuning was made for {made_for}; the first difference is {name}: "
                f"{theirs.get(name, 'absent')} in the tuning, {mine.get(name, 'absent')} here"
            )
    if header["base_hash"] != hash_tensors(base):
        raise InputError(
            f"the tuning was made for other weights of {made_for} (same shapes, other values); "
            "load the weights that it was trained on"
        )
