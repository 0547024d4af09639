"""Small sets lie on the device as a whole, and batches are gathered there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from foldtune.core.tensors import send
from foldtune.training.batches import Data

# Bytes of pixels up to which a set is kept: 7,000 images of 224 pixels, 300,000 of 32.
LIMIT = 2**30


class Resident:
    """The rows that are trained on, on the device; a batch is what `Data.load` gives, to the bit,
    and costs the sending of its row numbers alone."""

    def __init__(self, data: Data, device: torch.device) -> None:
        self._rows = np.unique(data.indices)
        self._pixels, self._labels = data.load(self._rows, device)

    def load(self, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
        """The rows' pixels and labels; every row is one of the data's indices."""
        at = send(torch.from_numpy(np.searchsorted(self._rows, rows)), device)
        return self._pixels.index_select(0, at), self._labels.index_select(0, at)


def kept_on(data: Data, device: torch.device, limit: int = LIMIT) -> Data | Resident:
    """The data as they are best loaded from: on a GPU, what is small and decoded lies there."""
    each = int(np.prod(data.pixels.shape[1:])) * data.pixels.dtype.itemsize
    rows = len(np.unique(data.indices))
    if device.type != "cuda" or hasattr(data.pixels, "expect") or rows * each > limit:
        return data
    return Resident(data, device)
