import pytest
import timm
import torch
from torch import nn

from foldtune.backbones import load_backbone
from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import LoRA, Stem
from foldtune.testing import build_host


def trained(model):
    return {n for n, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("host", "names"),
    [
        ("vit", {"patch_embed.proj.weight", "patch_embed.proj.bias"}),
        ("resnet", {"conv1.weight"}),
        ("convnext", {"stem.0.weight", "stem.0.bias"}),
    ],
)
def test_what_reads_the_image_trains_and_nothing_else(host, names):
    model, x = build_host(host)
    attachment = attach(model, Stem(), example=x)
    heads = tuple(f"{p}." for p in attachment.head)
    assert {n for n in trained(model) if not n.startswith(heads)} == names


def test_all_layers_of_a_deep_stem_train():
    model = timm.create_model("resnet18d", num_classes=3)
    attach(model, Stem(), example=torch.rand(2, 3, 32, 32))
    assert {"conv1.0.weight", "conv1.3.weight", "conv1.6.weight"} <= trained(model)


def test_in_a_sum_it_learns_for_other_channels_and_merges_exactly():
    backbone = load_backbone("micro", size=16, channels=4)
    model, x = backbone.model.double(), backbone.example().double()
    attachment = attach(model, LoRA(rank=2) + Stem(), example=x, num_classes=3, seed=0)
    torch.manual_seed(0)
    optimiser = torch.optim.SGD(attachment.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(x), torch.tensor([0, 2])).backward()
    optimiser.step()
    assert model.patch_embed.proj.weight.grad.abs().amax((0, 2, 3)).min() > 0  # of each channel
    tuned = model.eval()(x)
    # float64: rounding alone.
    assert (attachment.merge()(x) - tuned).abs().max() < 1e-12


def test_a_host_that_starts_with_a_block_is_refused():
    class Unit(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x):
            return x + self.b(self.a(x).relu())

    class Host(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks, self.fc = nn.Sequential(Unit(), Unit()), nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(self.blocks(x).mean((2, 3)))

    with pytest.raises(InputError, match="Stem needs a layer before the blocks; Host has none"):
        attach(Host(), Stem(), example=torch.rand(2, 3, 8, 8))
