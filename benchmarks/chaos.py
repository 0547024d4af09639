"""How far two trainings end that start, or step, a rounding apart: chaos, or another training?

    python benchmarks/chaos.py [--results] [--epochs 20] [--lr 0.003]

`micro` at 32 pixels on the embedded digits, the same seed: once undisturbed, once from starts whose
numbers are moved by 1e-7 of themselves, as another summation order moves them, once with every
step's gradients moved by 1e-6 of themselves, as another device's sums move them, and once from
another seed. Told is the largest difference of the logits on noise, which is no image, and on the
test images, with the largest logit, and the test images whose answer is another.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from _lines import Lines, add_results
from torch import Tensor, nn

from foldtune import attach, load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.data.load import load_data
from foldtune.judging.predict import predict_logits
from foldtune.methods import parse
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe

SIDE = 32
METHODS = ("VPTDeep", "LoRA(rank=8)", "SSF")
# name: (relative change of the start, of every gradient, seed)
WAYS = {
    "started 1e-7 apart": (1e-7, 0.0, 0),
    "every gradient 1e-6 apart": (0.0, 1e-6, 0),
    "another seed": (0.0, 0.0, 1),
}


def main() -> None:
    """Train every method in all ways, and tell how far each ends from the undisturbed one."""
    asked = _asked()
    lines = Lines("chaos", asked)
    data = load_data("digits", size=SIDE)
    noise = torch.randn(64, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    for method in asked.methods:
        own = _ends(data, noise, method, asked, 0.0, 0.0, 0)
        for name, (start, steps, seed) in WAYS.items():
            found = _ends(data, noise, method, asked, start, steps, seed)
            for on, a, b in zip(("noise", "test images"), own, found, strict=True):
                lines.tell(
                    f"{method}, {name}: logits on {on}", float((a - b).abs().max()),
                    largest=float(a.abs().max()), median=float((a - b).abs().median()),
                    other_answers=int((a.argmax(1) != b.argmax(1)).sum()), images=len(a),
                    epochs=asked.epochs, lr=asked.lr, model="micro",
                )  # fmt: skip


def _ends(
    data: Any, noise: Tensor, method: str, asked: Any, start: float, steps: float, seed: int
) -> tuple[Tensor, Tensor]:
    """The logits on noise and on the test images, after a training that was disturbed so."""
    backbone = load_backbone("micro", size=SIDE)
    attachment = attach(backbone, parse(method), num_classes=10, seed=seed)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in attachment.parameters():
            parameter *= 1 + start * torch.randn(parameter.shape, generator=draw)
    if steps:
        _disturb(attachment.model, steps, draw)
    ready = prepare_for(backbone)
    recipe = Recipe(epochs=asked.epochs, batch_size=32, lr=asked.lr)
    train(
        attachment.model, data.pixels, data.targets, data.split("train")[: asked.images], recipe,
        prepare=ready, seed=seed, device="cpu", head=attachment.head_names,
    )  # fmt: skip
    with torch.no_grad():
        on_noise = attachment.model(noise)
    return on_noise, predict_logits(attachment.model, data.pixels, data.split("test"), ready)


def _disturb(model: nn.Module, share: float, draw: torch.Generator) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(
                lambda g: g * (1 + share * torch.randn(g.shape, generator=draw))
            )


def _asked() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--methods", nargs="+", default=METHODS)
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--lr", type=float, default=3e-3)
    options.add_argument("--images", type=int, default=512, help="of training")
    add_results(options)
    return options.parse_args()


if __name__ == "__main__":
    main()
