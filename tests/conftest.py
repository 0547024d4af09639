"""Test-wide settings: one thread per worker (two workers share two cores), quiet and offline."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from foldtune.torchvision_ops import declare_missing_operators

declare_missing_operators()
torch.set_num_threads(1)
