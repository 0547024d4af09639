"""Classes of unlike size: the remedies of foldtune beside plain code that balances its classes.

    python benchmarks/imbalance.py DATA [--out FOLDER] [--draws 2] [--epochs 10]
        [--methods LinearProbe BitFit] [--remedies none weighted effective sampler adjusted]

DATA: the folder of flowers12-224.zip. Of five of its classes, drawn with the images, 60, 60, 8, 8
and 8 training images are kept, and all 20 test images each. Plain: scikit-learn's logistic
regression with class_weight="balanced" on the same frozen features of lite0, C by the likelihood of
five folds. Ours: foldtune.fit on all training images, with each remedy. One JSON line a figure:
balanced accuracy of the test images, the mean over draws beside each draw's.
"""

from __future__ import annotations

import argparse
import json
import warnings
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import balanced_accuracy_score

import foldtune
from foldtune.backbones.prepare import prepare_for
from foldtune.core.structure.head import find_head
from foldtune.methods.catalogue import parse
from foldtune.study.fit import recipe_for
from foldtune.training.probe import classifier_inputs
from foldtune.training.recipe import REMEDIES

COUNTS = (60, 60, 8, 8, 8)
SIZE = 96


def main() -> None:
    """Make each draw, judge plain code and ours on it, and print."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, default=Path("imbalance"))
    options.add_argument("--draws", type=int, default=2)
    options.add_argument("--epochs", type=int, default=10)
    options.add_argument("--methods", nargs="+", default=["LinearProbe", "BitFit"])
    options.add_argument("--remedies", nargs="+", default=list(REMEDIES), choices=REMEDIES)
    asked = options.parse_args()
    backbone = foldtune.load_backbone("lite0", size=SIZE)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for draw in range(asked.draws):
        folder = asked.out / f"draw{draw}"
        write_draw(asked.data / "flowers12-224.zip", folder, draw)
        data = foldtune.load_data(folder, size=SIZE, seed=draw, cache=asked.out / "cache")
        found["logistic regression", "balanced"].append(plain(data, backbone, draw))
        for method in asked.methods:
            for remedy in asked.remedies:
                recipe = recipe_for(parse(method), asked.epochs)
                row = foldtune.fit(
                    data, backbone, method, train_on=("train", "val"), seed=draw,
                    recipe=foldtune.Recipe(**{**vars(recipe), "imbalance": remedy}),
                    select="balanced_accuracy",
                ).row  # fmt: skip
                found[method, remedy].append(row["test"]["per_class"])
    for (name, remedy), values in found.items():
        print(json.dumps({
            "name": name, "remedy": remedy, "balanced_accuracy": round(float(np.mean(values)), 4),
            "draws": [round(value, 4) for value in values], "epochs": asked.epochs,
        }))  # fmt: skip


def write_draw(source: Path, folder: Path, seed: int) -> None:
    """Class folders of one draw, below train and test."""
    draw = np.random.default_rng(seed)
    with zipfile.ZipFile(source) as archive:
        members = defaultdict(list)
        for name in sorted(archive.namelist()):
            parts = name.split("/")
            if len(parts) >= 3 and not name.endswith("/"):
                members[parts[-3], parts[-2]].append(name)
        classes = draw.permutation(sorted({label for _, label in members}))[: len(COUNTS)]
        for label, count in zip(classes.tolist(), COUNTS, strict=True):
            kept = draw.permutation(members["train", label])[:count].tolist()
            for name in [*kept, *members["test", label]]:
                path = folder.joinpath(*name.split("/")[-3:])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))


def plain(data: foldtune.data.ImageData, backbone: foldtune.backbones.Backbone, seed: int) -> float:
    """Balanced accuracy of scikit-learn's regression on the frozen features."""
    head = find_head(backbone.model)[0]
    train, test = data.split("train", "val"), data.split("test")
    a, b = (
        classifier_inputs(backbone.model, head, data.pixels, rows, prepare_for(backbone))
        for rows in (train, test)
    )
    centre, scale = a.mean(0), np.sqrt(a.var(0).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of options that scikit-learn renames
        theirs = LogisticRegressionCV(
            Cs=np.logspace(-4, 2, 13), cv=5, class_weight="balanced", scoring="neg_log_loss",
            max_iter=1000, random_state=seed,
        ).fit((a - centre) / scale, data.labels[train])  # fmt: skip
    said = theirs.predict((b - centre) / scale)
    return float(balanced_accuracy_score(data.labels[test], said))


if __name__ == "__main__":
    main()
