"""Steps that are recorded and run again, on tapes that stand for CUDA graphs."""

import logging
from dataclasses import replace

import pytest
import torch

from foldtune.augment.resample import Resample
from foldtune.core.attach import attach
from foldtune.core.compute.delta import Delta
from foldtune.errors import InputError
from foldtune.methods import SSF, BitFit, LoRA
from foldtune.testing.tape import recorded_on_the_cpu
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe, recipe_values
from foldtune.training.speed.graphs import WARM
from foldtune.training.speed.witness import witnessed

from ..tiny import RANDOM, close, images, numbers, prepare, vit, weights

PLAIN = replace(RANDOM, epochs=2)
GRAPHED = replace(PLAIN, cuda_graphs=True)  # 36 images: 8, 8, 8, 8, 4
REPLAYS = 2 * 4 - WARM
METHOD = SSF()


@pytest.fixture
def tapes():
    with recorded_on_the_cpu() as made:
        yield made


def trained(recipe, method=METHOD, **options):
    model = vit()
    attach(model, method, example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
    outcome = train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu", **options)
    return weights(model), outcome


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        (SSF(), {}),
        (LoRA(rank=2), {"optimizer": "sgd", "lr": 0.05, "ema": 0.9}),
        (BitFit(), {"imbalance": "adjusted", "clip_norm": None, "mixup": 0.0, "cutmix": 0.0}),
    ],
    ids=repr,
)
def test_a_training_is_the_plain_one_but_for_rounding(tapes, method, changes):
    """Draws, clipping, rates that change at every step, the average, an odd last batch."""
    graphed, told = trained(replace(GRAPHED, **changes), method)
    assert [tape.replays for tape in tapes] == [REPLAYS]
    plain, outcome = trained(replace(PLAIN, **changes), method)
    assert close(graphed, plain)
    for one, other in zip(told.curve, outcome.curve, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)


def shrunk(recipe):
    """The weights after a training amid which a scale became 0, and what may be divided by before
    and after."""
    model, found = vit(), []
    attachment = attach(model, METHOD, example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
    deltas = [m for m in attachment.holdings.container.children() if isinstance(m, Delta)]
    asking = [delta for delta in deltas if delta.divisors()]

    def evaluate(epoch):
        found.append({delta.divides for delta in asking})
        if epoch == 1:
            with torch.no_grad():
                for delta in deltas:
                    delta.scale[0] = 0.0
        return {}

    options = {"prepare": prepare, "seed": 0, "device": "cpu", "evaluate": evaluate}
    train(model, *images(), replace(recipe, epochs=3), **options)
    return weights(model), found[1:3]


def scaled_features(tape):
    products = [e for e in tape._entries if e[0] is torch.ops.aten.addcmul.default]
    return sum(result.ndim == 3 for *_, results in products for result in results)


def test_a_scale_that_becomes_too_small_to_divide_by_is_recorded_anew(tapes):
    graphed, found = shrunk(GRAPHED)
    assert found == [{True}, {False}]
    assert [tape.replays for tape in tapes] == [4 - WARM, 8 - WARM]
    # Scales are folded into weights as long as that has a gradient, not written over features.
    assert [scaled_features(tape) > 0 for tape in tapes] == [False, True]
    plain, _ = shrunk(PLAIN)
    assert all(torch.isfinite(value).all() for value in graphed.values())
    assert close(graphed, plain)


def normed():
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv2d(3, 4, 3, stride=4, bias=False),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
    ]
    pool = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, *pool, torch.nn.Linear(4, 5))


def test_statistics_of_batch_norms_move_as_they_do(tapes):
    found = []
    for recipe in (GRAPHED, PLAIN):
        model, plain = normed(), replace(recipe, drop_path=0.0)
        train(model, *images(), plain, prepare=prepare, seed=0, device="cpu")
        found.append(weights(model))
    assert tapes[0].replays == REPLAYS
    assert found[0]["1.num_batches_tracked"] == 2 * 5
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-4, atol=1e-5, msg=name)


