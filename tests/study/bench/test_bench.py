"""A run becomes a row; the backbone is bitwise plain after; equal runs give equal bits."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from foldtune.backbones import load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.method import written_out
from foldtune.core.tensorfile import hash_tensors
from foldtune.core.tuningfile import read
from foldtune.errors import InputError, Unwritable
from foldtune.methods import SSF, BitFit, Full, LinearProbe, LoRA
from foldtune.study.bench import starts
from foldtune.study.bench.bench import CHECKPOINT, Bench
from foldtune.study.bench.execute import summarise
from foldtune.study.bench.run import REVISION
from foldtune.study.results.artefacts import LOGITS, TUNING, VALIDATION
from foldtune.study.results.logits import read_logits
from foldtune.training.loop import FINISHED, Outcome
from foldtune.training.recipe import recipe_values


def run_of(bench, method, recipe, stage="final", head="probe", seed=0):
    return bench.describe(stage, method, recipe, seed, head=head)


@pytest.mark.parametrize("method", [SSF(), LoRA(rank=2), Full(), LinearProbe()], ids=repr)
def test_backbone_is_bitwise_plain_after_a_run(bench, recipe, method):
    before = hash_tensors(bench.backbone.model.state_dict())
    bench.execute(run_of(bench, method, recipe))
    assert hash_tensors(bench.backbone.model.state_dict()) == before


def test_the_same_run_twice_gives_bit_equal_tunings(backbone, digits, recipe, tmp_path):
    recipe = replace(recipe, drop_path=0.1, augment=("flip",), mixup=0.2)
    rows = []
    for name in ("one", "two"):
        bench = Bench(load_backbone("micro", size=16), digits)
        run = run_of(bench, LoRA(rank=2, dropout=0.1), recipe)
        rows.append(bench.execute(run, tmp_path / name))
    a, b = (read(tmp_path / n / TUNING)[1] for n in ("one", "two"))
    assert hash_tensors(a) == hash_tensors(b)
    assert rows[0]["test_accuracy"] == rows[1]["test_accuracy"]
    assert rows[0]["run"] == rows[1]["run"]


def test_a_killed_run_resumes_to_the_same_bits(bench, recipe, tmp_path, monkeypatch):
    run = run_of(bench, SSF(), replace(recipe, epochs=3), stage="fit")
    bench.checkpoint_seconds = 0.0
    whole = bench.execute(run, tmp_path / "whole")
    import foldtune.study.bench.bench as module

    predict, calls = module.predict_logits, []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:  # the validation of the second epoch
            raise KeyboardInterrupt
        return predict(*args, **kwargs)

    monkeypatch.setattr(module, "predict_logits", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.execute(run, tmp_path / "killed")
    assert (tmp_path / "killed" / CHECKPOINT).exists()
    resumed = bench.execute(run, tmp_path / "killed")
    assert len(calls) == 2 + 2 + 1  # one epoch is not trained again
    a, b = (read(tmp_path / n / TUNING)[1] for n in ("whole", "killed"))
    assert hash_tensors(a) == hash_tensors(b)
    assert resumed["test_accuracy"] == whole["test_accuracy"]
    assert not (tmp_path / "killed" / CHECKPOINT).exists()


def test_trials_watch_validation_and_never_read_the_test_split(bench, recipe, tmp_path):
    test_rows = set(bench.data.split("test").tolist())
    from foldtune.study.bench import bench as benches
    from foldtune.study.bench import starts

    seen = []
    original = benches.predict_logits

    def spy(model, pixels, rows, *args, **kwargs):
        seen.extend(rows.tolist())
        return original(model, pixels, rows, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for module in (benches, starts):
            patch.setattr(module, "predict_logits", spy)
        row = bench.execute(run_of(bench, SSF(), recipe, stage="trial"), tmp_path)
    assert not set(seen) & test_rows
    assert "test_accuracy" not in row
    assert row["val_best_accuracy"] >= row["val_accuracy"] == row["curve"][-1]["val_accuracy"]
    assert not (tmp_path / TUNING).exists()


def test_a_run_below_its_own_start_says_so(bench, recipe, tmp_path):
    # Full on a BatchNorm net went from 90 to 70 %, and nothing told it.
    harsh = replace(recipe, lr=0.1, epochs=1, warmup_epochs=0.0, batch_size=8)
    worse = bench.execute(run_of(bench, Full(), harsh, stage="trial"))
    better = bench.execute(run_of(bench, Full(), recipe, stage="trial", head="zero"))
    for row, below in ((worse, True), (better, False)):
        start = row["curve"][0]
        assert start.keys() == {"epoch", "val_accuracy", "val_loss"}
        assert row["val_start_accuracy"] == start["val_accuracy"]
        assert row["below_start"] == (row["val_accuracy"] < start["val_accuracy"]) == below
        assert row["val_best_epoch"] >= 1  # the start is never the best epoch
    told_start = f"below its start ({worse['val_start_accuracy']:.1%})"
    assert told_start in summarise(worse)
    assert "below" not in summarise(better)


@pytest.mark.parametrize("method", [LinearProbe(), SSF()], ids=repr)
def test_the_start_is_what_the_attached_model_gives_before_any_training(bench, recipe, method):
    run = run_of(bench, method, recipe, stage="trial")
    row, rows = bench.execute(run), bench.data.split("val")
    attachment = bench.attach(method, run)
    images = prepare_for(bench.backbone)(torch.from_numpy(bench.data.pixels[rows]), None)
    with torch.no_grad():
        guessed = attachment.model.eval()(images).argmax(1).numpy()
    attachment.detach()
    right = (guessed == bench.data.labels[rows]).mean()
    assert row["val_start_accuracy"] == pytest.approx(right)
    assert bench.execute(run)["curve"][0] == row["curve"][0]


def test_a_row_holds_the_last_epoch_and_beside_it_the_best(bench, recipe):
    run = run_of(bench, SSF(), replace(recipe, epochs=4), "trial")
    shares, losses = (0.95, 0.5, 0.9, 0.9, 0.7), (0.1, 1.0, 0.2, 0.3, 0.6)
    curve = tuple(
        {"epoch": epoch, "loss": 1.0, "val_accuracy": share, "val_loss": loss}
        for epoch, (share, loss) in enumerate(zip(shares, losses, strict=True))
    )
    attachment = bench.attach(SSF(), run)
    row = bench.row(attachment, run, Outcome(curve, FINISHED, 1.0), seconds=1.0)
    attachment.detach()
    assert (row["val_accuracy"], row["val_loss"]) == (0.7, 0.6)
    assert (row["val_best_accuracy"], row["val_best_epoch"]) == (0.9, 2)  # the first of equal ones


def test_a_trial_keeps_the_logits_behind_its_validation_accuracy(bench, recipe, tmp_path):
    row = bench.execute(run_of(bench, SSF(), recipe, stage="trial"), tmp_path)
    kept = read_logits(tmp_path / VALIDATION)
    assert kept.rows.tolist() == bench.data.split("val").tolist()
    assert row["val_accuracy"] == (kept.logits.argmax(1) == kept.labels).mean()


def test_finals_train_on_train_and_validation_and_read_the_test_split_once(bench, recipe, tmp_path):
    row = bench.execute(run_of(bench, SSF(), recipe), tmp_path)
    assert row["curve"][0]["loss"] > 0
    assert "val_accuracy" not in row
    kept = load_file(tmp_path / LOGITS)
    assert kept["rows"].tolist() == bench.data.split("test").tolist()
    right = (kept["logits"].argmax(1) == kept["labels"]).float().mean()
    assert row["test_accuracy"] == pytest.approx(float(right))
    assert row["test_images"] == len(kept["rows"])


def test_linear_probe_on_cached_features_equals_the_full_forward_pass(bench, recipe, monkeypatch):
    import foldtune.study.bench.ground as module

    quick = bench.execute(run_of(bench, LinearProbe(), recipe, stage="fit", head="zero"))
    monkeypatch.setattr(module, "only_a_classifier", lambda *_: False)
    slow = bench.execute(run_of(bench, LinearProbe(), recipe, stage="fit", head="zero"))
    assert quick["curve"][-1]["loss"] == pytest.approx(slow["curve"][-1]["loss"], rel=1e-4)
    assert quick["test_accuracy"] == slow["test_accuracy"]


def test_a_probe_start_is_better_than_a_random_one(bench, recipe):
    short = replace(recipe, epochs=1, lr=1e-5, min_lr=1e-6, warmup_lr=1e-6)
    probe, default, zero = (
        bench.execute(run_of(bench, LinearProbe(), short, stage="fit", head=head))
        for head in ("probe", "default", "zero")
    )
    assert probe["test_accuracy"] > default["test_accuracy"] + 0.2
    assert probe["test_accuracy"] > zero["test_accuracy"] + 0.2


def test_the_usual_start_knows_the_classes_and_leaves_something_to_learn(bench, recipe):
    """A start that fits its training images has no gradient: methods then only grew its logits."""
    rows = bench.data.split("train")
    losses, right = {}, {}
    for head in ("probe", SSF.head_start, "zero"):
        run = run_of(bench, BitFit(), recipe, "trial", head)
        attachment = bench.attach(BitFit(), run)
        images = prepare_for(bench.backbone)(torch.from_numpy(bench.data.pixels[rows]), None)
        with torch.no_grad():
            logits = attachment.model.eval()(images)
        attachment.detach()
        labels = torch.from_numpy(bench.data.labels[rows])
        losses[head] = float(torch.nn.functional.cross_entropy(logits, labels))
        right[head] = float((logits.argmax(1) == labels).float().mean())
    assert 2 * losses["probe"] < losses["regularised"] < losses["zero"]
    assert losses["regularised"] > 0.1
    assert right["regularised"] > 0.8


def test_a_solved_probe_has_no_epochs_and_tells_its_penalty(bench, recipe):
    chosen, given = (
        bench.execute(run_of(bench, LinearProbe(C), recipe, stage="fit")) for C in (None, 1e-4)
    )
    assert [point["epoch"] for point in chosen["curve"]] == [0]
    assert chosen["recipe"]["epochs"] == 0
    assert chosen["val_accuracy"] == chosen["curve"][0]["val_accuracy"]
    assert chosen["probe"]["nll"] < np.log(10)
    assert given["probe"] == {"C": 1e-4, "nll": None}
    assert given["method"] == "LinearProbe(C=0.0001)"
    assert chosen["test_accuracy"] > given["test_accuracy"]
    # The recipe has no say, so it makes no other run of it.
    other = replace(recipe, lr=1e-5, epochs=1)
    keys = {run_of(bench, LinearProbe(), r, stage="fit").key for r in (recipe, other)}
    assert len(keys) == 1


def test_a_probe_that_starts_elsewhere_is_trained_and_takes_no_penalty(bench, recipe):
    row = bench.execute(run_of(bench, LinearProbe(), recipe, stage="trial", head="zero"))
    assert row["recipe"]["epochs"] == recipe.epochs
    assert row["curve"][-1]["loss"] < np.log(10)
    with pytest.raises(InputError, match="leave C out, or --head zero"):
        run_of(bench, LinearProbe(0.1), recipe, head="zero")


def test_a_diverging_run_leaves_a_verdict_and_a_plain_backbone(bench, recipe):
    before = hash_tensors(bench.backbone.model.state_dict())
    row = bench.execute(run_of(bench, Full(), replace(recipe, lr=1e8, optimizer="sgd"), "trial"))
    assert row["verdict"].startswith("diverged: ")
    assert "val_accuracy" not in row
    assert hash_tensors(bench.backbone.model.state_dict()) == before


def test_the_key_depends_on_what_decides_the_numbers_only(bench, recipe):
    run = run_of(bench, SSF(), recipe)
    assert replace(run, label="another name").key == run.key
    changed = [
        replace(run, seed=1),
        replace(run, method=SSF(std=0.0, downsample=False)),
        replace(run, recipe=replace(recipe, lr=1e-4)),
        replace(run, data="0" * 32),
        replace(run, splits="0"),
        replace(run, head="zero"),
        replace(run, backbone="0"),
        replace(run, train_on=("train",)),
    ]
    assert len({run.key, *(r.key for r in changed)}) == len(changed) + 1
    # Written plainly: the method's settings in full, since a study made before is found by it.
    told = {
        "stage": run.stage, "method": written_out(run.method), "recipe": recipe_values(run.recipe),
        "seed": run.seed, "backbone": run.backbone, "data": run.data, "splits": run.splits,
        "train_on": run.train_on, "head": run.head, "revision": REVISION,
    }  # fmt: skip
    text = json.dumps(told, sort_keys=True)
    assert run.key == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_features_of_the_plain_backbone_are_computed_once(bench, recipe, monkeypatch):
    seen = []
    real = starts.classifier_inputs

    def counted(model, head, pixels, rows, prepare):
        seen.append(len(rows))
        return real(model, head, pixels, rows, prepare)

    monkeypatch.setattr(starts, "classifier_inputs", counted)
    probes = [run_of(bench, LinearProbe(C), recipe, "trial") for C in (None, 1e-3)]
    for run in (*probes, run_of(bench, SSF(), recipe, "trial")):
        bench.execute(run)
    assert seen == [len(bench.data.split("train")), len(bench.data.split("val"))]


def test_a_tuning_that_cannot_be_written_leaves_no_logits_behind(bench, recipe, tmp_path):
    (tmp_path / TUNING).mkdir()  # a file cannot take its place
    (tmp_path / TUNING / "kept").touch()
    run = bench.describe("final", LinearProbe(), recipe, 0, head="zero")
    with pytest.raises(Unwritable):
        bench.execute(run, tmp_path)
    assert not (tmp_path / LOGITS).exists()


def test_what_a_method_showed_is_not_shown_again(bench, recipe, monkeypatch):
    run = run_of(bench, SSF(), recipe)
    bench.attach(run.method, run).detach()
    monkeypatch.setattr("foldtune.core.attach.dry_run", None)  # a call of it would raise
    again = bench.attach(run.method, run)
    assert again.trainable > 0
    again.detach()
