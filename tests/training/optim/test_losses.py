import pytest
import torch
from torch import nn

from foldtune.training.optim.losses import Diverged, Losses, check_finite

NAN = float("nan")


def collect(values, every):
    losses = Losses(every, lambda x: x)
    for value, images in values:
        losses.add(torch.tensor(value), images)
    return losses


def test_mean_is_over_images():
    assert collect([(1.0, 8), (4.0, 4)], every=50).mean() == 2.0


@pytest.mark.parametrize("bad", [NAN, float("inf")])
def test_a_loss_that_is_not_finite_stops_at_once_where_looking_is_free(bad):
    with pytest.raises(Diverged, match=r"loss is (nan|inf)") as stop:
        collect([(1.0, 8), (bad, 8), (1.0, 8)], every=1)
    assert stop.value.step == 2


def test_a_late_look_still_names_the_step():
    losses = collect([(1.0, 8), (NAN, 8), (1.0, 8)], every=50)
    with pytest.raises(Diverged) as stop:
        losses.mean()
    assert stop.value.step == 2


def test_a_spoilt_parameter_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    check_finite(model, 9)
    with torch.no_grad():
        model[1].bias[0] = NAN
    with pytest.raises(Diverged, match=r"parameter 1\.bias is not finite") as stop:
        check_finite(model, 9)
    assert stop.value.step == 9
