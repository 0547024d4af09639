"""A training as one would write it by hand: what the engine's cost is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from foldtune.backbones.prepare import prepare_for
from foldtune.core.attach import attach
from foldtune.core.attachment import Attachment
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.run import Run
from foldtune.training.batches import epoch_batches
from foldtune.training.optim.schedule import learning_rate
from foldtune.training.regularise import drop_path_modules


def paid(spent: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    clock, processor = time.perf_counter(), time.process_time()
    found = call()
    for key, seconds in (
        (name, time.perf_counter() - clock),
        (f"{name}_processor", time.process_time() - processor),
    ):
        spent[key] = spent.get(key, 0.0) + seconds
    return found


def bare(bench: Bench, run: Run, spent: dict[str, float]) -> torch.Tensor:
    """The run as one would write it for this one case; the test logits."""
    recipe, data, prepare = run.recipe, bench.data, prepare_for(bench.backbone)
    classes = len(data.classes)

    def attached() -> Attachment:
        made = attach(bench.backbone, run.method, num_classes=classes, seed=run.seed)
        torch.nn.init.zeros_(made.model.head.weight), torch.nn.init.zeros_(made.model.head.bias)
        return made

    attachment = paid(spent, "attach", attached)
    model, weights = attachment.model, attachment.parameters()
    for module in drop_path_modules(model):
        module.drop_prob = recipe.drop_path
    optimizer = torch.optim.AdamW([
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ], fused=True)  # fmt: skip
    indices, labels = data.split(*run.train_on), torch.from_numpy(data.labels)
    steps = -(-len(indices) // recipe.batch_size)
    warmup, step = round(recipe.warmup_epochs * steps), 0

    def logits(split: str) -> torch.Tensor:
        rows, found = data.split(split), []
        model.eval()
        with torch.no_grad():
            for start in range(0, len(rows), 256):
                pixels = torch.from_numpy(data.pixels[rows[start : start + 256]])
                found.append(model(prepare(pixels, None)))
        return torch.cat(found)

    for epoch in range(1, recipe.epochs + 1):
        model.train()
        for rows in epoch_batches(indices, recipe, run.seed, epoch):
            loss = F.cross_entropy(
                model(prepare(torch.from_numpy(data.pixels[rows]), None)), labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps * recipe.epochs, warmup, recipe)
            optimizer.step()
            step += 1
        (logits("val").argmax(1) == labels[data.split("val")]).float().mean().item()
    found = logits("test")
    attachment.detach()
    return found
