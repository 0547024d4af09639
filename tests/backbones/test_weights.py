import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from foldtune.backbones.checkpoint import read_checkpoint
from foldtune.backbones.weights import load_into
from foldtune.errors import InputError


def test_weights_that_are_not_finite_are_refused_by_name():
    model = nn.Linear(2, 3)
    with torch.no_grad():
        model.weight[1, 0] = float("nan")
    plain = nn.Linear(2, 3)
    before = plain.weight.clone()
    with pytest.raises(InputError, match=r"w.pth is damaged: weight is not finite \(1 of 6"):
        load_into(plain, model.state_dict(), "w.pth")
    assert torch.equal(plain.weight, before)


def test_weights_that_unfold_from_next_to_nothing_are_refused_unread(tmp_path):
    one, many = tmp_path / "one.npz", tmp_path / "many.npz"
    np.savez_compressed(one, x=np.zeros(80 << 20, np.uint8))
    np.savez_compressed(many, **{f"x{n}": np.zeros(5 << 20, np.uint8) for n in range(16)})
    torch.save({"x": torch.zeros(80 << 18)}, tmp_path / "plain.pth")
    folded = tmp_path / "folded.pth"
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(folded, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for name in plain.namelist():
            made.writestr(name, plain.read(name))
    for path in (one, many, folded):
        assert path.stat().st_size < 1 << 20
        with pytest.raises(InputError, match=r"unfolds from [\d,]+ to [\d,]+ bytes"):
            read_checkpoint(path)
    assert read_checkpoint(tmp_path / "plain.pth").state["x"].numel() == 80 << 18
