"""Trials trained together are what they are alone, within rounding."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import SSF, BitFit, LastBlocks, LoRA
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe
from foldtune.training.stack import Stack
from foldtune.training.stacked import train_stacked

from .tiny import CLASSES, equal, images, prepare, vit, weights

BASE = Recipe(epochs=2, batch_size=12, warmup_epochs=0.5, lr=3e-2, weight_decay=0.1)
TRIALS = [BASE, replace(BASE, lr=1e-2, weight_decay=0.0), replace(BASE, lr=3e-3, min_lr=1e-4)]
RECIPES = {
    "adamw": {},
    "sgd": {"optimizer": "sgd", "decay_1d": True},
    "plain sgd": {"optimizer": "sgd", "momentum": 0.0},
    "mixed": {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "clip_norm": 0.5},
}
T = torch.Tensor
ASKS = {T.__bool__, T.__int__, T.__float__, T.__index__, T.item, T.tolist, torch.equal, T.nonzero}
ASKS |= {T.new_tensor, T.cpu}
METHODS = (BitFit(), SSF(), LoRA(rank=2), LoRA(rank=2, rate_ratio=4.0), LastBlocks(1))


def doubles(batch, generator):
    return prepare(batch, generator).double()


def host(method=None):
    """A host in float64 without random draws, with a method."""
    model = vit(proj_drop_rate=0.0).double()
    example = torch.zeros(2, 3, 16, 16).double()
    attached = attach(model, method or BitFit(), num_classes=CLASSES, seed=0, example=example)
    attached.keep_plainly()
    return model


def alone(recipe, method=None, **options):
    model = host(method)
    outcome = train(model, *images(), recipe, prepare=doubles, seed=0, **options)
    return outcome, {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}


def together(recipes, method=None, **options):
    model = host(method)
    return train_stacked(model, *images(), recipes, prepare=doubles, seed=0, **options)


def check_equal(found, wanted, tolerance=1e-9):
    outcome, tensors = wanted
    assert found.outcome.verdict == outcome.verdict
    assert len(found.outcome.curve) == len(outcome.curve)
    for mine, theirs in zip(found.outcome.curve, outcome.curve, strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-6)  # read in float32 there
        assert (mine["epoch"], mine["lr"]) == (theirs["epoch"], theirs["lr"])
    assert found.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor, rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_stack_equals_separate_trainings(method):
    for found, recipe in zip(together(TRIALS, method), TRIALS, strict=True):
        check_equal(found, alone(recipe, method))


@pytest.mark.parametrize("changed", RECIPES.values(), ids=RECIPES)
def test_a_stack_steps_as_the_loop_does(changed):
    recipes = [replace(recipe, **changed) for recipe in TRIALS[:2]]
    for found, recipe in zip(together(recipes), recipes, strict=True):
        check_equal(found, alone(recipe))


@pytest.mark.parametrize("bias", [True, False])
def test_many_classifiers_are_one_wide_layer(bias):
    head = torch.nn.Linear(7, CLASSES, bias=bias, dtype=torch.float64)
    features = torch.randn(9, 7, dtype=torch.float64)
    stack = Stack(head, 4)
    with torch.no_grad():
        stack.values += torch.randn_like(stack.values)
    each = [torch.func.functional_call(head, stack.parts(row), features) for row in stack.values]
    found = stack(features)
    torch.testing.assert_close(found, torch.stack(each, 1).flatten(1), rtol=0, atol=1e-12)
    with torch.autograd.profiler.profile() as profile:
        stack(features)
    assert sum(event.name == "aten::linear" for event in profile.function_events) == 1
    assert not any(event.name == "aten::bmm" for event in profile.function_events)


def test_the_classifiers_own_rate_is_that_of_separate_trainings():
    options = {"head": ("head.weight", "head.bias")}
    recipes = [replace(trial, head_lr=0.5) for trial in TRIALS[:2]]
    for found, recipe in zip(together(recipes, **options), recipes, strict=True):
        check_equal(found, alone(recipe, **options))
    other, own = alone(TRIALS[0], **options)[1], alone(recipes[0], **options)[1]
    assert not torch.allclose(other["head.weight"], own["head.weight"])


def test_classifiers_on_features_equal_separate_trainings():
    draw = np.random.default_rng(0)
    features, labels = draw.normal(size=(45, 13)).astype(np.float32), draw.integers(0, CLASSES, 45)
    rows, head = np.arange(3, 45), torch.nn.Linear(13, CLASSES)
    recipes = [replace(BASE, lr=lr, weight_decay=d) for lr, d in [(1e-3, 0.0), (3e-2, 0.3)]]
    options = {"prepare": lambda batch, _: batch, "seed": 5}
    for found, recipe in zip(
        train_stacked(head, features, labels, rows, recipes, **options), recipes, strict=True
    ):
        other = copy.deepcopy(head)
        outcome = train(other, features, labels, rows, recipe, **options)
        check_equal(found, (outcome, {n: p.detach() for n, p in other.named_parameters()}), 2e-5)


def test_a_trial_that_diverges_leaves_the_others_alone():
    recipes = [TRIALS[1], replace(BASE, lr=1e300), TRIALS[2]]
    found = together(recipes)
    assert found[1].outcome.verdict.startswith("diverged: ")
    assert found[1].outcome.verdict == alone(recipes[1])[0].verdict
    for number in (0, 2):
        check_equal(found[number], alone(recipes[number]))


def test_a_loss_that_is_read_late_is_of_the_same_step(monkeypatch):
    """On a GPU losses wait, and a trial that has diverged steps on by itself meanwhile."""
    recipes = [BASE, replace(BASE, lr=1e30), TRIALS[2]]
    soon = together(recipes)
    monkeypatch.setattr("foldtune.training.stacked.look_every", lambda device: 2)
    late = together(recipes)
    assert [t.outcome.verdict for t in late] == [t.outcome.verdict for t in soon]
    for number in (0, 2):
        wanted = (soon[number].outcome, soon[number].tensors)
        check_equal(late[number], wanted)


class Waits(TorchFunctionMode):
    """Counts what makes Python wait for a device: numbers that it asks for, masks, plain copies."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        masked = func is T.__getitem__ and isinstance(args[1], list | T)
        self.count += masked or func in ASKS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("every", "most"), [(1, 5), (50, 2)])
