import pytest
import torch
from torch import nn

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
