"""The temperature is the one that data of a known temperature were drawn with."""

import pytest
import torch

from foldtune.tunings.temperature import best_temperature


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_of_drawn_labels_is_found(true):
    draw = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(4000, 5, generator=draw)
    labels = torch.multinomial((logits / true).softmax(1), 1, generator=draw)[:, 0]
    # 4000 labels tell it to a few per cent.
    assert best_temperature(logits, labels) == pytest.approx(true, rel=0.08)


def test_it_is_bounded_where_every_label_is_right():
    logits = torch.eye(4)
    assert 0.05 <= best_temperature(logits, torch.arange(4)) <= 0.1
