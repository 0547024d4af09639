import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from foldtune.errors import InputError
from foldtune.judging.accuracy import accuracy


def one_hot(predicted, classes):
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def test_counted_by_hand():
    logits = one_hot([0, 0, 0, 1, 2], 3)
    values = dict(accuracy(logits, torch.tensor([0, 0, 0, 0, 2])))
    # Class 0 is right in 3 of 4, class 2 in 1 of 1; class 1 does not occur.
    assert values == {"top1": 0.8, "per_class": 0.875}


def test_top5_takes_any_of_the_five_largest():
    logits = torch.arange(7.0).repeat(7, 1)
    values = dict(accuracy(logits, torch.arange(7)))
    assert values["top5"] == pytest.approx(5 / 7)
    assert values["top1"] == pytest.approx(1 / 7)


@pytest.mark.parametrize("classes", [3, 5, 6, 9])
def test_agrees_with_scikit_learn(classes):
    draw = np.random.default_rng(classes)
    logits, labels = draw.normal(size=(80, classes)), draw.integers(0, classes, 80)
    found = dict(accuracy(torch.tensor(logits), torch.tensor(labels)))
    assert found["top1"] == pytest.approx((logits.argmax(1) == labels).mean())
    assert found["per_class"] == pytest.approx(balanced_accuracy_score(labels, logits.argmax(1)))
    if classes > 5:
        expected = top_k_accuracy_score(labels, logits, k=5)
        assert found["top5"] == pytest.approx(expected)
    else:
        assert "top5" not in found


def test_a_class_may_be_ruled_out():
    logits = torch.tensor([[-torch.inf, 1.0], [0.5, -torch.inf]])
    assert dict(accuracy(logits, torch.tensor([1, 0])))["top1"] == 1.0


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0]), r"labels \(1,\)"),
        (torch.zeros(2), torch.tensor([0, 1]), r"logits have shape \(2,\)"),
        (torch.zeros(0, 3), torch.tensor([], dtype=torch.long), "at least one image"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "from 0 to 3; the logits know classes 0 to 2"),
        (torch.zeros(2, 3), torch.tensor([-1, 0]), "from -1"),
        (torch.full((2, 3), torch.nan), torch.tensor([0, 1]), "hold nan"),
    ],
)
def test_meaningless_input_is_refused(logits, labels, message):
    with pytest.raises(InputError, match=message):
        list(accuracy(logits, labels))
