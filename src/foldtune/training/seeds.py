"""Randomness of an epoch: a pure function of the seed, so a resumed run needs no stored state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# The streams of one epoch. Their numbers are part of what a seed means: never renumber.
ORDER, PREPARE, MODEL, SAMPLER = 0, 1, 2, 3


def mix(seed: int, epoch: int, stream: int, rank: int = 0) -> int:
    """A seed of 63 bits from (seed, epoch, stream, rank).

    It is the first word of NumPy's SeedSequence over the four, shifted right by one bit. NumPy
    keeps SeedSequence stable over versions, and it spreads neighbouring seeds apart.
    """
    word = np.random.SeedSequence((seed, epoch, stream, rank)).generate_state(1, np.uint64)[0]
    return int(word) >> 1


def generator(seed: int, epoch: int, stream: int, rank: int = 0) -> torch.Generator:
    """A generator on the CPU, so that the same numbers are drawn whatever the device."""
    return torch.Generator().manual_seed(mix(seed, epoch, stream, rank))


@contextmanager
def seeded_model(seed: int, epoch: int, device: torch.device, rank: int = 0) -> Iterator[None]:
    """Seed torch's global generators for dropout and drop path; the caller's come back after."""
    cuda = device.type == "cuda"
    index = (torch.cuda.current_device() if device.index is None else device.index) if cuda else -1
    value = mix(seed, epoch, MODEL, rank)
    with torch.random.fork_rng(devices=[index] if cuda else []):
        torch.default_generator.manual_seed(value)
        if cuda:
            with torch.cuda.device(index):
                torch.cuda.manual_seed(value)
        yield
