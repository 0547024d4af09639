"""How often a device would be waited for between pixels and what a backbone takes."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from foldtune.augment.batch import Normalise, augment, to_float
from foldtune.augment.resample import Resample
from foldtune.core.tensors import send

META = torch.device("meta")  # stands for a device: it computes nothing, and is not the CPU


class Waits(TorchDispatchMode):
    """Copies from the CPU to another device that its queue would be waited for, and reads back."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        name = str(function)
        if "_to_copy" in name and args[0].device.type == "cpu" and out.device.type != "cpu":
            self.found += [name] * (not kwargs.get("non_blocking"))
        elif "_local_scalar_dense" in name or ("nonzero" in name and args[0].device.type != "cpu"):
            self.found.append(name)
        return out


def test_a_plain_copy_is_counted_and_a_sent_one_is_not():
    with Waits() as waits:
        torch.zeros(2).to(META)
        send(torch.zeros(2), META, torch.float64)
    assert len(waits.found) == 1


def test_the_way_from_pixels_to_images_waits_for_no_device():
    batch = torch.zeros(4, 16, 16, 3, dtype=torch.uint8, device=META)
    draw = torch.Generator().manual_seed(0)
    normalise = Normalise((0.5,) * 3, (0.5,) * 3)
    normalise(torch.zeros(1, 3, 1, 1, device=META))  # mean and std are sent once
    with Waits() as waits:
        floats = to_float(batch, (0.0,) * 3, (1.0,) * 3)
        kinds = ("crop:0.5", "flip", "jitter", "erase")
        normalise(augment(floats, kinds, draw))
        Resample((0.5,) * 3, (0.5,) * 3, 8)(batch, draw)
    assert waits.found == []
