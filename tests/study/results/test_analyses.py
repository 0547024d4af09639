"""A finished study is analysed from its rows and logits; its ensembles are saved and predict."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from foldtune.backbones import load_backbone
from foldtune.errors import InputError
from foldtune.study.advise import advise, study_cases
from foldtune.study.compare import compare
from foldtune.study.ensembles import save_ensemble
from foldtune.study.look import look
from foldtune.study.results.analyses import analyse
from foldtune.study.results.artefacts import LOGITS, VALIDATION
from foldtune.study.results.pictures import trained_among
from foldtune.study.results.predictions import _order, read_predictions
from foldtune.study.results.tasks import read_scores
from foldtune.training.recipe import Recipe
from foldtune.tunings.ensemble import (
    ENSEMBLE,
    ensemble_probabilities,
    evaluate_ensemble,
    known_of,
    open_ensemble,
    predict_with_ensemble,
)
from foldtune.tunings.judging import choose

METHODS = ("LinearProbe", "BitFit", "SSF")


@pytest.fixture(scope="module")
def study(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    recipe = Recipe(epochs=1, warmup_epochs=0.1, batch_size=32, lr=3e-3)
    compare(
        digits, load_backbone("micro", size=16), METHODS, out=folder, trials=1, seeds=2,
        recipe=recipe,
    )  # fmt: skip
    return folder


@pytest.fixture
def copy(study, tmp_path):
    return shutil.copytree(study, tmp_path / "study")


def test_a_study_keeps_which_pictures_it_trained_on(study, digits):
    assert not trained_among(study, digits.split("test")).any()
    assert trained_among(study, digits.split("train", "val")).all()


def test_methods_stand_in_the_order_of_their_last_epochs_then_of_their_size():
    def entry(label, last, best, trainable):
        return {
            "label": label, "val_accuracy": last, "val_best_accuracy": best, "trainable": trainable
        }  # fmt: skip

    board = [
        entry("A", 0.7, 0.9, 1),
        entry("B", 0.8, 0.8, 9),
        entry("D", 0.8, 0.85, 5),
        entry("C", 0.8, 0.8, 5),
        entry("E", None, None, 1),
        entry("F", 0.9, 0.9, 1),
    ]
    tested = {label: [] for label in "EDCBA"}
    assert _order(board, tested) == ("C", "D", "B", "A", "E")


def test_every_section_is_there_and_json(study):
    told = analyse(study, draws=50, most=0.5)
    assert json.dumps(told)
    assert told["methods"] == dict.fromkeys(METHODS, 2)
    assert len(told["decision"]["pairs"]) == 3
    assert told["decision"]["covers"] == "images and seeds"
    assert len(told["agreement"]) == 3 + 3
    assert set(told["confident"]) == {"right", "wrong"}
    assert told["confident"]["right"]["venn"]["methods"] == told["order_on_validation"]
    kinds = {row["ensemble"] for row in told["ensembles"]}
    assert {"all methods", "greedy", "SSF, 2 seeds"} <= kinds
    for rows in (told["reliability"][name] for name in METHODS):
        assert sum(row["images"] for row in rows) == told["images"]
        assert len(rows) == told["classes"]
    assert told["calibration"][0]["risk"][-1] == pytest.approx(1 - told["calibration"][0]["top1"])


def test_accuracies_are_those_of_the_leaderboard(study):
    found = read_predictions(study)
    board = {e["label"]: e["test_accuracy"] for e in found.board}
    for name, right in found.panel.right.items():
        assert right.mean() == pytest.approx(board[name])


def test_greedy_is_left_out_where_no_validation_logits_were_kept(copy):
    for path in copy.glob(f"runs/*/{VALIDATION}"):
        path.unlink()
    told = analyse(copy, draws=20)
    assert "No greedy ensemble" in " ".join(told["notes"])
    assert "greedy" not in {row["ensemble"] for row in told["ensembles"]}
    with pytest.raises(InputError, match="take --select all"):
        save_ensemble(copy, copy / "e", select="greedy")


def test_missing_logits_are_named(copy):
    next(iter(copy.glob(f"runs/*/{LOGITS}"))).unlink()
    with pytest.raises(InputError, match="is missing"):
        analyse(copy)


def test_an_unknown_method_of_the_venn_counts_lists_the_studys(study):
    with pytest.raises(InputError, match="choose from: SSF"):
        analyse(study, three=("ssf", "BitFit", "LinearProbe"))


def test_a_folder_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match="foldtune compare"):
        analyse(tmp_path)


@pytest.mark.parametrize(
    ("select", "rule", "passes"),
    [
        ("all", "logits", 3),
        ("best", "probabilities", 2),
        ("seeds", "vote", 2),
        ("greedy", "vote", 0),
    ],
)
def test_a_saved_ensemble_gives_the_studys_accuracy_again(
    study, digits, tmp_path, select, rule, passes
):
    told = save_ensemble(study, tmp_path, select=select, rule=rule, k=2)
    assert told["passes"] == (passes or len(told["members"]))
    ensemble = open_ensemble(tmp_path)
    chosen = choose(known_of(ensemble), digits)
    assert chosen.rows.tolist() == digits.split("test").tolist()
    found = evaluate_ensemble(ensemble, load_backbone("micro", size=16), digits, chosen)
    assert found["top1"] == pytest.approx(told["test_accuracy"])
    assert 0 <= found["ece"] <= 1


def test_a_saved_ensemble_predicts_files_and_leaves_the_backbone_plain(
    study, digits, tmp_path, backbone, monkeypatch
):
    save_ensemble(study, tmp_path / "e")
    paths = []
    for row in digits.split("test")[:3]:
        paths.append(tmp_path / f"{row}.png")
        Image.fromarray(digits.pixels[row]).save(paths[-1])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    monkeypatch.setattr("foldtune.tunings.ensemble._TOGETHER", 2)
    monkeypatch.setattr("foldtune.data.store.ahead._CHUNK_BYTES", 1)
    files = [paths[0], tmp_path / "broken.png", *paths[1:]]
    told = list(predict_with_ensemble(tmp_path / "e" / ENSEMBLE, files))
    assert [line["image"] for line in told] == list(map(str, files))
    assert "error" in told.pop(1)
    before = set(backbone.model.state_dict())
    shares = ensemble_probabilities(
        open_ensemble(tmp_path / "e"), backbone, digits.pixels, digits.split("test")[:3]
    )
    assert [line["class"] for line in told] == [digits.classes[i] for i in shares.argmax(1)]
    assert shares.sum(1).tolist() == pytest.approx([1, 1, 1])
    assert set(backbone.model.state_dict()) == before


def test_an_ensemble_with_a_changed_tuning_is_refused(study, tmp_path):
    told = save_ensemble(study, tmp_path)
    file = tmp_path / told["members"][1]["file"]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=file.name):
        open_ensemble(tmp_path)


def test_an_ensemble_never_reads_outside_its_folder(study, tmp_path):
    told = save_ensemble(study, tmp_path / "e")
    name = told["members"][0]["file"]
    shutil.move(tmp_path / "e" / name, tmp_path / name)
    told["members"][0]["file"] = f"../{name}"
    (tmp_path / "e" / ENSEMBLE).write_text(json.dumps({**told, "format": 1}))
    with pytest.raises(InputError, match="is missing or not the tuning"):
        open_ensemble(tmp_path / "e")


def test_studies_are_ranked_over_their_common_methods(study, copy):
    scores, left_out = read_scores([study, copy], ("near", "far"))
    assert scores.values.shape == (3, 2)
    assert (scores.values[:, 0] == scores.values[:, 1]).all()
    assert not left_out
    with pytest.raises(InputError, match="named twice"):
        read_scores([study, study])
    with pytest.raises(InputError, match="two or more studies"):
        read_scores([study])


def test_a_look_judges_held_out_images_and_never_the_test_split(digits, backbone):
    seen = look(digits, backbone)
    assert seen["images"] == len(digits.split("train", "val"))
    assert seen["classes"] == 10
    assert 0.2 < seen["quality"] < 1
    assert 0.2 < seen["neighbours"] <= 1
    assert 0 < seen["between"] < 1
    assert 1 < seen["dimension"] < 128
    mixed = np.random.default_rng(0).permutation(digits.labels)
    import dataclasses

    noise = look(dataclasses.replace(digits, labels=mixed), backbone)
    assert abs(noise["quality"]) < 0.2


def test_advice_names_methods_with_settings_evidence_and_cautions(digits, backbone, study):
    told = advise(digits, backbone, studies=[study], suggestions=2)
    assert json.dumps(told)
    assert len(told["suggestions"]) == 2
    first = told["suggestions"][0]
    assert first["method"].startswith(first["name"])
    assert 0 < first["lr"] < 0.1
    assert told["evidence"]["published_tasks"] == 19
    assert told["evidence"]["own_studies"] == [str(study)]
    assert any("not of micro" in line for line in told["cautions"])


def test_ones_own_studies_become_cases(study, tmp_path):
    (case,), unused = study_cases([study])
    assert set(case.shortfall) == set(METHODS)
    assert min(case.shortfall.values()) == 0
    assert case.settings["SSF"]["lr"] > 0
    assert not unused
