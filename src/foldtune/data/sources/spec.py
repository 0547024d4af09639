"""How data is named: a path, or SET:PART@ROOT.

    SPEC = PATH | SET[:PART]@ROOT | SET:PART
    PART = [WORD][,KEY=VALUE]...      or KEY=VALUE[,KEY=VALUE]...

`photos`, `photos.zip/train`, `vtab:dtd@/data/vtab`, `cub@CUB_200_2011`, `hf:beans`,
`files:group=patient,names=names.txt@scans.csv`. A path that exists wins over a set's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from foldtune.errors import InputError, unknown_name

_SPEC = re.compile(r"(?P<set>[A-Za-z0-9][\w-]*)(?::(?P<part>[^@]*))?(?:@(?P<root>.+))?", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """A spec taken apart: which set, which part of it, options, and where it lies."""

    set: str
    part: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None
    text: str = ""  # as it was given, for errors

    def folder(self) -> Path:
        """The root; refused where the spec has none."""
        if self.root is None:
            example = f"{self.set}{':' + self.part if self.part else ''}@FOLDER"
            raise InputError(f"{self.text!r} does not say where the data lies; write {example}")
        return self.root

    def number(self, key: str, default: int) -> int:
        """An option that is a whole number."""
        value = self.options.get(key, str(default))
        if not value.isdecimal():
            raise InputError(f"{key}={value!r} in {self.text!r} is not a whole number")
        return int(value)

    def file(self, key: str) -> Path | None:
        """The file of an option: relative to the working folder or else to the root."""
        value = self.options.get(key)
        if value is None:
            return None
        path = Path(value).expanduser()
        if not path.exists() and self.root is not None:
            beside = self.root if self.root.is_dir() else self.root.parent
            path = path if not (beside / path).exists() else beside / path
        if not path.is_file():
            raise InputError(f"no file {value!r} for {key} of {self.text!r}; check the path")
        return path

    def accept(self, options: Iterable[str], common: Iterable[str]) -> None:
        """Refuse options that nobody reads."""
        known = [*options, *common]
        for key in self.options:
            if key not in known:
                raise unknown_name(f"option of {self.set}", key, known)


def parse_spec(text: str) -> Spec | None:
    """The parts of SET:PART@ROOT, or None where the text is a path."""
    found = _SPEC.fullmatch(text)
    if found is None or (found["part"] is None and found["root"] is None):
        return None
    if len(found["set"]) == 1 and found["root"] is None:  # a drive, C:\\photos
        return None
    words: list[str] = []
    options: dict[str, str] = {}
    for piece in filter(None, (found["part"] or "").split(",")):
        key, equals, value = piece.partition("=")
        if equals:
            options[key.strip()] = value.strip()
        else:
            words.append(piece.strip())
    if len(words) > 1:
        raise InputError(
            f"{text!r} names {len(words)} parts ({', '.join(words)}); give one, and options as "
            "KEY=VALUE behind it"
        )
    root = Path(found["root"]).expanduser() if found["root"] else None
    return Spec(found["set"].lower(), "".join(words), options, root, text)
