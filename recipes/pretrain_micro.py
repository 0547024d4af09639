"""Train the embedded backbone `micro` from random weights on Tiny-ImageNet.

    python recipes/pretrain_micro.py tiny-imagenet-64.zip --out run

DATA is a folder or zip with `train/<class>/` and `val/<class>/` of any 64 px images in 200 classes.
Everything in `train` is trained on; the given `val` is only looked at: at the end of each phase
and after the last epoch, on the averaged weights, at 64 and at 32 pixels. The schedule counts
steps, not time, so a stopped, killed or slow run gives the same bits as a quiet one: call the same
command again to go on. `run/checkpoint.safetensors` is written after every epoch (a part of a pass
over the images), `run/weights.safetensors` and `run/result.json` at the end. Then:
`package_micro.py`. What was measured is in docs/micro.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from micro_files import (
    ASKED,
    CHECKPOINT,
    LICENCE,
    RESULT,
    WEIGHTS,
    accuracies,
    hash_of,
    run,
    write_text,
)

import foldtune
from foldtune.augment.resample import Resample
from foldtune.backbones import load_backbone
from foldtune.console import say
from foldtune.core.tensorfile import write_tensors
from foldtune.data import ImageData, load_data
from foldtune.errors import InputError
from foldtune.training.loop import Outcome, train
from foldtune.training.recipe import Recipe

SIZE = 64
app = App(name="pretrain_micro.py", help=__doc__, help_format="plaintext")


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """The recipe's knobs; what is not here is in `recipe`."""

    phases: str = "32:60,48:12,64:12"  #: SIDE:EPOCHS of each phase; an epoch is 1/parts of a pass.
    parts: int = 4  #: Epochs, and so checkpoints, in a pass over the images.
    batch_size: int = 128  #: Images a step.
    lr: float = 1.5e-3  #: The peak; a straight warm-up before it, half a cosine after.
    warmup_epochs: float = 4.0  #: Epochs of warm-up.
    weight_decay: float = 0.05  #: On matrices only.
    smallest_crop: float = 0.35  #: Least share of the area that a random crop keeps; 1 crops none.
    mixup: float = 0.0  #: Alpha; 0 is off.
    cutmix: float = 0.0  #: Alpha; 0 is off.
    label_smoothing: float = 0.1  #: Share of the target spread over all classes.
    drop_path: float = 0.0  #: Rate at the deepest block.
    ema: float = 0.999  #: Decay a step of the averaged weights; 0 is off.
    precision: str = "auto"  #: fp32, bf16, fp16, or auto: bf16 where it is fast, else fp32.

    def recipe(self, device: str | None) -> Recipe:
        """As the training floor takes it."""
        phases, first = [], 1
        for side, epochs in map(_phase, self.phases.split(",")):
            phases.append((first, side))
            first += epochs
        return Recipe(
            epochs=first - 1, batch_size=self.batch_size, lr=self.lr, min_lr=self.lr / 1000,
            weight_decay=self.weight_decay, warmup_epochs=self.warmup_epochs, betas=(0.9, 0.98),
            clip_norm=1.0, label_smoothing=self.label_smoothing, mixup=self.mixup,
            cutmix=self.cutmix, drop_path=self.drop_path, ema=self.ema, phases=tuple(phases),
            parts=self.parts, drop_last=True,
            precision=_fast_precision(device) if self.precision == "auto" else self.precision,
        )  # fmt: skip


@app.default
def pretrain(
    data: Path,
    *,
    out: Path,
    settings: Settings | None = None,
    start: str = "random",
    seed: int = 0,
    device: str | None = None,
    cache: Path | None = None,
    json_: Annotated[bool, Parameter(name="--json")] = False,
) -> dict[str, Any]:
    """Train, and leave weights and result in `out`.

    Parameters
    ----------
    data: Tiny-ImageNet as a folder or zip.
    out: Folder for checkpoint, weights and result.
    start: random; micro, the packaged weights; or a weights file.
    seed: Of weights, order and augmentation.
    device: cpu, cuda, ...; by default the GPU where there is one.
    cache: Folder of decoded images; by default the user's cache.
    json_: Print the result as JSON.
    """
    recipe = (settings or Settings()).recipe(device)
    least = (settings or Settings()).smallest_crop
    backbone = load_backbone(
        "micro", pretrained=start == "micro", seed=seed,
        weights=None if start in ("random", "micro") else start,
    )  # fmt: skip
    images = load_data(data, size=SIZE, cache=cache)
    if len(images.classes) != backbone.model.num_classes:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            backbone.model.reset_classifier(len(images.classes))
    say(f"{len(images.split('train', 'val'))} training images, start: {backbone.weights}, {recipe}")
    mean, std = backbone.transform.mean, backbone.transform.std
    threads = torch.get_num_threads()
    asked = {
        "start": backbone.weights, "smallest_crop": least, "threads": threads,
        "device": device or _default_device(), "data": images.identity,
    }  # fmt: skip
    begun = _same_run(out, asked)
    outcome = _trained(
        backbone.model, images, recipe, Resample(mean, std, scale=(least, 1.0)), seed=seed,
        device=device, out=out,
    )  # fmt: skip
    if not outcome.finished:
        raise InputError(f"the training {outcome.verdict}")
    write_tensors(backbone.model.cpu().state_dict(), out / WEIGHTS, {"format": "pt"})
    result = {
        "top1": accuracies(backbone, images),
        **asked, "seed": seed, "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in backbone.model.parameters()),
        "data": {"name": images.name, "identity": images.identity, "classes": len(images.classes),
                 "train": len(images.split("train", "val")), "val": len(images.split("test")),
                 "licence": LICENCE},
        "weights_sha256": hash_of(out / WEIGHTS),
        "hours": outcome.seconds / 3600, "date": begun, "how": how(recipe, least),
        "foldtune": foldtune.__version__, "torch": torch.__version__,
        "curve": list(outcome.curve),
    }  # fmt: skip
    write_text(out / RESULT, json.dumps(result, indent=2) + "\n")
    say(", ".join(f"{share:.2%} at {side} px" for side, share in result["top1"].items()))
    if json_:
        print(json.dumps(result))
    return result


