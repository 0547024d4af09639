"""Sweeps, soups and shifts of real, small tunings."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from foldtune.analysis.frontier import Point
from foldtune.backbones import load, load_backbone
from foldtune.backbones.micro import build
from foldtune.backbones.prepare import prepare_for
from foldtune.backbones.weights import load_into, read_state
from foldtune.core.tuningfile import read
from foldtune.errors import InputError
from foldtune.judging.shift import target_of, top1
from foldtune.study.fit import fit
from foldtune.training.recipe import Recipe
from foldtune.tunings.judging import Known, validation_rows
from foldtune.tunings.shifts import corruption_means, judge_shifts, load_targets, read_mapping
from foldtune.tunings.tuning import merge_tuning
from foldtune.tunings.weightspace.soup import soup
from foldtune.tunings.weightspace.wise import point_of, sweep


def fitted(digits, method, folder, seed=0, lr=3e-3):
    recipe = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=lr)
    backbone = load_backbone("micro", size=16)
    # From a classifier that knows the classes: alpha 0 is then a model worth ensembling.
    options = {"out": folder, "seed": seed, "head": "probe"}
    return fit(digits, backbone, method, recipe=recipe, **options).tuning


@pytest.fixture(scope="module")
def tunings(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tunings")
    made = {}

    def make(method, seed=0):
        if (method, seed) not in made:
            made[method, seed] = fitted(digits, method, folder / f"{len(made)}", seed)
        return made[method, seed]

    return make


def home_of(data, split="test"):
    return target_of("home", data, data.split(split)[::6], data.classes)


def swept(path, digits, **settings):
    backbone = load_backbone("micro", size=16)
    attachment, home = load(path, backbone), home_of(digits)
    shifts = [home.corrupt("contrast", 3)]
    return attachment, sweep(attachment, home, shifts, prepare_for(backbone), **settings)


@pytest.mark.parametrize("method", ["LoRA(rank=2)", "AdaptFormer(rank=2)"])
def test_a_sweep_goes_from_the_probe_to_the_tuned_model(method, tunings, digits):
    attachment, found = swept(tunings(method), digits, alphas=(1.0, 0.0), validation=None)
    assert [row["alpha"] for row in found.rows] == [0.0, 1.0]
    home, backbone = home_of(digits), load_backbone("micro", size=16)
    # The tuning of no steps: the plain backbone under the classifier that training started from.
    head = torch.nn.Linear(128, 10)
    start = {n.removeprefix("head."): t for n, t in attachment.head_start.items()}
    head.load_state_dict(start)
    backbone.model.head = head
    prepare = prepare_for(backbone)
    assert found.rows[0]["home"] == top1(backbone.model, home, prepare)
    assert found.rows[1]["home"] == top1(attachment.model, home, prepare)
    assert found.chosen is None
    assert any(row["frontier"] for row in found.rows)
    assert found.rows[0]["mean_shift"] == found.rows[0]["contrast:3"]


def test_validation_chooses_and_of_equal_alphas_the_smallest(tunings, digits):
    validation = home_of(digits, "val")
    _, found = swept(
        tunings("LoRA(rank=2)"), digits, alphas=(0.0, 1e-9, 0.5), validation=validation
    )
    best = max(row["validation"] for row in found.rows)
    first = next(row["alpha"] for row in found.rows if row["validation"] == best)
    assert found.chosen == first
    assert found.rows[0]["validation"] == found.rows[1]["validation"]


def test_prompts_and_unknown_parts_are_refused_before_anything_is_judged(tunings, digits):
    path = tunings("VPTShallow(count=2)")
    with pytest.raises(InputError, match="no weight-space ensemble: it adds tokens"):
        swept(path, digits, alphas=(0.0, 1.0))
    assert swept(path, digits, alphas=(0.5,), part="head")[1].ways == ("weights",)
    with pytest.raises(InputError, match="unknown part"):
        swept(path, digits, part="tail")
    with pytest.raises(InputError, match="no alpha"):
        swept(path, digits, alphas=())
    assert point_of("body", 0.3) == (0.3, 1.0)


def test_a_merged_ensemble_is_the_model_of_its_alpha(tunings, digits, tmp_path):
    path = tunings("LoRA(rank=2)")
    out, backbone = tmp_path / "m.safetensors", load_backbone("micro", size=16)
    certificate = merge_tuning(path, out, backbone, digits, point_of("all", 0.4))
    assert certificate.largest < 1e-4
    merged, alone, x = build(10).eval(), load(path, backbone), backbone.example()
    load_into(merged, read_state(out), out)
    with alone.interpolated(0.4):
        assert torch.allclose(merged(x), alone.model(x), atol=1e-4)


# -- soups -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "averaged", "becomes"),
    [
        ("SSF", "tensors", "SSF()"),
        ("AdaptFormer(rank=2)", "tensors", "AdaptFormer(rank=2)"),
        ("LoRA(rank=2)", "merged weights", "Full()"),
    ],
)
def test_a_uniform_soup_averages_what_the_tunings_compute(
    method, averaged, becomes, tunings, digits, backbone, tmp_path
):
    paths = [tunings(method, 0), tunings(method, 1)]
    before = copy.deepcopy(backbone.model.state_dict())
    made = soup(paths, backbone, digits, out=tmp_path / "s.safetensors", kind="uniform")
    assert (made.averaged, made.method) == (averaged, becomes)
    assert all(torch.equal(before[n], t) for n, t in backbone.model.state_dict().items())
    again = load(made.path, load_backbone("micro", size=16))
    assert repr(again.method) == becomes
    if method.startswith("AdaptFormer"):
        return  # nothing to merge it with
    states = [load(p, load_backbone("micro", size=16)).merge().state_dict() for p in paths]
    for name, tensor in again.merge().state_dict().items():
        wanted = (states[0][name] + states[1][name]) / 2
        assert torch.allclose(tensor, wanted, atol=1e-6), name


def test_a_greedy_soup_is_no_worse_on_validation_than_its_best_member(
    tunings, digits, backbone, tmp_path
):
    paths = [tunings("SSF", seed) for seed in (0, 1)]
    made = soup(paths, backbone, digits, out=tmp_path / "s.safetensors")
    assert made.validation >= max(m["validation"] for m in made.members)
    assert any(m["used"] for m in made.members)
    header, _ = read(made.path)
    assert header["training"]["soup"] == "greedy"
    assert validation_rows(Known.of([made.path], [header]), digits)[1] is None


def test_images_that_were_trained_on_choose_nothing(tunings, digits, backbone, tmp_path):
    path, out = tunings("SSF"), tmp_path / "s.safetensors"
    # Data whose validation images are those that training saw.
    facts = {**digits.facts, "content": None, "split_rule": "as given"}
    splits = {**digits.splits, "val": digits.splits["train"]}
    other = replace(digits, facts=facts, splits=splits, identity="other")
    with pytest.raises(InputError, match=r"trained on all validation images; .* --kind uniform"):
        soup([path, path], backbone, other, out=out)
    made = soup([path, path], backbone, other, out=out, kind="uniform")
    assert made.validation is None
    assert [member["validation"] for member in made.members] == [None, None]


def test_unlike_tunings_make_no_soup(tunings, digits, backbone, tmp_path):
    out = tmp_path / "s.safetensors"
    with pytest.raises(InputError, match="has another method than"):
        soup([tunings("SSF"), tunings("LoRA(rank=2)")], backbone, digits, out=out)
    with pytest.raises(InputError, match="at least two"):
        soup([tunings("SSF")], backbone, digits, out=out)
    assert not out.exists()


# -- shifts ----------------------------------------------------------------------------------------


def test_shifts_are_compared_with_home_over_the_same_classes(tunings, digits, backbone):
    attachment, home = load(tunings("SSF"), backbone), home_of(digits)
    part = home.among((2, 3))
    rows = judge_shifts(
        attachment.model, home, [part, home.corrupt("jpeg", 5)], prepare_for(backbone),
        {"home": [Point(0.5, 0.4), Point(0.8, 0.6)]},
    )  # fmt: skip
    assert rows[0]["drop"] == 0
    assert rows[0]["classes"] == 2
    assert rows[0]["effective"] == pytest.approx(rows[0]["top1"] - rows[0]["predicted"])
    assert rows[1]["classes"] is None
    assert corruption_means(rows[1:])["mean"] == rows[1]["top1"]
    with pytest.raises(InputError, match="a column sketch"):
        judge_shifts(attachment.model, home, [part], prepare_for(backbone), {"sketch": [
            Point(0.5, 0.4), Point(0.8, 0.6)]})  # fmt: skip


def test_a_source_without_splits_is_judged_whole(tunings, digits):
    path = tunings("SSF")
    known = Known.of([path], [read(path)[0]])
    given = load_targets(["other=x"], lambda _: digits, digits.classes, {}, known)[0]
    assert given.name == "other"
    trained = len(digits.split("train"))
    assert given.trained_on == trained  # and left out
    assert len(given.rows) == len(digits.split(*digits.splits)) - trained
    with pytest.raises(InputError, match="two shifts are called other"):
        load_targets(["other=x", "other=y"], lambda _: digits, digits.classes, {}, known)


def test_mappings_are_read_from_csv_and_json(tmp_path):
    table, tree = tmp_path / "m.csv", tmp_path / "m.json"
    table.write_text("husky,dog\nfish,\n")
    tree.write_text(json.dumps({"husky": "dog", "fish": None}))
    assert read_mapping(table) == read_mapping(tree) == {"husky": "dog", "fish": ""}
    table.write_text("a,b,c\n")
    with pytest.raises(InputError, match="line 1 has 3 cells"):
        read_mapping(table)
    with pytest.raises(InputError, match="no mapping of classes"):
        read_mapping(tmp_path / "absent.csv")
    tree.write_text("[1]")
    with pytest.raises(InputError, match="no JSON object"):
        read_mapping(tree)
