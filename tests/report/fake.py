"""A made-up study for the page's tests: eight methods, four trials each, final runs."""

import math
import random

from foldtune.study.results.store import Store

# label, method, trainable, mergeable, where its curve ends
METHODS = [
    ("LinearProbe", "LinearProbe()", 0, True, 0.70),
    ("BitFit", "BitFit()", 12_288, True, 0.77),
    ("SSF", "SSF()", 28_416, True, 0.83),
    ("LoRA", "LoRA(rank=8)", 36_864, True, 0.84),
    ("FacT", "FacT(rank=16)", 9_216, True, 0.81),
    ("AdaptFormer", "AdaptFormer(width=16)", 41_088, False, 0.835),
    ("VPT", "VPT(prompts=8, deep=True)", 6_144, False, 0.76),
    ("Full", "Full()", 1_700_000, True, 0.79),
]


def rows(methods=METHODS, *, trials=4, seeds=1, epochs=20, classes=12, images=240):
    """Every row of the study, in the order a driver would store them."""
    rng = random.Random(7)
    for label, method, trainable, mergeable, level in methods:
        fixed = {
            "label": label,
            "method": method,
            "backbone": "micro",
            "pretrained": True,
            "data": "twelve textures",
            "data_identity": "5f" * 16,
            "classes": classes,
            "trainable": trainable,
            "head": 129 * classes,
            "total": 1_700_000,
            "mergeable": mergeable,
        }
        made = [_trial(rng, fixed, number, level, epochs) for number in range(trials)]
        yield from made
        able = [row for row in made if row["verdict"] == "finished"]
        best = max(able, key=lambda row: row["val_accuracy"])
        for seed in range(seeds):
            yield _final(rng, best, seed, images)


def _trial(rng, fixed, number, level, epochs):
    rate = 10 ** rng.uniform(-4, -2)
    reach = level - 0.04 * (math.log10(rate) + 3) ** 2 + rng.gauss(0, 0.01)
    speed = rng.uniform(2, 5)
    curve = [
        {
            "epoch": epoch,
            "loss": 2.4 * math.exp(-epoch / speed) + 0.3,
            "lr": rate * (1 - epoch / (epochs + 1)),
            "val_accuracy": reach * (1 - 0.9 * math.exp(-epoch / speed)) + rng.gauss(0, 0.006),
        }
        for epoch in range(1, epochs + 1)
    ]
    row = {
        **fixed,
        "run": f"{rng.getrandbits(64):016x}",
        "stage": "trial",
        "recipe": {"lr": rate, "epochs": epochs, "weight_decay": 0.0001},
        "seed": 0,
        "trial": number,
        "verdict": "finished",
        "seconds": rng.uniform(8, 20),
        "curve": curve,
    }
    if fixed["label"] == "Full" and number == 2:
        lost = {"val_accuracy": None, "val_best_accuracy": None, "val_best_epoch": None}
        return {**row, **lost, "verdict": "diverged: loss is nan at step 31", "curve": curve[:3]}
    best = max(curve, key=lambda step: step["val_accuracy"])
    return {
        **row,
        "val_accuracy": curve[-1]["val_accuracy"],
        "val_best_accuracy": best["val_accuracy"],
        "val_best_epoch": best["epoch"],
    }


def _final(rng, best, seed, images):
    correct = round(images * min(1, max(0, best["val_accuracy"] + rng.gauss(0.005, 0.012))))
    return {
        **best,
        "run": f"{rng.getrandbits(64):016x}",
        "stage": "final",
        "seed": seed,
        "test_accuracy": correct / images,
        "test_images": images,
        "val_accuracy": None,
        "val_best_accuracy": None,
        "val_best_epoch": None,
        "curve": [{**step, "val_accuracy": None} for step in best["curve"]],
    }


def write_study(folder, stored=None):
    """A study folder with these rows (the eight methods) and a description."""
    stored = list(rows()) if stored is None else stored
    with Store(folder) as store:
        for row in stored:
            store.add(row)
        store.write_description(
            {
                "backbone": "micro",
                "data": stored[0]["data"],
                "data_identity": stored[0]["data_identity"],
                "images": {"train": 800, "val": 200, "test": 240},
                "command": "foldtune compare ./textures --model micro --trials 4",
                "version": "0.1.0",
            }
        )
    return folder
