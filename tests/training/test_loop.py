import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from foldtune.errors import InputError
from foldtune.training.device import check_precision
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe

from .tiny import CLASSES, RANDOM, RECIPE, equal, images, numbers, prepare, vit, weights

RECIPES = {
    "plain": RECIPE,
    "random": RANDOM,
    "sgd": replace(RANDOM, optimizer="sgd", lr=0.1, schedule="study-epoch", warmup_epochs=1),
}


def run(recipe=RECIPE, model=None, data=None, seed=0, **options):
    """Train the tiny ViT; the outcome and the model."""
    model = model or vit()
    data = data or images()
    options = {"prepare": prepare, "device": "cpu", **options}
    return train(model, *data, recipe, seed=seed, **options), model


def test_it_learns():
    pixels, _, indices = images(64)
    labels = np.arange(len(pixels)) % CLASSES
    pixels = pixels[labels]  # one image for each class
    recipe = Recipe(epochs=10, batch_size=16, lr=1e-2, warmup_epochs=1)
    outcome, _ = run(recipe, data=(pixels, labels, indices))
    assert outcome.finished
    assert outcome.curve[-1]["loss"] < 0.5 * outcome.curve[0]["loss"]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_same_run_twice_is_bit_equal(recipe):
    torch.manual_seed(1)
    first, model = run(recipe)
    torch.manual_seed(2)
    second, other = run(recipe)
    assert equal(weights(model), weights(other))
    assert numbers(first.curve) == numbers(second.curve)


def test_the_same_run_twice_is_bit_equal_on_two_threads():
    recipe = replace(RANDOM, epochs=1, batch_size=18)  # short: two threads on busy cores crawl
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first, model = run(recipe)
        second, other = run(recipe)
    finally:
        torch.set_num_threads(before)
    assert equal(weights(model), weights(other))
    assert numbers(first.curve) == numbers(second.curve)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_another_seed_trains_otherwise(recipe):
    assert not equal(weights(run(recipe)[1]), weights(run(recipe, seed=1)[1]))


def test_every_epoch_is_augmented_by_draws_of_its_own():
    def drawn(seed):
        told = []

        def watched(batch, generator):
            told.append(tuple(torch.rand(4, generator=generator).tolist()))
            return prepare(batch, None)

        run(replace(RECIPE, batch_size=18), prepare=watched, seed=seed)
        return told

    first = drawn(0)
    assert first == drawn(0)
    # Two steps in each of three epochs, under each of two seeds: no two draw the same.
    assert len({*first, *drawn(1)}) == 12


def test_every_epoch_drops_out_by_draws_of_its_own():
    seen = []

    class Noisy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(16 * 16 * 3, CLASSES)

        def forward(self, x):
            seen.append(torch.rand(4).tolist())  # of the generator that dropout draws from
            return self.head(x.flatten(1))

    run(replace(RECIPE, batch_size=36), Noisy())
    first, seen = seen, []
    run(replace(RECIPE, batch_size=36), Noisy())
    assert first == seen
    assert len({tuple(draw) for draw in first}) == 3


def test_the_callers_random_state_is_left_alone():
    model = vit()
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    run(RANDOM, model)
    assert torch.equal(torch.rand(4), expected)


