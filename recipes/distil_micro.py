"""Train the embedded backbone `micro` on a GPU in minutes: a larger teacher first, then `micro`.

    python recipes/distil_micro.py tiny-imagenet-64.zip --out run

DATA as in `pretrain_micro.py`, and the same files are left in `run`, for `package_micro.py`. All
images lie on the device as bytes; each step draws a side, warps the batch to it in one sampling
(crop, flip, rotation, shear), changes colours, erases, mixes. Nothing is resumed: on the card that
it is meant for the whole takes minutes. `--device cpu` runs too, at a hundredth of the speed.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from cyclopts import App, Parameter
from micro_files import LICENCE, RESULT, WEIGHTS, accuracies, hash_of, run, write_text
from torch import Tensor, nn
from warp import erased, mixed, recoloured, warped

import foldtune
from foldtune.backbones import Backbone, load_backbone, micro
from foldtune.console import say
from foldtune.core.tensorfile import write_tensors
from foldtune.data import load_data
from foldtune.errors import InputError

app = App(name="distil_micro.py", help=__doc__, help_format="plaintext")


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """Every knob of teacher and student; the defaults are those of the packaged weights."""

    passes: float = 36.7  #: Passes of the student over the training images.
    teacher_passes: float = 59.0  #: Passes of the teacher.
    batch_size: int = 1024  #: Images a step.
    lr: float = 2e-3  #: The peak.
    min_lr: float = 1e-5  #: Where the cosine ends.
    warmup: float = 0.04  #: Share of the steps that warm up.
    weight_decay: float = 0.03  #: The student's, on matrices only.
    teacher_weight_decay: float = 0.05  #: The teacher's.
    teacher_drop_path: float = 0.05  #: Stochastic depth of the teacher.
    teacher_width: int = 192  #: Channels of the teacher; heads of 64.
    teacher_depth: int = 12  #: Blocks of the teacher.
    ema: float = 0.9995  #: Decay a step of the averaged weights, less in the first steps.
    sides: tuple[int, ...] = (32, 48, 64)  #: Sides in pixels, drawn at each step.
    odds: tuple[int, ...] = (1, 1, 2)  #: Odds of the sides.
    smallest_crop: float = 0.3  #: Least share of the area that a crop keeps.
    mixup: float = 0.45  #: Share of the batches that are mixed, with Beta(0.4, 0.4).
    cutmix: float = 0.45  #: Share of the batches with a box from other images.
    calm: float = 0.1  #: Share of the steps, the last ones, without either.
    label_smoothing: float = 0.1  #: Share of the target spread over all classes.
    distillation: float = 0.7  #: Weight of the teacher's answer; the label has the rest.
    temperature: float = 1.5  #: Of both answers in that term.
    clip_norm: float = 1.0  #: Largest norm of the gradient.

    def how(self) -> list[str]:
        """What was done, in sentences for the card."""
        sides = ", ".join(f"{side} px" for side in self.sides)
        odds = ":".join(str(odd) for odd in self.odds)
        return [
            f"Taught by a larger network of the same kind (width {self.teacher_width}, depth "
            f"{self.teacher_depth}, {self.teacher_passes:g} passes), trained just before.",
            f"{self.passes:g} passes over the images, {self.batch_size} a step, each step at one "
            f"of {sides} (odds {odds}).",
            f"Loss: {1 - self.distillation:g} cross entropy (label smoothing "
            f"{self.label_smoothing:g}) and {self.distillation:g} distillation at temperature "
            f"{self.temperature:g} on the same images.",
            f"AdamW, peak {self.lr:g} after {self.warmup:.0%} of warm-up, cosine to "
            f"{self.min_lr:g}, betas 0.9 and 0.99, decay {self.weight_decay:g} on matrices; "
            f"gradient norm at most {self.clip_norm:g}; bf16; averaged weights ({self.ema:g}).",
            f"Random resized crops ({self.smallest_crop:.0%} to 100 % of the area), flips, "
            "rotation and shear in 30 %, colours in 60 %, erasing in 25 % of the images; mixup in "
            f"{self.mixup:.0%} and cutmix in {self.cutmix:.0%} of the batches, neither in the "
            f"last {self.calm:.0%}.",
        ]


@app.default
def distil(
    data: Path,
    *,
    out: Path,
    settings: Settings | None = None,
    seed: int = 0,
    device: str | None = None,
    cache: Path | None = None,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> dict[str, Any]:
    """Train teacher and student, and leave weights and result in `out`.

    Parameters
    ----------
    data: Tiny-ImageNet as a folder or zip.
    out: Folder for weights and result.
    seed: Of weights, order and augmentation.
    device: cpu, cuda, ...; by default the GPU where there is one.
    cache: Folder of decoded images; by default the user's cache.
    json_: Print the result as JSON.
    """
    settings, started = settings or Settings(), time.perf_counter()
    at = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    images = load_data(data, size=micro.SIZE, cache=cache)
    rows, classes = images.split("train", "val"), len(images.classes)
    pixels = torch.from_numpy(images.pixels[rows]).to(at)
    labels = torch.from_numpy(images.labels[rows]).long().to(at)
    torch.manual_seed(seed)
    teacher = fitted(teacher_of(settings, classes), pixels, labels, settings, None, seed)
    student = fitted(micro.build(classes), pixels, labels, settings, teacher, seed)
    shown = load_backbone("micro", pretrained=False)
    top1 = {}
    for name, model in (("teacher", teacher), ("student", student)):
        judged = Backbone("micro", "embedded", model.float().cpu().eval(), shown.transform, name)
        top1[name] = accuracies(judged, images)
        say(f"{name}: " + ", ".join(f"{v:.2%} at {k} px" for k, v in top1[name].items()))
    out.mkdir(parents=True, exist_ok=True)
    write_tensors(student.state_dict(), out / WEIGHTS, {"format": "pt"})
    result = {
        "top1": top1["student"], "teacher_top1": top1["teacher"], "start": f"random, seed {seed}",
        "seed": seed, "device": str(at), "threads": torch.get_num_threads(),
        "recipe": asdict(settings), "how": settings.how(),
        "parameters": sum(p.numel() for p in student.parameters()),
        "data": {"name": images.name, "identity": images.identity, "classes": classes,
                 "train": len(rows), "val": len(images.split("test")), "licence": LICENCE},
        "weights_sha256": hash_of(out / WEIGHTS), "hours": (time.perf_counter() - started) / 3600,
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "foldtune": foldtune.__version__,
        "torch": torch.__version__,
    }  # fmt: skip
    write_text(out / RESULT, json.dumps(result, indent=2) + "\n")
    if json_:
        print(json.dumps(result))
    return result


def teacher_of(settings: Settings, classes: int) -> nn.Module:
    """A plain ViT like `micro`, wider and deeper, with stochastic depth."""
    from timm.models.vision_transformer import VisionTransformer

    width = settings.teacher_width
    return VisionTransformer(
        img_size=micro.SIZE, patch_size=8, embed_dim=width, depth=settings.teacher_depth,
        num_heads=max(width // 64, 1), num_classes=classes, dynamic_img_size=True,
        drop_path_rate=settings.teacher_drop_path,
    )  # fmt: skip


def fitted(
    model: nn.Module, pixels: Tensor, labels: Tensor, settings: Settings,
    teacher: nn.Module | None, seed: int,
) -> nn.Module:  # fmt: skip
    """The averaged weights after training; a teacher's model is trained where none is given.

    pixels: (images, height, width, 3) uint8; labels: (images,); both on the device.
    """
    model = model.to(pixels.device).train()
    decay = settings.teacher_weight_decay if teacher is None else settings.weight_decay
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99), fused=True)
    passes = settings.teacher_passes if teacher is None else settings.passes
    size = min(settings.batch_size, len(labels))
    steps = max(1, round(passes * len(labels) / size))
    average = torch.optim.swa_utils.AveragedModel(
        model, avg_fn=lambda mean, now, n: mean + (now - mean) * (1 - _decay(settings.ema, int(n)))
    )
    draw = torch.Generator().manual_seed(seed + (teacher is None))
    classes = int(labels.max()) + 1
    order = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(len(labels), generator=draw)])
        rows, order = order[:size].to(pixels.device), order[size:]
        for group in optimizer.param_groups:
            group["lr"] = rate(settings, step / steps)
        calm = step >= steps * (1 - settings.calm)
        batch, target = augmented(pixels[rows], labels[rows], classes, settings, calm, draw)
        with torch.autocast("cuda", torch.bfloat16, enabled=pixels.is_cuda):
            loss = loss_of(model, teacher, batch, target, settings)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        average.update_parameters(model)
        if step % max(1, steps // 20) == 0:
            say(f"{'teacher' if teacher is None else 'student'} {step}/{steps}: {loss.item():.3f}")
    if not torch.isfinite(loss):
        raise InputError(f"the training diverged: the last loss is {loss.item()}")
    return average.module.eval()


def rate(settings: Settings, done: float) -> float:
    """The learning rate when the share `done` of all steps is behind."""
    if done < settings.warmup:
        return settings.lr * (done + 1e-3) / settings.warmup
    cosine = (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup))) / 2
    return settings.min_lr + (settings.lr - settings.min_lr) * cosine


def augmented(
    pixels: Tensor, labels: Tensor, classes: int, settings: Settings, calm: bool,
    draw: torch.Generator,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A batch (batch, 3, side, side) in -1 .. 1 and its targets (batch, classes)."""
    side = settings.sides[
        int(torch.multinomial(torch.tensor(settings.odds).float(), 1, generator=draw))
    ]
    images = pixels.permute(0, 3, 1, 2).float() / 255
    images = warped(images, side, settings.smallest_crop, draw)
    images = (erased(recoloured(images, draw), draw) - 0.5) / 0.5
    smooth = settings.label_smoothing
    target = F.one_hot(labels, classes).float() * (1 - smooth) + smooth / classes
    return (images, target) if calm else mixed(images, target, settings, draw)


def loss_of(
    model: nn.Module, teacher: nn.Module | None, batch: Tensor, target: Tensor, settings: Settings
) -> Tensor:
    """Cross entropy with the targets, and with the teacher's answer where there is one."""
    logits = model(batch).float()
    loss = F.cross_entropy(logits, target)
    if teacher is None:
        return loss
    with torch.no_grad():
        answer = (teacher(batch).float() / settings.temperature).softmax(1)
    taught = F.cross_entropy(logits / settings.temperature, answer) * settings.temperature**2
    return (1 - settings.distillation) * loss + settings.distillation * taught


def _decay(most: float, steps: int) -> float:
    """Of the average: less in the first steps, which would else hold it at the random start."""
    return min(most, (1 + steps) / (10 + steps))


if __name__ == "__main__":
    run(app)
