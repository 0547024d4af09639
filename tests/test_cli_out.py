"""The way out through the verbs, as a user runs them: export, predict, embed, push, fit on."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from test_cli import foldtune, refused, told


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for name, colour in {"red": (200, 40, 40), "blue": (40, 40, 200)}.items():
        (folder / name).mkdir()
        for i in range(12):
            shade = np.clip(np.array(colour) + draw.integers(-30, 30, 3), 0, 255)
            Image.new("RGB", (20, 16), tuple(map(int, shade))).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def tuning(photos, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    words = ("--size", 16, "--epochs", 2, "--method", "LoRA(rank=2)", "--out", out)
    return told("fit", photos, *words, cache=cache)["tuning"]


@pytest.fixture(scope="module")
def model(tuning, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "model"
    found = told("export", tuning, "--out", folder, cache=cache)
    assert found["loaded_by"] == "timm"
    assert [one["changed"] for one in found["certificates"]] == [0]
    return folder


@pytest.fixture
def new(photos, tmp_path):
    """Two images and a broken one."""
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("red", "blue"):
        (folder / f"{name}.png").write_bytes((photos / name / "3.png").read_bytes())
    (folder / "bad.png").write_text("no image")
    return folder


def test_a_broken_file_is_one_line_and_the_rest_goes_on(model, new, tmp_path):
    done = foldtune("predict", model, new, "--top", 2, "--csv", tmp_path / "p.csv")
    assert done.returncode == 1
    assert f"{new / 'bad.png'}: not an image" in done.stderr
    assert "1 of 3 files could not be read" in done.stderr
    with (tmp_path / "p.csv").open() as file:
        rows = {row["image"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert {name: row["class"] for name, row in rows.items()} == {
        "red.png": "red", "blue.png": "blue", "bad.png": "",
    }  # fmt: skip
    assert rows["bad.png"]["error"] == "not an image"
    assert {rows["red.png"]["class"], rows["red.png"]["class_2"]} == {"red", "blue"}


def test_a_list_on_standard_input_is_read(model, new, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{new / 'red.png'}\n{new / 'blue.png'}\n"))
    assert [row["class"] for row in told("predict", model)] == ["red", "blue"]


def test_images_are_sorted_by_their_class(model, new, tmp_path):
    foldtune("predict", model, new, "--sort-into", tmp_path / "sorted")
    found = {str(p.relative_to(tmp_path / "sorted")) for p in (tmp_path / "sorted").rglob("*.png")}
    assert found == {"red/red.png", "blue/blue.png"}
    assert (tmp_path / "sorted/red/red.png").read_bytes() == (new / "red.png").read_bytes()


def test_calibrated_confidences_need_what_an_exported_folder_keeps(model, tuning, new):
    (sure,) = told("predict", model, new / "red.png")
    (honest,) = told("predict", model, new / "red.png", "--calibrated")
    assert sure["class"] == honest["class"]
    assert sure["probability"] != honest["probability"]
    assert "keeps no temperature" in refused("predict", tuning, new, "--calibrated")


def test_merge_writes_a_folder_or_a_file_that_predict_takes(tuning, new, cache, tmp_path):
    folder = told("merge", tuning, "--out", tmp_path / "folder", cache=cache)
    assert folder["loaded_by"] == "timm"
    told("merge", tuning, "--out", tmp_path / "m.safetensors", cache=cache)
    for place in (tmp_path / "folder", tmp_path / "m.safetensors"):
        found = told("predict", place, new / "red.png", new / "blue.png")
        assert [row["class"] for row in found] == ["red", "blue"]
    words = ("--out", tmp_path / "half", "--alpha", 0.5)
    assert "--alpha" in refused("merge", tuning, *words, cache=cache)


def test_eval_and_fit_take_the_folder(model, photos, cache, tmp_path):
    assert told("eval", model, photos, cache=cache)["top1"] > 0.9
    words = ("--model", model, "--epochs", 1, "--method", "BitFit", "--out", tmp_path)
    found = told("fit", photos, *words, cache=cache)
    assert found["row"]["backbone"] == f"local-dir:{model}"


def test_fit_goes_on_from_a_tuning_at_another_size(tuning, photos, cache, tmp_path):
    words = ("--from", tuning, "--size", 24, "--epochs", 1, "--out", tmp_path)
    row = told("fit", photos, *words, cache=cache)["row"]
    assert row["method"] == "LoRA(rank=2)"
    assert row["val_start_accuracy"] > 0.9
    assert "leave these out" in refused("fit", photos, *words, "--method", "SSF", cache=cache)


def test_features_go_into_a_file_and_a_page(model, new, tmp_path):
    done = foldtune(
        "embed", model, new, "--out", tmp_path / "f.npz", "--page", tmp_path / "f.html",
        "--neighbours", 1, "--json",
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout)["broken"] == 1
    with np.load(tmp_path / "f.npz") as stored:
        assert stored["features"].shape == (2, 128)
    assert (tmp_path / "f.html").read_text().count("<tr>") == 2


def test_push_refuses_what_is_no_name_before_it_reads(tuning):
    assert "write OWNER/NAME" in refused("push", tuning, "model")


def test_a_study_is_exported_by_its_winner(photos, new, cache, tmp_path):
    study = tmp_path / "study"
    foldtune(
        "compare", photos, "--size", 16, "--epochs", 1, "--trials", 1, "--seeds", 1,
        "--methods", "BitFit", "--out", study, cache=cache,
    )  # fmt: skip
    assert told("export", study, "--out", tmp_path / "model", cache=cache)["loaded_by"] == "timm"
    # The winner was trained on validation, too: by the logits of the trial that chose it.
    (honest,) = told("predict", tmp_path / "model", new / "red.png", "--calibrated")
    (sure,) = told("predict", tmp_path / "model", new / "red.png")
    assert honest["probability"] != sure["probability"]
    card = (tmp_path / "model/README.md").read_text()
    assert "test accuracy" in card
    assert "95 % interval" in card
