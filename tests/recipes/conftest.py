"""The recipes are scripts, imported from their folder; toy pictures take Tiny-ImageNet's place."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture(scope="session")
def recipe_module():
    """A recipe by its file's name."""
    sys.path.insert(0, str(RECIPES))
    yield importlib.import_module
    sys.path.remove(str(RECIPES))


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """A folder like Tiny-ImageNet's: train and val, four classes, 64 pixels, each a colour."""
    root, draw = tmp_path_factory.mktemp("toy"), np.random.default_rng(0)
    for label in range(4):
        for split, count in (("train", 10), ("val", 3)):
            folder = root / split / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(0, 64, (64, 64, 3), dtype=np.uint8)
                pixels[..., label % 3] += np.uint8(60 * (1 + label // 3))
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")