def how(recipe: Recipe, smallest_crop: float) -> list[str]:
    """What was done, in sentences for the card."""
    firsts = [first for first, _ in recipe.phases] + [recipe.epochs + 1]
    phases = ", then ".join(
        f"{(after - first) / recipe.parts:g} passes at {side} px"
        for (first, side), after in zip(recipe.phases, firsts[1:], strict=True)
    )
    mixing = [f"{name} {getattr(recipe, name):g}" for name in ("mixup", "cutmix", "drop_path")]
    return [
        f"Schedule: {phases}; {recipe.batch_size} images a step.",
        f"AdamW, peak {recipe.lr:g}, betas {recipe.betas[0]:g} and {recipe.betas[1]:g}, decay "
        f"{recipe.weight_decay:g} on matrices, warm-up over "
        f"{recipe.warmup_epochs / recipe.parts:g} passes, then half a cosine; gradient norm "
        f"clipped at {recipe.clip_norm:g}; {recipe.precision}.",
        f"Random resized crops of {smallest_crop:.0%} to 100 % of the area, flips; label smoothing "
        f"{recipe.label_smoothing:g}, {', '.join(mixing)}; average of the weights with decay "
        f"{recipe.ema:g} a step, which is what is kept.",
    ]


def _trained(
    model: torch.nn.Module, images: ImageData, recipe: Recipe, prepare: Resample, *, seed: int,
    device: str | None, out: Path,
) -> Outcome:  # fmt: skip
    """Train all of the model, watched at the end of each phase."""
    from foldtune.backbones.backbone import Backbone, Transform

    ends = {first - 1 for first, _ in recipe.phases[1:]} | {recipe.epochs}
    shown = Backbone("micro", "embedded", model, Transform(SIZE, prepare.mean, prepare.std), "")

    def look(epoch: int) -> dict[str, float]:
        if epoch not in ends:
            return {}
        return {f"top1_{side}": share for side, share in accuracies(shown, images).items()}

    def tell(entry: dict[str, Any]) -> None:
        seen = "".join(f", {k} {v:.2%}" for k, v in entry.items() if k.startswith("top1"))
        say(
            f"{datetime.now(UTC):%H:%M:%S} epoch {entry['epoch']}/{recipe.epochs} at "
            f"{recipe.side(entry['epoch'])} px: loss {entry['loss']:.4f}, lr {entry['lr']:.2e}, "
            f"{entry['images_per_second']:.0f} images/s{seen}"
        )

    model.requires_grad_(True)
    out.mkdir(parents=True, exist_ok=True)
    return train(
        model, images.pixels, images.labels, images.split("train", "val"), recipe,
        prepare=prepare, seed=seed, evaluate=look, checkpoint=out / CHECKPOINT, device=device,
        watch=tell, progress="pretraining",
    )  # fmt: skip


def _same_run(out: Path, asked: dict[str, Any]) -> str:
    """The day the run in `out` began; today, noted, where there is none. The checkpoint itself
    knows recipe and seed; this is what else decides the bits."""
    path = out / ASKED
    if not (out / CHECKPOINT).exists():
        out.mkdir(parents=True, exist_ok=True)
        told = asked | {"date": f"{datetime.now(UTC):%Y-%m-%d}"}
        write_text(path, json.dumps(told, indent=1) + "\n")
    stored = json.loads(path.read_text(encoding="utf-8"))
    for name, value in asked.items():
        if stored.get(name) != value:
            raise InputError(
                f"the run in {out} has {name} {stored.get(name)!r}, not {value!r}; ask for the "
                "same to go on with it, or name another folder"
            )
    return stored["date"]


def _phase(text: str) -> tuple[int, int]:
    side, _, epochs = text.partition(":")
    if not (side.strip().isdecimal() and epochs.strip().isdecimal() and int(epochs) > 0):
        raise InputError(f"phase {text!r} is not SIDE:EPOCHS, such as 32:40")
    return int(side), int(epochs)


def _default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _fast_precision(device: str | None) -> str:
    """bf16 on a GPU, and on a CPU whose matrix unit has it; emulated or by AVX-512 it is slower."""
    if not (device or _default_device()).startswith("cpu"):
        return "bf16"
    return "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "fp32"


if __name__ == "__main__":
    run(app)
