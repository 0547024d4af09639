import math

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from foldtune.evaluate.calibration import calibration, risk_coverage


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
