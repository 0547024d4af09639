"""Trials stacked where it is less work: the same rows, but for rounding and the clock."""

from dataclasses import replace

import pytest

from foldtune.core.attach import attach
from foldtune.methods import SSF, AdaptFormer, BitFit, Full, LastBlocks, LinearProbe, LoRA
from foldtune.study.bench.bench import CHECKPOINT
from foldtune.study.bench.execute import InProcess
from foldtune.study.compare import compare
from foldtune.study.executors import choose
from foldtune.study.executors import stacked as executor_module
from foldtune.study.executors.stacked import Stacked, gain, pays
from foldtune.study.results.artefacts import VALIDATION
from foldtune.training import stacked

CLOCK = ("seconds", "images_per_second")


def trials(bench, recipe, method, rates=(3e-3, 1e-3, 3e-4), stage="trial"):
    return [
        bench.describe(stage, method, replace(recipe, lr=lr), 0, head="zero", trial=number)
        for number, lr in enumerate(rates)
    ]


def varied(recipe):
    """Without augmentation a run by itself computes the frozen blocks only once."""
    return replace(recipe, augment=("flip",))


def check_alike(found, wanted):
    """Every number within float32's rounding over a few steps; everything else equal."""
    assert found.keys() | {"stacked"} == wanted.keys() | {"stacked"}
    assert found["files"].keys() == wanted["files"].keys()  # whose bytes differ in rounding
    for key in wanted.keys() - {"seconds", "curve", "stacked", "files"}:
        same = wanted[key] if not isinstance(wanted[key], float) else pytest.approx(wanted[key])
        assert found[key] == same, key
    for mine, theirs in zip(found["curve"], wanted["curve"], strict=True):
        assert mine.keys() == theirs.keys()
        for key in theirs.keys() - set(CLOCK):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-4), key


@pytest.mark.parametrize("method", [LinearProbe(), LastBlocks(1)], ids=repr)
def test_stacked_rows_are_those_of_separate_runs(bench, recipe, tmp_path, method):
    runs = trials(bench, varied(recipe), method)
    wanted = {row["run"]: row for row in InProcess(bench, tmp_path / "one")(runs)}
    before = bench.backbone.identity()
    for row in Stacked(bench, tmp_path / "two")(runs):
        assert row["stacked"] == 3
        check_alike(row, wanted.pop(row["run"]))
        assert (tmp_path / "two" / "runs" / row["run"] / VALIDATION).exists()
        assert not (tmp_path / "two" / "runs" / row["run"] / CHECKPOINT).exists()
    assert not wanted
    assert bench.backbone.identity() == before


def test_where_it_does_not_pay_rows_are_bit_for_bit_those_of_separate_runs(bench, recipe, tmp_path):
    runs = trials(bench, replace(recipe, epochs=1), BitFit(), rates=(3e-3, 1e-3))
    found = list(Stacked(bench, tmp_path / "two")(runs))
    for row, other in zip(found, InProcess(bench, tmp_path / "one")(runs), strict=True):
        assert "stacked" not in row
        assert row["val_loss"] == other["val_loss"]


