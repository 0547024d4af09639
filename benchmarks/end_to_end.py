"""A whole tuning of image files: beside its bare training steps, and beside timm with HF PEFT.

    python benchmarks/end_to_end.py [--images 1000] [--epochs 100] [--side 500] [--rounds 1]

Drawn scenes, whose class is how many shapes they show, are written as files of --side pixels, every
second one JPEG, the others PNG: --images (256 or more) to train, a fifth as many to validate, half
to test. `micro` at 64 pixels is tuned with LoRA of rank 8 on qkv, AdamW, warm-up and cosine, no
augmentation. In turn:
- ours: decode into an empty store, attach, train, validate at the end, test once, save;
- bare: as many steps (forward, loss, backward, optimizer) on batches that lie ready in memory, an
  epoch of them after each of ours, since a shared machine is faster in one minute than in the next;
- peer: what one would write by hand: ImageFolder, torchvision's transforms and a DataLoader with
  two workers that decode every epoch, timm's VisionTransformer with the same weights, PEFT's LoRA.
Prints ours / bare and ours / peer on the clock (processor time beside it), and both accuracies.
"""

from __future__ import annotations

import argparse
import functools
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _lines import Lines, add_results
from PIL import Image
from torch import Tensor, nn

from foldtune import attach, load_backbone, load_data, save
from foldtune.backbones.micro import build
from foldtune.backbones.prepare import prepare_for
from foldtune.data.sources.embedded import draw, scene
from foldtune.judging.predict import predict_logits
from foldtune.methods import parse
from foldtune.training.loop import train
from foldtune.training.optim.optimizer import build_optimizer
from foldtune.training.optim.schedule import learning_rate, warmup_steps
from foldtune.training.recipe import Recipe

RANK, BATCH, SIZE, LR = 8, 64, 64, 3e-3


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--epochs", type=int, default=100)
    options.add_argument("--side", type=int, default=500)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--only", nargs="+", choices=("ours", "peer"), default=("ours", "peer"))
    add_results(options)
    asked = options.parse_args()
    lines = Lines("end_to_end", asked)
    recipe = Recipe(
        epochs=asked.epochs, batch_size=BATCH, lr=LR, warmup_epochs=min(5.0, 0.1 * asked.epochs)
    )
    found: dict[str, list[dict[str, float]]] = {"ours": [], "bare": [], "peer": []}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_files(root / "small/files", 4 * BATCH, SIZE)
        short = Recipe(epochs=1, batch_size=BATCH, warmup_epochs=0.0)
        for call in (ours, peer):  # what is imported or chosen at a first call is none's
            call(root / "small", short, 0)
        bare(root / "small", short, 0)()
        write_files(root / "files", asked.images, asked.side)
        for number in range(asked.rounds):
            if "ours" in asked.only:
                bare_epoch = Clock(bare(root, recipe, number))
                whole = paid(functools.partial(ours, root, recipe, number, bare_epoch))
                found["bare"].append(bare_epoch.spent)
                found["ours"].append(whole | {k: whole[k] - v for k, v in bare_epoch.spent.items()})
            if "peer" in asked.only:
                found["peer"].append(paid(functools.partial(peer, root, recipe, number)))
    facts = {"images": asked.images, "epochs": asked.epochs, "side": asked.side, "model": "micro"}
    tell(lines, found, facts)


def tell(lines: Lines, found: dict[str, list[dict[str, float]]], facts: dict[str, Any]) -> None:
    """The figures that the ways run give."""
    for other, aim in (("bare", "<= 1.08"), ("peer", "<= 0.7")):
        if not (found["ours"] and found[other]):
            continue
        pairs = list(zip(found["ours"], found[other], strict=True))
        clock, processor = (
            statistics.median(a[kind] / b[kind] for a, b in pairs)
            for kind in ("clock", "processor")
        )
        more = {"our_seconds": pairs[0][0]["clock"], f"{other}_seconds": pairs[0][1]["clock"]}
        figure = f"ours / {'bare steps' if other == 'bare' else 'timm, PEFT and DataLoader'}"
        lines.tell(figure, clock, "ratio", aim, processor_ratio=processor, **more, **facts)
    accuracies = {
        way: statistics.mean(one["accuracy"] for one in runs)
        for way, runs in found.items()
        if runs and way != "bare"
    }
    if len(accuracies) == 2:
        gap = 100 * (accuracies["ours"] - accuracies["peer"])
        lines.tell("test accuracy, ours - theirs", gap, "points", None, **accuracies, **facts)


