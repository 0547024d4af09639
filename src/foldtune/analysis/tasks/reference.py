"""The published tables as data: VTAB-1K, 16 methods on 19 tasks (see published/README.md)."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from foldtune.analysis.tasks.ranks import Scores
from foldtune.errors import unknown_name

# Number of classes of each task, in VTAB's order and groups (Zhai et al., 2019).
TASKS = {
    "natural": {
        "cifar": 100, "caltech101": 102, "dtd": 47, "oxford_flowers102": 102,
        "oxford_iiit_pet": 37, "svhn": 10, "sun397": 397,
    },
    "specialised": {
        "patch_camelyon": 2, "eurosat": 10, "resisc45": 45, "diabetic_retinopathy": 5,
    },
    "structured": {
        "clevr_count": 8, "clevr_dist": 6, "dmlab": 6, "kitti": 4, "dsprites_loc": 16,
        "dsprites_ori": 16, "smallnorb_azi": 18, "smallnorb_ele": 9,
    },
}  # fmt: skip
CLASSES = {task: k for group in TASKS.values() for task, k in group.items()}

# The tables' names and ours.
METHODS = {
    "linear": "LinearProbe", "full": "Full", "vpt_shallow": "VPTShallow", "vpt_deep": "VPTDeep",
    "bitfit": "BitFit", "difffit": "DiffFit", "ln": "LayerNorm", "ssf": "SSF",
    "lora_p_adapter": "Pfeiffer", "rand_h_adapter": "Houlsby", "adaptformer": "AdaptFormer",
    "repadapter": "RepAdapter", "convpass": "Convpass", "lora": "LoRA", "fact_tt": "FacTTT",
    "fact_tk": "FacTTK",
}  # fmt: skip
EPOCHS = ("last", "best")

# The tables' settings and ours; what is absent here (how Convpass starts) has no counterpart.
_SETTINGS = {
    "lr": "lr", "wd": "weight_decay", "vpt_num": "count",
    **{f"{name}_bottleneck": "rank" for name in ("adapter", "lora", "repadapter", "convpass")},
    **{f"{name}_scaler": "scale" for name in ("adapter", "repadapter", "convpass", "fact")},
    "fact_dim": "rank",
}  # fmt: skip


@cache
def vtab(epoch: str = "last") -> Scores:
    """The table of test accuracies (percent) at the last epoch, or at the best *test* epoch."""
    if epoch not in EPOCHS:
        raise unknown_name("epoch of the published table", epoch, EPOCHS)
    rows = {row["method"]: row for row in _rows(f"vtab_{epoch}_epoch.csv")}
    values = np.array([[float(rows[m][task]) for task in CLASSES] for m in METHODS])
    groups = tuple(group for group, tasks in TASKS.items() for _ in tasks)
    return Scores(tuple(METHODS.values()), tuple(CLASSES), groups, values)


@cache
def best_settings() -> dict[tuple[str, str], dict[str, Any]]:
    """By (task, method) the hyper-parameters that validation chose, under our names."""
    found = {}
    for row in _rows("vtab_best_hparams.csv"):
        tuned = json.loads(row["best_tune"])
        found[row["task"], METHODS[row["method"]]] = {
            _SETTINGS[key]: value for key, value in tuned.items() if key in _SETTINGS
        }
    return found


@cache
def probe_quality() -> tuple[float, ...]:
    """Each task's accuracy of a linear probe, corrected for chance (see `above_chance`)."""
    table = vtab()
    linear = table.values[table.methods.index("LinearProbe")] / 100
    return tuple(
        above_chance(accuracy, k)
        for accuracy, k in zip(linear.tolist(), CLASSES.values(), strict=True)
    )


def above_chance(accuracy: float, classes: int) -> float:
    """(accuracy - 1/K) / (1 - 1/K): 0 is guessing among K classes, 1 is perfect."""
    return (accuracy - 1 / classes) / (1 - 1 / classes)


def many_shot() -> list[dict[str, Any]]:
    """By set of images: accuracy (percent, last epoch) of the linear probe, of full fine-tuning and
    of the best other method, which is named with its number of parameters."""
    sets: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in _rows("many_shot.csv"):
        sets.setdefault((row["experiment"], row["dataset"], row["subset"]), []).append(row)
    found = []
    for (_, dataset, subset), rows in sets.items():
        score = {row["method"]: float(row["test_final"]) for row in rows}
        small = max((m for m in score if m not in ("linear", "full")), key=lambda m: score[m])
        size = next(int(row["inserted_params"]) for row in rows if row["method"] == small)
        found.append(
            {"dataset": dataset, "images": subset, "linear": score["linear"], "full": score["full"],
             "best_small": score[small], "method": small, "parameters": size}
        )  # fmt: skip
    return found


def _rows(name: str) -> Sequence[dict[str, str]]:
    text = files("foldtune.analysis").joinpath("published", name).read_text()
    return list(csv.DictReader(text.splitlines()))
