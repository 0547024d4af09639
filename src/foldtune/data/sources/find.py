"""The listing of whatever data is named: a path, a set, or embedded images."""

from __future__ import annotations

from pathlib import Path

from foldtune.data.sources.embedded import embedded_listing, embedded_names, is_embedded
from foldtune.data.sources.listing import Listing
from foldtune.data.sources.source import read_source
from foldtune.data.sources.trees import split_zip
from foldtune.errors import InputError


def find_listing(spec: str | Path) -> Listing:
    """The listing of a path, a set or embedded data; a path that exists wins."""
    if names_embedded(spec):
        return embedded_listing(Path(spec).as_posix())
    try:
        return read_source(spec)
    except InputError as error:
        if Path(spec).expanduser().exists():
            raise
        raise InputError(f"{error}; embedded data: {', '.join(embedded_names())}") from error


def names_embedded(spec: str | Path) -> bool:
    """Whether embedded images are meant: they have such a name, and no path has."""
    return is_embedded(Path(spec).as_posix()) and not Path(spec).exists()


def refuse_one_class(listing: Listing, spec: str | Path) -> None:
    """Refuse to train on one class; images to judge may be of one."""
    if len(listing.classes) < 2:
        raise InputError(
            f"{spec} holds one class only, {listing.classes[0]!r}; a classifier needs at least two "
            "class folders or labels: <class>/image.jpg, or train|val|test/<class>/image.jpg"
        )


def short_name(spec: str | Path) -> str:
    """What reports call the data."""
    text = str(spec).removeprefix("embedded:")
    path = Path(spec).expanduser()
    if not path.exists():
        return path.name if split_zip(path) else text
    return path.resolve().name if path.is_dir() else path.stem
