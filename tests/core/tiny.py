"""Further tiny hosts, for what `foldtune.testing` does not cover, and small helpers."""

from dataclasses import dataclass

import timm
import torch
import torchvision
from torch import nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Reweight
from foldtune.core.method import Method
from foldtune.testing import build_host


def random_host(build):
    """The same float64 model at every call, in eval mode, parameters off 0 and 1; two images."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = build().double().eval()
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.05)
        return model, torch.rand(2, 3, 32, 32).double()


def vit(**settings):
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return random_host(lambda: timm.create_model("vit_tiny_patch16_224", **size | settings))


def attention_host():
    """torchvision's ViT: nn.MultiheadAttention, whose two projections are read, never called."""
    return random_host(
        lambda: torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=48,
            num_classes=5,
        )
    )  # fmt: skip


def distilled_host():
    size = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    return random_host(
        lambda: timm.create_model("deit_tiny_distilled_patch16_224", num_classes=5, **size)
    )


class Answering(nn.Module):
    """A host that wraps its logits, as transformers does."""

    def __init__(self, wrap):
        super().__init__()
        self.body = build_host("vit")[0]
        self.wrap = wrap

    def get_classifier(self):
        return self.body.head

    def forward(self, x):
        return self.wrap(self.body(x))


class Plus(Delta):
    """W + a, bias as it is: the smallest delta; tensors may be shared."""

    moves_bias = False

    def __init__(self, a):
        super().__init__()
        self.a = a

    def fold(self, weight, bias):
        return weight + self.a.mean(), bias


@dataclass(frozen=True, repr=False)
class Sharing(Method):
    """One tensor for all sites of a role."""

    role: str = "mlp.up"

    def edits(self, model, sites):
        shared = nn.Parameter(torch.zeros(3))
        return [Reweight(s, Plus(shared)) for s in sites if s.role == self.role]


def snapshot(model):
    """All that must come back: values, flags, modes, drawing, classes, hooks."""
    return {
        "values": {k: v.detach().clone() for k, v in model.state_dict().items()},
        "flags": [(n, p.requires_grad) for n, p in model.named_parameters()],
        "modes": [(n, m.training) for n, m in model.named_modules()],
        "drawn": repr(model),
        "classes": [type(m) for m in model.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "dicts": [sorted(vars(m)) for m in model.modules()],
    }


def assert_untouched(model, before):
    now = snapshot(model)
    values, old = now.pop("values"), dict(before)
    old_values = old.pop("values")
    for fact in now:
        assert now[fact] == old[fact], fact
    assert list(values) == list(old_values)
    assert all(torch.equal(values[k], old_values[k]) for k in values)


def shift(attachment, by=0.1):
    """Move every trainable tensor, as training would."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=generator).to(p) * by)


def distance(a, b):
    return float((a - b).detach().abs().max())
