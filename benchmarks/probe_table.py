"""The probe beside scikit-learn's logistic regression, one neighbour and class centres.

    python benchmarks/probe_table.py DATA [--models lite0 micro] [--draws 5]

DATA: the folder of flowers12-224.zip and pacs-128.zip. Test accuracy in percent, mean over draws of
training images, on frozen features of real images; each pair of columns on the same features.
`each channel`: every channel divided by its own spread; `common`: all by the root of the mean
variance; `scikit-learn`: that with C by cross-validated likelihood; `ours`: solve_probe, which is
what LinearProbe is. nll: mean loss of a test image. Finished lines are kept in --results
(benchmarks/results/outside, which holds what was measured; name another folder to measure all anew)
and features in --out, so a call goes on. Ends with the table of all that is there.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from _plain import (
    KEPT,
    SETS,
    SIZES,
    centres,
    features_of,
    model_of,
    nearest,
    normalised,
    regression,
)
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from foldtune.training.probe import solve_probe

SHOTS = (4, 8, 16, 30)
COLUMNS = (
    *("each channel C=1", "common C=1", "common C=.01", "centres", "neighbour"),
    *("scikit-learn", "scikit-learn nll", "ours", "ours nll"),
)


def main() -> None:
    """Measure what is missing, and print all."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("data", type=Path)
    options.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    options.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    options.add_argument("--shots", type=int, nargs="+", default=SHOTS)
    options.add_argument("--draws", type=int, default=5)
    options.add_argument("--out", type=Path, default=Path("probe-table"))
    options.add_argument("--results", type=Path, default=KEPT)
    asked = options.parse_args()
    for folder in (asked.out, asked.results):
        folder.mkdir(parents=True, exist_ok=True)
    lines = asked.results / "probe_table.jsonl"
    known = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {(k["model"], k["set"], k["shots"], k["draw"]) for k in known}
    for model in asked.models:
        for name in asked.sets:
            found = features(asked.data, name, model, asked.out)
            for shots in asked.shots:
                for draw in range(asked.draws):
                    if (model, name, shots, draw) in done:
                        continue
                    told = {"model": model, "set": name, "shots": shots, "draw": draw}
                    told |= judged(*drawn(*found, shots, draw))
                    known.append(told)
                    with lines.open("a") as file:
                        file.write(json.dumps(told) + "\n")
    print(table(known))


def features(data: Path, name: str, model: str, out: Path) -> tuple[np.ndarray, ...]:
    """Features (images, channels), labels, and whether an image is of the given test split."""
    path = out / f"{name}-{model}.npz"
    if not path.exists():
        file, domain = SETS[name]
        with zipfile.ZipFile(data / file) as archive:
            members = [n for n in sorted(archive.namelist()) if not n.endswith("/")]
            members = [n for n in members if domain in (None, n.split("/")[-3])]
            images = [archive.read(n) for n in members]
        classes = sorted({n.split("/")[-2] for n in members})
        host = model_of(model)
        given = features_of(host, normalised(host, images, SIZES[model]))
        labels = np.array([classes.index(n.split("/")[-2]) for n in members])
        test = np.array([domain is None and n.split("/")[-3] == "test" for n in members])
        np.savez(path, features=given, labels=labels, test=test)
    kept = np.load(path)
    return kept["features"], kept["labels"], kept["test"]


def drawn(
    features: np.ndarray, labels: np.ndarray, test: np.ndarray, shots: int, draw: int
) -> tuple[np.ndarray, ...]:
    """Training features and labels, so many of a class (0: all), and those of the test images: the
    given ones, or a fifth."""
    mixed = np.random.default_rng(draw).permutation(len(labels))
    if not test.any():
        test = np.zeros(len(labels), bool)
        test[mixed[: len(labels) // 5]] = True
    train = mixed[~test[mixed]]
    if shots:
        classes = range(labels.max() + 1)
        train = np.concatenate([train[labels[train] == label][:shots] for label in classes])
    return features[train], labels[train], features[test], labels[test]


def judged(a: np.ndarray, y: np.ndarray, b: np.ndarray, yb: np.ndarray) -> dict[str, float]:
    """Accuracy, and loss, of every column."""
    mean, each, one = a.mean(0), a.std(0), np.sqrt(a.var(0).mean())
    each = np.where(each > 0, each, 1.0)

    def fixed(C: float, scale: np.ndarray) -> float:
        fitted = LogisticRegression(C=C, max_iter=1000).fit((a - mean) / scale, y)
        return float(fitted.score((b - mean) / scale, yb))

    theirs, own = regression(a, y, b, yb), solve_probe(a, y, y.max() + 1)
    logits = (torch.from_numpy(b) @ own.weight.T + own.bias).numpy()
    return {
        "each channel C=1": fixed(1.0, each), "common C=1": fixed(1.0, one),
        "common C=.01": fixed(0.01, one), "centres": centres(a, y, b, yb),
        "neighbour": nearest(a, y, b, yb), "scikit-learn": theirs["accuracy"],
        "scikit-learn nll": theirs["nll"], "ours": float((logits.argmax(1) == yb).mean()),
        "ours nll": float(-log_softmax(logits, 1)[np.arange(len(yb)), yb].mean()),
        "scikit-learn C": theirs["C"], "ours C": own.C,
    }  # fmt: skip


def table(known: list[dict]) -> str:
    """Means over draws, a row a model, set and number of images a class."""
    cells: dict[tuple, list[dict]] = defaultdict(list)
    for line in known:
        cells[line["model"], line["set"], line["shots"]].append(line)
    rows = ["| model | set, images a class | draws | " + " | ".join(COLUMNS) + " |"]
    rows.append("|---" * (3 + len(COLUMNS)) + "|")
    for (model, name, shots), lines in sorted(cells.items()):
        means = {c: float(np.mean([line[c] for line in lines])) for c in COLUMNS}
        shown = [f"{v:.2f}" if c.endswith("nll") else f"{100 * v:.1f}" for c, v in means.items()]
        start = f"| {model} | {name}, {shots or 'all'} | {len(lines)} | "
        rows.append(start + " | ".join(shown) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