def test_a_device_is_waited_for_at_most_once_a_step(monkeypatch, every, most):
    monkeypatch.setattr("foldtune.training.stacked.look_every", lambda device: every)
    counts = []
    for epochs in (1, 2):
        recipes = [replace(r, epochs=epochs, warmup_epochs=0, batch_size=9) for r in TRIALS]
        with Waits() as seen:
            together(recipes)
        counts.append(seen.count)
    assert counts[1] - counts[0] <= most  # of an epoch of four steps, and of its end


def test_all_may_diverge():
    found = together([replace(BASE, lr=1e300), replace(BASE, lr=1e301)])
    assert [one.outcome.finished for one in found] == [False, False]


def test_the_model_is_left_as_it_was():
    model = host()
    before, modes = weights(model), [p.requires_grad for p in model.parameters()]
    train_stacked(model, *images(), TRIALS, prepare=doubles, seed=0)
    assert equal(weights(model), before)
    assert [p.requires_grad for p in model.parameters()] == modes


def killer(epoch):
    def judge(now, _stack, members):
        if now == epoch:
            raise KeyboardInterrupt
        return [{} for _ in members]

    return judge


def test_checkpoints_are_written_by_the_clock_where_asked(tmp_path):
    files = [tmp_path / str(i) for i in range(3)]
    together(TRIALS, checkpoints=files, checkpoint_seconds=1000.0)
    assert not any(file.exists() for file in files)
    with pytest.raises(InputError, match=r"checkpoint_seconds=-1\.0"):
        together(TRIALS, checkpoints=files, checkpoint_seconds=-1.0)


@pytest.mark.parametrize("changed", [{}, RECIPES["sgd"]], ids=["adamw", "sgd"])
def test_a_killed_stack_goes_on_bit_for_bit(tmp_path, changed):
    recipes = [replace(recipe, **changed) for recipe in TRIALS]
    files = [tmp_path / str(i) for i in range(3)]
    with pytest.raises(KeyboardInterrupt):
        together(recipes, checkpoints=files, judge=killer(2))
    resumed = together(recipes, checkpoints=files)
    for one, other in zip(resumed, together(recipes), strict=True):
        assert equal(one.tensors, other.tensors)


def test_a_trial_of_a_killed_stack_goes_on_alone(tmp_path):
    files = [tmp_path / str(i) for i in range(3)]
    with pytest.raises(KeyboardInterrupt):
        together(TRIALS, checkpoints=files, judge=killer(2))
    outcome, tensors = alone(TRIALS[1], checkpoint=files[1])
    assert outcome.seconds > sum(e["seconds"] for e in outcome.curve[1:])
    check_equal(together(TRIALS)[1], (outcome, tensors))


def test_checkpoints_of_different_epochs_start_anew(tmp_path):
    files = [tmp_path / str(i) for i in range(2)]
    with pytest.raises(KeyboardInterrupt):
        together(TRIALS[:2], checkpoints=files, judge=killer(2))
    files[1].unlink()
    for one, other in zip(
        together(TRIALS[:2], checkpoints=files), together(TRIALS[:2]), strict=True
    ):
        assert equal(one.tensors, other.tensors)


def test_what_a_judge_returns_joins_the_curve_of_its_trial():
    def judge(epoch, stack, members):
        assert stack(torch.zeros(2, 3, 16, 16).double()).shape == (2, len(members) * CLASSES)
        return [{"judged": np.float64(epoch * 10 + number)} for number in members]

    found = together(TRIALS, judge=judge)
    assert [[e["judged"] for e in one.outcome.curve] for one in found] == [
        [0, 10, 20], [1, 11, 21], [2, 12, 22],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ([], "at least one"),
        ([BASE, replace(BASE, batch_size=4)], "differ in rates and decay alone"),
        ([replace(BASE, ema=0.9)], "ema=0.9 cannot be stacked"),
        ([replace(BASE, drop_path=0.1)], "drop_path=0.1 cannot be stacked"),
        ([replace(BASE, precision="bf16")], "fp32 can"),
    ],
)
def test_what_does_not_go_together_is_refused(recipes, message):
    with pytest.raises(InputError, match=message):
        together(recipes)


def test_dropout_is_refused():
    model = vit(proj_drop_rate=0.5)
    with pytest.raises(InputError, match=r"VisionTransformer cannot be stacked .*random"):
        Stack(model.train(), 2)(torch.zeros(2, 3, 16, 16))