def test_a_step_is_the_textbooks():
    """One plain epoch equals a loop written down here."""
    recipe = Recipe(epochs=1, batch_size=36, optimizer="sgd", lr=0.5, warmup_epochs=0)
    recipe = replace(recipe, momentum=0.0, weight_decay=0.0)
    pixels, labels, indices = images()
    outcome, model = run(recipe, vit(proj_drop_rate=0), prepare=lambda b, g: prepare(b, None))
    other = vit(proj_drop_rate=0, drop_path_rate=0)
    batch = prepare(torch.from_numpy(pixels[indices]), None)
    loss = torch.nn.functional.cross_entropy(other(batch), torch.from_numpy(labels[indices]))
    loss.backward()
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter -= 0.5 * parameter.grad
            # The batch is summed in another order.
            assert torch.allclose(parameter, model.get_parameter(name), atol=1e-6)
    assert outcome.curve[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_the_curve_has_a_whole_entry_for_each_epoch():
    outcome, _ = run(evaluate=lambda epoch: {"top1": np.float64(epoch / 10)})
    assert [entry["epoch"] for entry in outcome.curve] == [0, 1, 2, 3]
    assert [entry["top1"] for entry in outcome.curve] == [0.0, 0.1, 0.2, 0.3]
    assert type(outcome.curve[0]["top1"]) is float
    assert outcome.curve[-1]["lr"] == RECIPE.min_lr
    for entry in outcome.curve[1:]:
        assert entry["images_per_second"] == 36 / entry["seconds"]
    assert outcome.seconds > sum(entry["seconds"] for entry in outcome.curve[1:])


def test_the_start_is_judged_before_the_first_step_and_changes_none():
    model, seen = vit(), []
    before = weights(model)
    run(model=model, evaluate=lambda _: seen.append(weights(model)) or {})
    assert equal(seen[0], before)
    assert not equal(seen[1], before)
    _, other = run()
    assert equal(weights(model), weights(other))


def test_a_batch_norm_that_moves_is_never_given_one_image():
    # 25 images by 12 ended in torch's traceback, "Expected more than 1 value per channel".
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))
    outcome = train(model, *images(25), replace(RECIPE, batch_size=12), prepare=prepare, seed=0)
    assert outcome.finished
    assert model[2].num_batches_tracked == 2 * RECIPE.epochs


def test_evaluate_may_not_overwrite_the_curve():
    with pytest.raises(InputError, match=r"\['loss'\]"):
        run(evaluate=lambda epoch: {"loss": 1.0})


def test_modes_gradients_and_drop_path_are_what_the_caller_expects():
    model, modes = vit(), []

    def evaluate(epoch):
        modes.append(any(module.training for module in model.modules()))
        return {}

    def watched(batch, generator):
        modes.append(model.training)
        return prepare(batch, generator)

    run(replace(RECIPE, batch_size=36), model, evaluate=evaluate, prepare=watched)
    assert modes == [False, *[True, False] * 3]
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.blocks[1].drop_path1.drop_prob == pytest.approx(0.2)


def test_only_trainable_parameters_move_and_only_they_get_gradients():
    model = vit().requires_grad_(False)
    model.head.requires_grad_(True)
    before = weights(model)

    def watched(batch, generator):
        assert all(p.grad is None for n, p in model.named_parameters() if "head" not in n)
        return prepare(batch, generator)

    run(model=model, prepare=watched)
    moved = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}
    assert not model.blocks[0].attn.qkv.weight.requires_grad


def test_mixed_precision_trains_and_leaves_no_trace():
    try:
        check_precision("bf16", torch.device("cpu"))
    except InputError as refusal:
        pytest.skip(str(refusal))
    model = vit()
    outcome, _ = run(replace(RECIPE, precision="bf16"), model)
    assert outcome.finished
    assert "forward" not in vars(model)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    full, _ = run()
    # bfloat16 keeps 8 bits; the losses agree to about 1 %.
    assert outcome.curve[-1]["loss"] == pytest.approx(full.curve[-1]["loss"], rel=0.02)
    assert numbers(outcome.curve) != numbers(full.curve)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("every", [1, 2])
