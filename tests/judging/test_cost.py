import time

import pytest
import torch
from torch import nn

from foldtune.errors import InputError
from foldtune.judging.cost import latency, peak_memory


class Slow(nn.Module):
    """The first passes are slower; then one of them is an outlier."""

    def __init__(self):
        super().__init__()
        self.waits = iter([0.05, 0.05, 0.002, 0.05, 0.002])
        self.modes = []

    def forward(self, x):
        self.modes.append((self.training, torch.is_grad_enabled()))
        time.sleep(next(self.waits))
        return x


def test_latency_is_the_median_after_a_warm_up_in_eval_mode_without_gradients():
    model = Slow()
    assert 0.002 <= latency(model, torch.zeros(1), repeats=3) < 0.05
    assert set(model.modes) == {(False, False)}
    assert model.training


def test_no_repeats_are_refused():
    with pytest.raises(InputError, match="repeats=0"):
        latency(Slow(), torch.zeros(1), repeats=0)


def test_peak_memory_is_known_on_a_gpu_only():
    assert peak_memory(nn.Identity(), torch.zeros(1)) is None