def test_a_killed_stack_goes_on_with_what_is_left(bench, recipe, tmp_path, monkeypatch):
    runs = trials(bench, varied(recipe), LastBlocks(1))
    bench.checkpoint_seconds = 0.0  # one after every epoch
    wanted = {row["run"]: row for row in Stacked(bench, tmp_path / "one")(runs)}
    written = []

    def killed(path, *state):
        if len(written) == 4:  # in the middle of the second epoch's three files
            raise KeyboardInterrupt
        written.append(path)
        return write(path, *state)

    write = stacked.write_checkpoint
    monkeypatch.setattr(stacked, "write_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        list(Stacked(bench, tmp_path / "two")(runs))
    monkeypatch.undo()
    rows = list(Stacked(bench, tmp_path / "two")(runs))
    assert sorted(row.get("stacked", 1) for row in rows) == [1, 2, 2]
    for row in rows:
        check_alike(row, wanted[row["run"]])


def test_frozen_blocks_that_are_computed_once_are_not_stacked(bench, recipe, tmp_path):
    runs = trials(bench, recipe, LastBlocks(1))
    assert all("stacked" not in row for row in Stacked(bench, tmp_path)(runs))


def test_a_trial_that_diverges_is_told_as_such(bench, recipe, tmp_path):
    runs = trials(bench, recipe, LinearProbe(), rates=(1e-3, 1e38))
    good, bad = Stacked(bench, tmp_path)(runs)
    assert good["verdict"] == "finished"
    assert bad["verdict"].startswith("diverged: ")
    assert "val_accuracy" not in bad


def test_only_what_differs_in_rates_and_decay_is_stacked(bench, recipe, tmp_path):
    executor = Stacked(bench, tmp_path)
    alike = trials(bench, recipe, SSF(), rates=[1e-3 + i * 1e-4 for i in range(9)])
    others = [
        *trials(bench, recipe, SSF(std=0.1), rates=(1e-3,)),
        *trials(bench, replace(recipe, batch_size=16), SSF(), rates=(1e-3,)),
        *trials(bench, replace(recipe, ema=0.5), SSF(), rates=(1e-3, 2e-3)),
        *trials(bench, recipe, SSF(), rates=(1e-3, 2e-3), stage="final"),
    ]
    assert [len(g) for g in executor._groups([*alike, *others])] == [9, 1, 1, 1, 1, 1, 1]
    assert [len(part) for part in executor_module._evenly(alike, 8)] == [5, 4]


@pytest.mark.parametrize(
    ("method", "trials_", "largest"),
    [(LastBlocks(1), 9, 8), (LastBlocks(1), 3, 3), (LinearProbe(), 9, 9), (SSF(), 9, 1)],
)
def test_a_stack_is_as_large_as_pays(bench, recipe, tmp_path, method, trials_, largest):
    rates = [1e-3 + i * 1e-4 for i in range(trials_)]
    # Without augmentation a classifier's steps see features that lie ready.
    recipe = recipe if method == LinearProbe() else varied(recipe)
    executor = Stacked(bench, tmp_path)
    assert executor._largest(trials(bench, recipe, method, rates)) == largest


@pytest.mark.parametrize(
    ("method", "saves", "worth"),
    [
        (LinearProbe(), 4.0, True),
        (LastBlocks(1), 2.1, True),
        (LastBlocks(4), 1.2, False),
        (LoRA(), 1.0, False),
        (LoRA(targets=("blocks.7.attn.qkv",)), 2.6, True),
        (Full(), 1.0, False),
    ],
    ids=repr,
)
def test_what_pays_is_counted(backbone, recipe, method, saves, worth):
    attachment = attach(backbone, method, num_classes=10, seed=0)
    example = backbone.example(2)
    assert gain(attachment, example, 4) == pytest.approx(saves, rel=0.1)
    assert pays(attachment, recipe, example, 4) is worth
    attachment.detach()


def test_what_does_not_fit_does_not_pay_be_it_a_classifier(backbone, recipe, monkeypatch):
    attachment = attach(backbone, LinearProbe(), num_classes=10, seed=0)
    numbers = sum(p.numel() for p in attachment.parameters())
    monkeypatch.setattr(executor_module, "_NUMBERS", 4 * numbers)
    assert pays(attachment, recipe, backbone.example(2), 4)
    assert not pays(attachment, recipe, backbone.example(2), 5)
    attachment.detach()


def test_a_stack_is_no_larger_than_fits(bench, recipe, tmp_path, monkeypatch):
    runs = trials(bench, recipe, LinearProbe(), rates=[1e-3 + i * 1e-4 for i in range(9)])
    attachment = bench.attach(LinearProbe(), runs[0])
    monkeypatch.setattr(executor_module, "_NUMBERS", 5 * attachment.head_size)
    attachment.detach()
    assert Stacked(bench, tmp_path)._largest(runs) == 5


def test_what_draws_random_numbers_does_not_pay(backbone, recipe):
    attachment = attach(backbone, AdaptFormer(dropout=0.1), num_classes=10, seed=0)
    assert not pays(attachment, recipe, backbone.example(2), 4)


def test_a_study_is_stacked_by_name(backbone, digits, recipe, tmp_path):
    with choose("stacked") as executor:
        found = compare(
            digits, backbone, methods=["LinearProbe"], trials=2, seeds=1, recipe=recipe,
            out=tmp_path, executor=executor, head="zero",
        )  # fmt: skip
    assert [row.get("stacked") for row in found.rows] == [2, 2, None]
