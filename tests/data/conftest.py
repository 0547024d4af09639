"""Real files made on the spot: pictures in class folders, and the same folder as a zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[..., Path]
MakeZip = Callable[..., Path]


def picture(seed: int, shape: tuple[int, int] = (12, 16)) -> Image.Image:
    """A smooth random picture, different for every seed."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC)


def encoded(seed: int, suffix: str = ".png") -> bytes:
    file = io.BytesIO()
    picture(seed).save(file, {".jpg": "JPEG"}.get(suffix, suffix[1:].upper()))
    return file.getvalue()


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Make a folder of pictures: {"train/cat": 3, ...} says how many each class folder gets."""

    def make(counts: Mapping[str, int], name: str = "photos", suffix: str = ".png") -> Path:
        root = tmp_path / name
        for number, (folder, count) in enumerate(counts.items()):
            (root / folder).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                path = root / folder / f"{i:03d}{suffix}"
                path.write_bytes(encoded(1000 * number + i, suffix))
        return root

    return make


@pytest.fixture
def make_zip() -> MakeZip:
    """Zip a folder beside it, its files below `prefix`."""

    def make(folder: Path, prefix: str = "") -> Path:
        path = folder.with_suffix(".zip")
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.rglob("*"), reverse=True):
                if file.is_file():
                    archive.write(file, prefix + file.relative_to(folder).as_posix())
        return path

    return make