class _Stopped(Exception):
    pass


def test_a_resumed_training_is_the_undisturbed_one(tapes, tmp_path):
    def stop(epoch):
        if epoch == 1:
            raise _Stopped
        return {}

    whole, outcome = trained(GRAPHED)
    file = tmp_path / "checkpoint"
    with pytest.raises(_Stopped):
        trained(GRAPHED, evaluate=stop, checkpoint=file)
    resumed, told = trained(GRAPHED, checkpoint=file)
    # It is recorded anew, after steps as they are: another order of sums for these.
    assert close(resumed, whole)
    assert len(told.curve) == len(outcome.curve)
    assert numbers(told.curve)[0] == numbers(outcome.curve)[0]


def test_another_size_of_images_is_recorded_anew(tapes):
    changes = {"batch_size": 6, "phases": ((1, 16), (2, 24)), "drop_path": 0.0}
    recipe = replace(GRAPHED, **changes)
    ready = Resample((0.5,) * 3, (0.5,) * 3, 16)
    train(normed(), *images(), recipe, prepare=ready, seed=0, device="cpu")
    assert [tape.replays for tape in tapes] == [6 - WARM] * 2


class _Asks(torch.nn.Module):
    def __init__(self, how):
        super().__init__()
        self.layer, self.how = torch.nn.Linear(3 * 16 * 16, 5), how

    def forward(self, x):
        return self.how(self.layer(x.flatten(1)))


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (lambda y: y * float(y.detach().abs().max() > 0), "a value is read"),
        (lambda y: y + 0 * y[y > 0].sum(), "a mask decides a shape"),
        (lambda y: y + 0 * y.detach().nonzero().sum(), "values decide a shape"),
    ],
)
def test_a_host_that_asks_the_device_is_stepped_as_it_is_and_told(tapes, caplog, how, why):
    found = []
    for recipe in (GRAPHED, PLAIN):
        torch.manual_seed(0)
        model = _Asks(how)
        train(model, *images(), replace(recipe, drop_path=0.0), prepare=prepare, seed=0,
              device="cpu")  # fmt: skip
        found.append(weights(model))
    assert [tape.replays for tape in tapes] == [0]
    (line,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert line.startswith(f"cuda_graphs: {why}")
    assert line.endswith("steps are launched operation by operation")
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-6, atol=1e-7)


def test_what_only_a_recording_finds_out_is_told_and_stepped_as_it_is(tapes, caplog):
    calls = []

    def refuses(y):
        calls.append(torch.utils._python_dispatch._get_current_dispatch_mode())
        if tapes[-1] is calls[-1]:
            raise RuntimeError("not while it is recorded")
        return y

    model = _Asks(refuses)
    recipe = replace(GRAPHED, drop_path=0.0)
    assert train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu").finished
    assert "RuntimeError: not while it is recorded" in caplog.text
    assert tapes[0].replays == 0


def test_blocks_computed_again_are_not_recorded(tapes, caplog):
    trained(replace(GRAPHED, recompute=True, epochs=1, warmup_epochs=0))
    assert tapes == []
    assert "recompute" in caplog.text


def test_a_device_that_records_nothing_is_refused_before_the_first_step():
    with pytest.raises(InputError, match="cuda_graphs needs an NVIDIA GPU, not cpu"):
        trained(GRAPHED)


def test_copies_between_devices_are_noticed():
    with witnessed(torch.device("cpu")) as told:
        torch.zeros(2).to("meta")
        torch.zeros(2)[torch.tensor([0, 1])].sum()
    assert told == ["a step copies from cpu to meta"]


def test_it_is_stated_where_it_is_asked_alone():
    assert "cuda_graphs" not in recipe_values(Recipe())
    assert recipe_values(Recipe(cuda_graphs=True))["cuda_graphs"] is True
