"""Going on from a tuning keeps its values, its rows by name, and what it was trained on."""

import dataclasses

import numpy as np
import pytest
import torch

from foldtune.backbones import load_backbone
from foldtune.core.tuningfile import TuningFile, read
from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.study.bench.onward import Earlier, Onward
from foldtune.study.fit import fit
from foldtune.training.recipe import Recipe
from foldtune.tunings.export.folder import export_tuning
from foldtune.tunings.judging import Known, validation_rows

RECIPE = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)
STILL = dataclasses.replace(
    RECIPE, lr=1e-12, min_lr=1e-12, warmup_lr=1e-12, head_lr=None, weight_decay=0.0
)


def of_classes(data, names):
    """The data's images of some classes alone."""
    labels = np.array([data.classes.index(name) for name in names])
    splits = {k: rows[np.isin(data.labels[rows], labels)] for k, rows in data.splits.items()}
    place = np.full(len(data.classes), -1)
    place[labels] = np.arange(len(names))
    kept = np.sort(np.concatenate(list(splits.values())))
    at = {row: k for k, row in enumerate(kept)}
    return dataclasses.replace(
        data, pixels=data.pixels[kept], labels=place[data.labels[kept]], classes=tuple(names),
        names=tuple(data.names[r] for r in kept), keys=data.keys[kept], identity="some of them",
        splits={k: np.array([at[r] for r in rows]) for k, rows in splits.items()},
    )  # fmt: skip


@pytest.fixture(scope="module")
def few(digits):
    return of_classes(digits, ["7", "2", "5"])


@pytest.fixture(scope="module")
def earlier(few, tmp_path_factory):
    out = tmp_path_factory.mktemp("earlier")
    return fit(few, load_backbone("micro", size=16), "LoRA(rank=2)", recipe=RECIPE, out=out).tuning


def test_old_rows_are_kept_by_name_and_new_ones_start_at_the_probe(earlier, digits, tmp_path):
    found = fit(digits, load_backbone("micro", size=16), recipe=STILL, start_from=earlier,
                out=tmp_path)  # fmt: skip
    header, before = read(earlier)
    assert found.row["method"] == header["method"] or found.row["method"] == "LoRA(rank=2)"
    now = found.attachment.named_tensors()
    places = [found.data.classes.index(name) for name in header["classes"]]
    # A rate of 1e-12 moves nothing that float32 would show.
    assert torch.allclose(now["head.weight"][places], before["head.weight"], atol=1e-6)
    others = [k for k in range(10) if k not in places]
    assert now["head.weight"][others].abs().max() > 1e-3
    for name, tensor in before.items():
        if not name.startswith("head."):
            assert torch.allclose(now[name], tensor, atol=1e-6)


def test_what_it_was_trained_on_is_carried_along(earlier, digits, tmp_path):
    path = fit(digits, load_backbone("micro", size=16), recipe=STILL, start_from=earlier,
               out=tmp_path).tuning  # fmt: skip
    before = {tuple(k) for k in TuningFile(earlier).pictures["train"].tolist()}
    now = {tuple(k) for k in TuningFile(path).pictures["train"].tolist()}
    assert before <= now
    known = Known.of([path], [read(path)[0]])
    assert known.is_seen(digits, digits.split("train")).all()


def test_the_same_tuning_again_at_another_size(earlier, few, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache24")
    larger = of_classes(load_data("digits", size=24, cache=cache).few_shot(6), ["2", "5", "7"])
    found = fit(larger, load_backbone("micro", size=24), recipe=RECIPE, start_from=earlier)
    assert found.row["val_start_accuracy"] > 1 / 3  # what it learnt at 16 pixels is there


def test_a_class_that_would_be_forgotten_is_refused(earlier, digits, backbone):
    other = of_classes(digits, ["7", "2", "9"])
    with pytest.raises(InputError, match="has no class '5'"):
        Onward(Earlier.read(earlier), backbone, other)


def test_another_backbone_is_refused(earlier, few):
    other = load_backbone("micro", size=16, pretrained=False)
    with pytest.raises(InputError, match="made for other weights of micro"):
        fit(few, other, recipe=RECIPE, start_from=earlier)


def test_validation_that_it_was_trained_on_is_watched_no_more(few, tmp_path):
    backbone = load_backbone("micro", size=16)
    before = fit(few, backbone, "BitFit", recipe=RECIPE, out=tmp_path / "before",
                 train_on=("train", "val")).tuning  # fmt: skip
    said = []
    after = fit(few, backbone, recipe=RECIPE, start_from=before, out=tmp_path / "after",
                say=said.append)  # fmt: skip
    total = len(few.splits["val"])
    assert f"was trained on {total} of {total} validation images: they are left out" in said[0]
    assert after.row.get("val_accuracy") is None
    said.clear()
    fit(few, backbone, recipe=RECIPE, start_from=before, say=said.append, train_on=("train", "val"))
    assert not any("left out" in line for line in said)
    # Nor does anything afterwards choose by them, such as an alpha of wise.
    known = Known.of([after.tuning], [read(after.tuning)[0]])
    assert known.is_seen(few, few.split("val")).all()
    assert len(validation_rows(known, few)[0]) == 0


def test_an_exported_folder_is_gone_on_from(earlier, few, tmp_path):
    backbone = load_backbone("micro", size=16)
    folder = export_tuning(earlier, tmp_path / "out", backbone, few).folder
    found = fit(few, backbone, recipe=STILL, start_from=folder)
    before = read(earlier)[1]
    now = found.attachment.named_tensors()
    assert all(torch.allclose(now[name], tensor, atol=1e-6) for name, tensor in before.items())