def test_killed_in_mid_epoch_and_resumed_equals_uninterrupted(tmp_path, recipe, every):
    path, steps = tmp_path / "checkpoint", []

    def deadly(batch, generator):
        steps.append(1)
        if len(steps) == 13:  # of five in an epoch: in the third
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(batch, generator)

    options = {"checkpoint": path, "checkpoint_every": every}
    # Forked, since starting Python and importing torch takes seconds.
    child = multiprocessing.get_context("fork").Process(
        target=run, args=(recipe,), kwargs={"prepare": deadly, **options}
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    resumed, model = run(recipe, prepare=counted(steps), **options)
    assert len(steps) == 5  # the third epoch only
    whole, other = run(recipe)
    assert equal(weights(model), weights(other))
    assert numbers(resumed.curve) == numbers(whole.curve)


def counted(steps):
    def watched(batch, generator):
        steps.append(1)
        return prepare(batch, generator)

    return watched


@pytest.mark.parametrize("broken", [1, 2, 3])
def test_an_error_in_evaluate_costs_that_epoch_only(tmp_path, broken):
    def evaluate(epoch):
        if epoch == broken and not healed:
            raise RuntimeError("the disk is gone")
        return {"top1": epoch / 3}

    healed, path, model = [], tmp_path / "checkpoint", vit()
    with pytest.raises(RuntimeError, match="the disk is gone"):
        run(RANDOM, model, evaluate=evaluate, checkpoint=path)
    assert not model.training
    assert model.blocks[1].drop_path1.drop_prob == pytest.approx(0.2)
    healed, steps = [True], []
    resumed, model = run(RANDOM, evaluate=evaluate, checkpoint=path, prepare=counted(steps))
    assert len(steps) == 5 * (3 - broken + 1)
    whole, other = run(RANDOM, evaluate=evaluate)
    assert equal(weights(model), weights(other))
    assert numbers(resumed.curve) == numbers(whole.curve)


def test_a_finished_run_is_not_run_again(tmp_path):
    path, steps = tmp_path / "checkpoint", []
    first, model = run(checkpoint=path)
    again, other = run(checkpoint=path, prepare=counted(steps))
    assert not steps
    assert again.finished
    assert again.curve == first.curve
    assert again.seconds > sum(entry["seconds"] for entry in first.curve)
    assert equal(weights(model), weights(other))


def test_every_second_epoch_and_the_last_are_kept(tmp_path):
    kept, path = [], tmp_path / "checkpoint"

    def evaluate(epoch):
        kept.append(path.exists() and safe_open(path, "pt").metadata() is not None)
        return {}

    run(replace(RECIPE, epochs=4), checkpoint=path, checkpoint_every=3, evaluate=evaluate)
    assert kept == [False, False, False, False, True]


def test_by_the_clock_short_runs_write_nothing_and_long_ones_not_their_end(tmp_path):
    path, seen = tmp_path / "checkpoint", []

    def evaluate(epoch):
        seen.append(path.exists())
        return {}

    run(checkpoint=path, checkpoint_seconds=1000.0, evaluate=evaluate)
    assert seen == [False] * 4
    assert not path.exists()
    run(checkpoint=path, checkpoint_seconds=1e-9, evaluate=evaluate)
    assert seen[4:] == [False, False, True, True]
    steps = []
    run(checkpoint=path, prepare=counted(steps))
    assert len(steps) == 5  # of the last epoch, which by the clock leaves none


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_in_a_verdict_with_the_epochs_before(tmp_path, bad):
    path, model, steps = tmp_path / "checkpoint", vit(), []

    def poisoned(batch, generator):
        steps.append(1)
        images = prepare(batch, generator)
        return images * bad if len(steps) == 8 else images

    outcome, _ = run(model=model, prepare=poisoned, checkpoint=path)
    assert not outcome.finished
    assert outcome.verdict.startswith("diverged: loss is nan at epoch 2, step 3, lr ")
    assert outcome.verdict.endswith("; try a lower lr, or clip_norm=1.0")
    assert len(outcome.curve) == 1
    assert not model.training
    # Seen before the step was taken, so the weights are those of the last good step.
    assert all(torch.isfinite(value).all() for value in weights(model).values())
    resumed, _ = run(checkpoint=path)
    assert resumed.curve[0] == outcome.curve[0]
    assert resumed.finished


def test_too_high_a_rate_is_told_even_where_only_the_last_step_breaks():
    recipe = Recipe(epochs=1, batch_size=36, optimizer="sgd", lr=1e38, warmup_epochs=0)
    outcome, _ = run(replace(recipe, weight_decay=1e38))
    assert outcome.verdict.startswith("diverged: parameter ")
    assert "at epoch 1, step 1, lr 1e+38" in outcome.verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"seed": 0.5}, r"seed=0\.5"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"checkpoint_seconds": -1.0}, r"checkpoint_seconds=-1\.0"),
        ({"model": vit(num_classes=3)}, "count 5 classes, the model's head 3"),
        ({"model": vit().requires_grad_(False)}, "no trainable parameter"),
        ({"model": vit(num_classes=0, global_pool="")}, r"shape \(8, 5, 16\)"),
        ({"recipe": replace(RECIPE, batch_size=64, drop_last=True)}, "make no batch"),
        ({"recipe": replace(RECIPE, precision="fp16")}, "fp16 needs a GPU"),
    ],
)
def test_what_cannot_be_trained_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        run(**options)


def test_quiet_unless_on_a_terminal(capfd):
    run(progress="tiny")
    assert capfd.readouterr() == ("", "")
