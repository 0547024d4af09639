"""What a source holds and does not give: nothing of somebody's pictures is left out in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from posixpath import splitext
from typing import Any

from foldtune.data.pictures.foreign import BY_SUFFIX
from foldtune.errors import InputError

_CONVERT = "convert them to PNG or JPEG"
# Kinds of pictures that are not read, with the cure.
UNREAD: Mapping[str, str] = {
    **{suffix: kind.cure for suffix, kind in BY_SUFFIX.items()},
    **dict.fromkeys((".nii", ".mha", ".nrrd"), "write their slices as PNG of 16 bits"),
    **dict.fromkeys((".tga", ".pcx", ".ico", ".qoi", ".dds", ".exr", ".hdr"), _CONVERT),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"),
                    "develop them to TIFF or PNG"),
    **dict.fromkeys((".eps", ".ps", ".svg", ".wmf", ".emf", ".pdf", ".psd", ".ai"),
                    "export them as PNG"),
}  # fmt: skip
# Files that lie beside pictures and are none.
_OTHERS = (
    ".txt .md .rst .json .jsonl .csv .tsv .xml .yaml .yml .html .log .py .ipynb .db .ini .cfg "
    ".toml .npy .npz .pkl .pt .pth .mat .h5 .zip .gz .tar .xlsx .doc .docx .sh .lock .bib"
)
_BESIDE = frozenset(_OTHERS.split())
_SHOWN = 3


@dataclass(frozen=True)
class Ledger:
    """What was not taken. not_read: by suffix, how many files of each class folder; kinds of no
    picture (`.txt`) are not among them. empty: class folders without a file. metadata: files that
    say something of the pictures and were not read; twice: names of several files, of which the
    last is read."""

    not_read: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    twice: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """Its fields, ready for JSON; those that hold nothing are left out."""
        told = asdict(self)
        return {n: list(v) if isinstance(v, tuple) else v for n, v in told.items() if v}

    def lines(self, taken: Mapping[str, int]) -> list[str]:
        """What is said of it, a line each. taken: how many pictures each class has."""
        found = []
        for suffix, classes in self.not_read.items():
            shown = [f"{name} {count} of {count + taken.get(name, 0)}"
                     for name, count in list(classes.items())[:_SHOWN]]  # fmt: skip
            more = f" and {len(classes) - _SHOWN} more classes" if len(classes) > _SHOWN else ""
            found.append(
                f"{sum(classes.values())} {suffix} files are not read ({', '.join(shown)}{more}): "
                f"{cure(suffix)}"
            )
        if self.empty:
            found.append(f"{_join(self.empty)} is empty" if len(self.empty) == 1 else
                         f"{_join(self.empty)} are empty")  # fmt: skip
        if self.metadata:
            found.append(f"{_join(self.metadata)} beside the pictures is not read")
        if self.twice:
            found.append(f"{_join(self.twice)}: several files of one name, the last is read")
        return found


def cure(suffix: str) -> str:
    """What to do with files of a kind that is not read."""
    return UNREAD.get(suffix, f"{_CONVERT}, or give them their extension")


def unread(name: str) -> str | None:
    """The suffix of what may be a picture and is of a kind that is not read; else None."""
    suffix = splitext(name)[1].lower()
    return None if suffix in _BESIDE else suffix or "no extension"


def refuse_empty(ledger: Ledger) -> None:
    """Refuse to train where class folders are empty; to judge they may be."""
    if ledger.empty:
        raise InputError(
            f"class folder {_join(ledger.empty)} holds no picture, so the class would be lost; "
            "add its images, or remove the folder"
        )


def refuse_lost(what: str, kinds: Iterable[str], where: str) -> None:
    """Refuse data of which a whole class or split is of kinds that are not read."""
    counts = Counter(kinds)
    told = ", ".join(suffix for suffix, _ in counts.most_common())
    cures = "; ".join(dict.fromkeys(cure(suffix) for suffix, _ in counts.most_common()))
    raise InputError(
        f"{what} of {where}: {counts.total()} files, none of a kind that is read ({told}), so all "
        f"of it would be lost: {cures}, or move it away"
    )


def _join(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
