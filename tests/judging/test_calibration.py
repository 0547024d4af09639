import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from foldtune.judging.calibration import (
    BINS,
    calibration,
    reliability,
    risk_by_confidence,
    risk_coverage,
)


def values(probabilities, labels):
    logits = torch.as_tensor(np.asarray(probabilities)).log()
    return dict(calibration(logits, torch.as_tensor(labels)))


def test_a_sure_and_right_model_is_perfect():
    assert values([[1.0, 0.0], [0.0, 1.0]], [0, 1]) == {
        "nll": 0.0,
        "brier": 0.0,
        "ece": 0.0,
        "aurc": 0.0,
    }


def test_a_sure_and_wrong_model_is_as_bad_as_can_be():
    found = values([[1.0, 0.0], [1.0, 0.0]], [1, 1])
    assert found == {"nll": math.inf, "brier": 2.0, "ece": 1.0, "aurc": 1.0}


def test_calibration_error_by_hand():
    # Two images in the bin of 0.9, one of them right: |0.9 - 0.5| = 0.4, of half the images.
    # Two in the bin of 0.7, both right: |0.7 - 1| = 0.3.
    found = values([[0.9, 0.1]] * 2 + [[0.3, 0.7]] * 2, [0, 1, 1, 1])
    # torchmetrics computes in float32.
    assert found["ece"] == pytest.approx(0.35, abs=1e-6)


def test_there_are_fifteen_bins_of_equal_width():
    # 0.61 and 0.66 share the bin from 9/15 to 10/15, 0.61 and 0.59 do not.
    together = values([[0.61, 0.39], [0.66, 0.34]], [0, 1])["ece"]
    assert together == pytest.approx(abs(0.635 - 0.5), abs=1e-6)
    apart = values([[0.61, 0.39], [0.59, 0.41]], [0, 1])["ece"]
    assert apart == pytest.approx((0.39 + 0.59) / 2, abs=1e-6)


def test_agrees_with_scikit_learn():
    draw = np.random.default_rng(0)
    probabilities = draw.dirichlet(np.ones(4), 50)
    labels = draw.integers(0, 4, 50)
    found = values(probabilities, labels)
    assert found["nll"] == pytest.approx(log_loss(labels, probabilities, labels=range(4)))
    brier = brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
    assert found["brier"] == pytest.approx(brier)


@pytest.mark.parametrize(("images", "classes"), [(3, 2), (40, 3), (900, 10)])
def test_calibration_error_is_its_formula_on_scikit_learns_bins(images, classes):
    draw = np.random.default_rng(images)
    probabilities = draw.dirichlet(np.full(classes, 0.4), images)
    labels = draw.integers(0, classes, images)
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    shares, means = calibration_curve(right, sure, n_bins=15)
    sizes = np.bincount((sure * 15).astype(int), minlength=15)
    expected = (sizes[sizes > 0] / images) @ np.abs(shares - means)
    assert values(probabilities, labels)["ece"] == pytest.approx(expected, abs=1e-6)
    bins = reliability(torch.tensor(sure), torch.tensor(~right))
    assert [row["images"] for row in bins] == sizes.tolist()
    held = [row for row in bins if row["images"]]
    assert [row["confidence"] for row in held] == pytest.approx(means.tolist())
    assert [row["accuracy"] for row in held] == pytest.approx(shares.tolist())
    assert all(row["confidence"] == row["accuracy"] == 0 for row in bins if not row["images"])


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    edges = torch.linspace(0, 1, BINS + 1)[1:]
    bins = reliability(edges, torch.zeros(BINS, dtype=torch.bool))
    assert [row["images"] for row in bins] == [1] * BINS
    assert [row["confidence"] for row in bins] == pytest.approx(edges.tolist())


def test_risk_by_confidence_is_a_plain_loop_over_the_surest():
    draw = np.random.default_rng(1)
    sure, wrong = draw.integers(1, 6, 50) / 8, draw.random(50) < 0.4
    found = risk_by_confidence(torch.tensor(sure), torch.tensor(wrong))
    # Ties in any order: the mean over many is what the shared error gives.
    loops = []
    for _ in range(4000):
        order = np.lexsort((draw.random(50), -sure))
        loops.append(np.cumsum(wrong[order]) / np.arange(1, 51))
    # 4000 draws of shares whose standard deviation is at most one half.
    assert found.numpy() == pytest.approx(np.mean(loops, 0), abs=4 * 0.5 / np.sqrt(4000))
    assert found[-1] == pytest.approx(wrong.mean())


def test_risk_coverage_is_the_error_among_the_surest():
    # Confidences 0.9, 0.8, 0.7, 0.6; the second and the fourth are wrong.
    shares = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]])
    found = risk_coverage(shares.log(), torch.tensor([0, 0, 0, 0]))
    assert found.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert dict(calibration(shares.log(), torch.zeros(4).long()))["aurc"] == pytest.approx(1 / 3)


def test_risk_coverage_does_not_depend_on_the_order_of_equal_confidences():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    labels = torch.tensor([0, 0, 0])
    a, b = (risk_coverage(logits[order], labels) for order in ([0, 1, 2], [1, 0, 2]))
    assert a.tolist() == b.tolist() == pytest.approx([1 / 3] * 3)