def write_files(root: Path, images: int, side: int) -> None:
    """Class folders of train, val and test."""
    counts = {"train": images, "val": images // 5, "test": images // 2}
    index = 0
    for split, count in counts.items():
        for number in range(count):
            picture = Image.fromarray(draw(scene(7, index))).resize((side, side), Image.BICUBIC)
            folder = root / split / f"{scene(7, index).count}"
            folder.mkdir(parents=True, exist_ok=True)
            jpeg = number % 2 == 0
            picture.save(folder / f"{index:05d}.{'jpg' if jpeg else 'png'}", quality=90)
            index += 1


def paid(call: Callable[[], float]) -> dict[str, float]:
    """The call's accuracy, seconds on the clock, and of processors, its own workers' included."""
    clock, processor = time.perf_counter(), used()
    accuracy = call()
    seconds = time.perf_counter() - clock
    return {"accuracy": accuracy, "clock": seconds, "processor": used() - processor}


class Clock:
    """A call, and what all its calls together have taken."""

    def __init__(self, call: Callable[[], float]) -> None:
        self.call = call
        self.spent = {"clock": 0.0, "processor": 0.0}

    def __call__(self, _entry: dict[str, Any]) -> None:
        taken = paid(self.call)
        self.spent = {kind: self.spent[kind] + taken[kind] for kind in self.spent}


def used() -> float:
    """Processor time of this process and of its ended children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def ours(
    root: Path, recipe: Recipe, seed: int, after_epoch: Callable[[dict], None] | None = None
) -> float:
    """From files to a saved tuning; the test accuracy."""
    backbone = load_backbone("micro", size=SIZE)
    with tempfile.TemporaryDirectory() as folder:
        data = load_data(root / "files", size=SIZE, interpolation="bilinear", cache=Path(folder))
        method, classes = parse(f"LoRA(rank={RANK})"), len(data.classes)
        attachment = attach(backbone, method, num_classes=classes, seed=seed)
        prepare = prepare_for(backbone)

        def accuracy(split: str) -> float:
            rows = data.split(split)
            logits = predict_logits(attachment.model, data.pixels, rows, prepare)
            return float((logits.argmax(1).numpy() == data.labels[rows]).mean())

        def validate(epoch: int) -> dict:
            return {"val_accuracy": accuracy("val")} if epoch == recipe.epochs else {}

        train(
            attachment.model, data.pixels, data.labels, data.split("train"), recipe,
            prepare=prepare, seed=seed, evaluate=validate, watch=after_epoch,
        )  # fmt: skip
        save(attachment, Path(folder) / "tuning.safetensors", {"backbone": backbone.identity()})
        return accuracy("test")


def bare(root: Path, recipe: Recipe, seed: int) -> Callable[[], float]:
    """What takes the steps of an epoch alone, on batches that lie ready."""
    backbone = load_backbone("micro", size=SIZE)
    folders = [*(root / "files/train").iterdir()]
    count, classes = sum(len([*f.iterdir()]) for f in folders), len(folders)
    attachment = attach(backbone, parse(f"LoRA(rank={RANK})"), num_classes=classes, seed=seed)
    model = attachment.model.train()
    for module in model.modules():
        if type(module).__name__ == "DropPath":
            module.drop_prob = 0.0
    optimizer = build_optimizer(model, recipe)
    sizes = [min(BATCH, count - at) for at in range(0, count, BATCH)]
    generator = np.random.default_rng(seed)
    batches = [
        (torch.from_numpy(generator.normal(size=(n, 3, SIZE, SIZE)).astype(np.float32)),
         torch.from_numpy(generator.integers(0, classes, n)))
        for n in sizes
    ]  # fmt: skip

    def steps() -> float:
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
        return float("nan")

    return steps


def peer(root: Path, recipe: Recipe, seed: int) -> float:
    """The same tuning by hand with timm, PEFT and torchvision; the test accuracy."""
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    torch.manual_seed(seed)
    model: Any = build()  # timm's VisionTransformer
    model.load_state_dict(load_backbone("micro", size=SIZE).model.state_dict())
    model.set_input_size(img_size=SIZE)
    transform = transforms.Compose([
        transforms.Resize((SIZE, SIZE)), transforms.ToTensor(),
        transforms.Normalize((0.5,) * 3, (0.5,) * 3),
    ])  # fmt: skip
    sets = {s: ImageFolder(str(root / "files" / s), transform) for s in ("train", "val", "test")}
    loaders = {
        split: DataLoader(
            images, BATCH, shuffle=split == "train", num_workers=2,
            persistent_workers=split == "train",
        )
        for split, images in sets.items()
    }  # fmt: skip
    model.reset_classifier(len(sets["train"].classes))
    for module in model.modules():
        if type(module).__name__ == "DropPath":
            module.drop_prob = 0.0
    config = LoraConfig(
        r=RANK, lora_alpha=RANK, target_modules=r".*attn\.qkv", modules_to_save=["head"]
    )
    model = get_peft_model(model, config)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay)
    steps = len(loaders["train"])
    total, warm = steps * recipe.epochs, warmup_steps(recipe, steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(min(step, total - 1), total, warm, recipe) / recipe.lr
    )
    for _ in range(recipe.epochs):
        model.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
            schedule.step()
    judged(model, loaders["val"])
    found = judged(model, loaders["test"])
    del loaders
    return found


@torch.no_grad()
def judged(model: nn.Module, loader: Any) -> float:
    """The share that is right."""
    model.eval()
    right: list[Tensor] = [model(images).argmax(1) == labels for images, labels in loader]
    return torch.cat(right).double().mean().item()


if __name__ == "__main__":
    main()
