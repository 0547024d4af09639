"""Tiny sets in the real formats of their archives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from data.conftest import encoded


def images(root: Path, names: Iterable[str]) -> None:
    """Write a different picture under each name."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(seed))


def texts(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def seen(listing) -> list[tuple[str, str, str | None]]:
    """What a listing says of each image: name, class, split."""
    return [(item.name, listing.classes[item.label], item.split) for item in listing.items]
