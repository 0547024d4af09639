"""The calibration error of each class or label, beside torchmetrics' and a simulation."""

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from torchmetrics.functional.classification import binary_calibration_error

from foldtune.analysis.judgement.reliability import BINS, by_name
from foldtune.analysis.panel import Member, Panel
from foldtune.tasks.kinds import MultiLabel, Ordinal, SingleLabel

NAMES = ["a", "b", "c"]


def several(images=300, seed=0, shift=0.0, seeds=2):
    """Labels drawn by their probabilities, which are then told too high by a shift of logits."""
    draw = np.random.default_rng(seed)
    shares = draw.random((images, 3))
    marks = (draw.random((images, 3)) < shares).astype(np.float32)
    logits = [logit(shares) + shift + 0.1 * draw.normal(size=shares.shape) for _ in range(seeds)]
    return Panel(marks, {"A": [Member("A", s, one) for s, one in enumerate(logits)]}, MultiLabel())


def classes(task, outputs, images=200):
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 3, images)
    return Panel(labels, {"A": [Member("A", 0, draw.normal(size=(images, outputs)))]}, task)


@pytest.mark.parametrize(
    "panel", [several(), classes(SingleLabel(), 3), classes(Ordinal(), 2)],
    ids=["several", "single", "ordinal"],
)  # fmt: skip
def test_the_error_is_torchmetrics_of_one_against_the_rest(panel):
    rows = by_name(panel, "A", NAMES)
    assert [row["ece"] for row in rows] == sorted((row["ece"] for row in rows), reverse=True)
    for row in rows:
        k, errors = NAMES.index(row["class"]), []
        for member in panel.runs["A"]:
            judged = panel.with_labels(member)
            shares, marks = (
                torch.from_numpy(x[:, k].copy()) for x in (judged.shares, judged.marks)
            )
            errors.append(binary_calibration_error(shares, marks.int(), n_bins=BINS).item())
        # float32 sums there, float64 here.
        assert row["ece"] == pytest.approx(np.mean(errors), abs=1e-6)
        assert row["images"] == marks.sum()
        assert sum(one["images"] for one in row["bins"]) == len(marks) * len(panel.runs["A"])


def test_by_chance_is_what_right_probabilities_leave():
    panel = several(images=400, seeds=1)
    shares = expit(panel.runs["A"][0].logits)
    draw, errors = np.random.default_rng(1), []
    for _ in range(200):
        marks = (draw.random(shares.shape) < shares).astype(np.float32)
        again = Panel(marks, panel.runs, MultiLabel())
        errors.append([row["ece"] for row in sorted(by_name(again, "A", NAMES),
                                                    key=lambda row: row["class"])])  # fmt: skip
    rows = sorted(by_name(panel, "A", NAMES), key=lambda row: row["class"])
    # Sums over some 27 images a bin are near normal: within a tenth, as is the simulation.
    assert [row["by_chance"] for row in rows] == pytest.approx(np.mean(errors, 0), rel=0.1)


def test_a_probability_that_is_too_high_is_found():
    fair, high = (by_name(several(1000, shift=shift), "A", NAMES) for shift in (0.0, 2.0))
    for row in fair:
        assert row["ece"] < 2 * row["by_chance"]
    for row in high:
        assert row["ece"] > 3 * row["by_chance"]
        assert row["probability"] > row["share"] + 0.05
