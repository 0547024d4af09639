"""Batches gathered where the images lie."""

import numpy as np
import pytest
import torch

from foldtune.training.batches import Data, epoch_batches
from foldtune.training.speed.resident import Resident, kept_on

from ..tiny import RECIPE, images

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_a_batch_is_what_the_data_give_to_the_bit(kind):
    pixels, labels, indices = images()
    most = 255 if kind is np.float32 else 1  # floats are in 0..1
    data = Data((pixels / most).astype(kind), labels, indices[::-1])
    resident = Resident(data, CPU)
    for rows in epoch_batches(data.indices, RECIPE, 0, 1):
        for one, other in zip(resident.load(rows, CPU), data.load(rows, CPU), strict=True):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)


def test_rows_drawn_twice_are_gathered_twice():
    data = Data(*images())
    rows = np.array([7, 5, 7])
    assert torch.equal(Resident(data, CPU).load(rows, CPU)[0], data.load(rows, CPU)[0])


def test_on_a_cpu_nothing_is_copied():
    data = Data(*images())
    assert kept_on(data, CPU) is data
    assert kept_on(data, torch.device("cuda"), limit=0) is data
