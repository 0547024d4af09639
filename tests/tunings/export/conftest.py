"""A tuning of the embedded backbone, and one whose side networks nothing can absorb."""

import pytest

from foldtune.backbones import load_backbone
from foldtune.study.fit import fit
from foldtune.training.recipe import Recipe
from foldtune.tunings.export.folder import export_tuning
from study.conftest import backbone, digits

__all__ = ["backbone", "digits"]

RECIPE = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)


@pytest.fixture(scope="session")
def tuning(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folded")
    return fit(digits, load_backbone("micro", size=16), "SSF", recipe=RECIPE, out=folder).tuning


@pytest.fixture(scope="session")
def exported(tuning, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export_tuning(tuning, folder, load_backbone("micro", size=16), digits)
