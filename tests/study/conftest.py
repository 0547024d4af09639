"""A small study's ingredients: the embedded backbone at 16 pixels and few digits."""

import pytest

from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.study.bench.bench import Bench
from foldtune.training.recipe import Recipe


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return load_data("digits", size=16, cache=cache).few_shot(6)


@pytest.fixture
def backbone():
    return load_backbone("micro", size=16)


@pytest.fixture
def bench(backbone, digits):
    return Bench(backbone, digits)


@pytest.fixture
def recipe():
    return Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3)
