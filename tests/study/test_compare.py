"""The main job: fair, resumable, honest."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from foldtune.backbones import load_backbone
from foldtune.backbones.micro import build
from foldtune.errors import InputError
from foldtune.study.compare import compare
from foldtune.study.fit import fit
from foldtune.study.store import Store


@pytest.fixture
def study(digits, backbone, recipe, tmp_path):
    def run(*methods, **more):
        lines = []
        options = {"trials": 2, "seeds": 2, "recipe": replace(recipe, epochs=1, warmup_epochs=0.1)}
        found = compare(
            digits, backbone, methods, out=tmp_path, say=lines.append, **(options | more)
        )
        return found, lines

    return run


def test_every_method_gets_equal_trials_and_the_same_seeds(study):
    found, _ = study("LinearProbe", "SSF")
    for label in ("LinearProbe", "SSF"):
        rows = [r for r in found.rows if r["label"] == label]
        assert sum(r["stage"] == "trial" for r in rows) == 2
        assert [r["seed"] for r in rows if r["stage"] == "final"] == [0, 1]


def test_a_second_call_computes_only_what_is_new(study):
    study("LinearProbe")
    found, lines = study("LinearProbe", "BitFit", seeds=3)
    assert sum(line.endswith("(kept)") for line in lines) == 4
    assert len(found.rows) == 2 * (2 + 3)


def test_the_winner_is_chosen_on_validation_and_merged(study):
    found, _ = study("LinearProbe", "SSF")
    best = max(
        (r for r in found.rows if r["stage"] == "trial"),
        key=lambda r: (r["val_accuracy"], -r["trainable"]),
    )
    assert found.winner["label"] == best["label"]
    assert found.certificate.largest < 1e-4
    assert found.certificate.images > 100
    plain = build(num_classes=10)
    plain.load_state_dict(load_file(found.merged))


def test_a_winner_with_a_side_network_leaves_the_best_that_merges(study):
    found, _ = study("AdaptFormer(rank=2)", "LinearProbe")
    assert found.merged_label == "LinearProbe"
    assert not next(e for e in found.leaderboard if e["label"].startswith("Adapt"))["mergeable"]


def test_other_data_in_the_same_folder_is_refused(study, digits):
    found, _ = study("LinearProbe")
    other = replace(digits, identity="0" * 32, name="letters")
    with pytest.raises(InputError, match="is a study of data"):
        compare(other, load_backbone("micro", size=16), ["SSF"], out=found.folder)
    assert len(Store(found.folder).rows()) == len(found.rows)


def test_unknown_methods_are_refused_before_anything_is_trained(study, tmp_path):
    with pytest.raises(InputError, match="unknown method"):
        study("LinearProbe", "Lorra")
    assert not (tmp_path / "rows.jsonl").exists()


def test_a_method_named_twice_is_refused(study):
    with pytest.raises(InputError, match="named twice"):
        study("SSF", "SSF")


def test_fit_returns_a_live_attachment(digits, backbone, recipe, tmp_path):
    fitted = fit(digits, backbone, "LoRA(rank=2)", recipe=recipe, out=tmp_path)
    assert fitted.tuning.exists()
    assert 0 <= fitted.row["test_accuracy"] <= 1
    x = backbone.example()
    tuned = backbone.model(x)
    assert tuned.shape == (2, 10)
    assert torch.allclose(fitted.attachment.merge()(x), tuned, atol=1e-5)


def test_fit_that_diverges_says_what_to_try(digits, backbone, recipe):
    with pytest.raises(InputError, match="try a lower lr"):
        fit(digits, backbone, "Full", recipe=replace(recipe, lr=1e8, optimizer="sgd"))
