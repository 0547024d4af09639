"""Probes trained together are those trained alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foldtune.errors import InputError
from foldtune.training.batches import Data
from foldtune.training.loop import train
from foldtune.training.probe_grid import train_probes, trains_together
from foldtune.training.recipe import Recipe

ROWS, CHANNELS, CLASSES = 45, 13, 7
BASE = Recipe(epochs=4, batch_size=16, warmup_epochs=1)
SETTINGS = [(1e-3, 0.0), (3e-2, 1e-2), (1e-1, 1e-4), (2e-2, 0.3), (5e-3, 1e-3)]


def made():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, CLASSES, ROWS)
    features = draw.normal(size=(ROWS, CHANNELS)).astype(np.float32)
    features[np.arange(ROWS), labels] += 2
    return Data(features, labels, np.arange(3, ROWS))


def recipes(base=BASE):
    return [replace(base, lr=lr, weight_decay=decay, min_lr=lr / 10) for lr, decay in SETTINGS]


def start():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(CLASSES, CHANNELS, generator=generator) / 10, torch.zeros(CLASSES)


def alone(recipe, seed=5):
    data, head = made(), nn.Linear(CHANNELS, CLASSES)
    with torch.no_grad():
        for tensor, value in zip((head.weight, head.bias), start(), strict=True):
            tensor.copy_(value)
    outcome = train(
        head, data.pixels, data.labels, data.indices, recipe, prepare=lambda x, _: x, seed=seed
    )
    return outcome, head


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "sgd"},
        {"label_smoothing": 0.1, "drop_last": True},
        {"decay_1d": True, "parts": 2},
    ],
    ids=str,
)
def test_together_equals_alone_within_rounding(change):
    asked = recipes(replace(BASE, **change))
    found = train_probes(made(), asked, start(), seed=5)
    for i, recipe in enumerate(asked):
        outcome, head = alone(recipe)
        torch.testing.assert_close(found.weight[i], head.weight.detach(), rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(found.bias[i], head.bias.detach(), rtol=1e-4, atol=2e-5)
        for mine, theirs in zip(found.outcomes[i].curve, outcome.curve, strict=True):
            assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
            assert mine["lr"] == theirs["lr"]


@pytest.mark.parametrize("group", [[0], [4], [1, 3], [2, 3, 4]])
def test_the_bits_of_a_probe_do_not_depend_on_its_company(group):
    # So a study's rows are the same whether its trials run together or each in its own process.
    whole, asked = train_probes(made(), recipes(), start(), seed=5), recipes()
    part = train_probes(made(), [asked[i] for i in group], start(), seed=5)
    assert torch.equal(part.weight, whole.weight[group])
    assert torch.equal(part.bias, whole.bias[group])
    losses = [[e["loss"] for e in o.curve] for o in part.outcomes]
    assert losses == [[e["loss"] for e in whole.outcomes[i].curve] for i in group]


def test_one_that_diverges_leaves_the_others_alone():
    base = replace(BASE, optimizer="sgd")
    asked = [recipes(base)[0], replace(base, lr=1e30, min_lr=0.0), recipes(base)[2]]
    found = train_probes(made(), asked, start(), seed=5)
    outcome, _ = alone(asked[1])
    assert found.outcomes[1].verdict == outcome.verdict
    assert len(found.outcomes[1].curve) == len(outcome.curve)
    kept = train_probes(made(), [asked[0], asked[2]], start(), seed=5)
    assert torch.equal(found.weight[[0, 2]], kept.weight)


def test_what_evaluate_tells_joins_each_curve():
    def evaluate(epoch, weight, bias):
        assert weight.shape == (5, CLASSES, CHANNELS)
        assert bias.shape == (5, CLASSES)
        return [{"which": i, "at": epoch} for i in range(5)]

    found = train_probes(made(), recipes(), start(), seed=5, evaluate=evaluate)
    assert [o.curve[-1]["which"] for o in found.outcomes] == [0, 1, 2, 3, 4]
    assert [e["at"] for e in found.outcomes[2].curve] == [1, 2, 3, 4]


def test_recipes_that_differ_in_more_are_refused():
    asked = [BASE, replace(BASE, batch_size=8)]
    with pytest.raises(InputError, match="cannot be trained together"):
        train_probes(made(), asked, start(), seed=5)
    assert trains_together(replace(BASE, mixup=0.2)) is None
