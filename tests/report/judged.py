"""A made-up study with test logits, decoded images, and results of wise and eval --shift."""

import json

import fake
import numpy as np
import torch

from foldtune.data.identity import data_identity, image_hash
from foldtune.data.store.entries import FORMAT
from foldtune.files import write_json
from foldtune.study.results.artefacts import LOGITS
from foldtune.study.results.logits import write_logits
from foldtune.study.results.pictures import NAMES
from foldtune.study.results.store import Store

METHODS = fake.METHODS[:4]
IMAGES, CLASSES, SIDE = 120, 5, 16


def write_judged(folder, methods=METHODS, *, seeds=2, names=None, pictures=True):
    """The study's folder. names: of the classes; every test image is called `img <row>.png`."""
    rng = np.random.default_rng(1)
    labels = np.sort(rng.integers(0, CLASSES, IMAGES))
    names = names or [f"species {k}" for k in range(CLASSES)]
    pixels = rng.integers(0, 255, (IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    identity, entry = _entry(folder / "cache", pixels, labels, names)
    shared = rng.normal(size=(IMAGES, CLASSES)).astype(np.float32)
    shared[np.arange(IMAGES), labels] += 1.5
    own = {label: rng.normal(size=shared.shape).astype(np.float32) for label, *_ in methods}
    with Store(folder) as store:
        for row in fake.rows(methods, seeds=seeds, images=IMAGES, classes=CLASSES):
            row["data_identity"] = identity
            if row["stage"] == "final":
                noise = 0.4 * rng.normal(size=shared.shape).astype(np.float32)
                logits = torch.from_numpy(shared + own[row["label"]] + noise)
                row["test_accuracy"] = float((logits.argmax(1).numpy() == labels).mean())
                (folder / "runs" / row["run"]).mkdir(parents=True)
                path = folder / "runs" / row["run"] / LOGITS
                write_logits(logits, labels, np.arange(IMAGES), path)
            store.add(row)
        about = {"data": "species", "backbone": "micro", "classes": names}
        store.write_description(about | ({"pixels": str(entry)} if pictures else {}))
    told = {row: f"img {row}.png" for row in range(IMAGES)}
    (folder / NAMES).write_text(json.dumps(told))
    return folder


def write_away(folder, label="SSF"):
    """Results of `foldtune wise` and `foldtune eval --shift`, as they print them."""
    alphas = [
        {"alpha": a, "validation": 0.5 + a / 5, "home": 0.5 + a / 4, "mean_shift": 0.4 - a * a / 5,
         "frontier": a > 0.2}
        for a in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    shifts = [
        {"shift": "sketch", "images": 50, "top1": 0.4, "home": 0.7, "drop": 0.3},
        {"shift": "art", "images": 40, "top1": 0.6, "home": 0.7, "drop": 0.1},
    ]
    for kind, told in (
        ("wise", {"ways": ["weights"], "part": "all", "rows": alphas, "chosen": 0.5}),
        ("shift", {"split": "test", "top1": 0.7, "shifts": shifts, "corruptions": {}}),
    ):
        (folder / kind).mkdir()
        (folder / kind / f"{label}.json").write_text(json.dumps(told))


def _entry(root, pixels, labels, names):
    hashes, geometry = [image_hash(one) for one in pixels], [SIDE, "squash", "bicubic"]
    identity = data_identity(hashes, labels.tolist(), names, geometry)
    entry = root / identity
    entry.mkdir(parents=True)
    pixels.tofile(entry / "pixels.raw")
    about = {"format": FORMAT, "identity": identity, "geometry": geometry, "classes": names,
             "labels": labels.tolist(), "hashes": hashes}  # fmt: skip
    write_json(entry / "entry.json", about)
    return identity, entry
