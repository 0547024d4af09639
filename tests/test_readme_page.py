"""README's Python runs as it stands, its commands are known, and what it saved goes on."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import foldtune
from foldtune.__main__ import main
from foldtune.cli import app
from foldtune.core.tuningfile import read

PAGE = (Path(__file__).parents[1] / "README.md").read_text()
STUDY, ESTIMATOR, BLOCK = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
SHELL = "\n".join(re.findall(r"^```\n(.*?)^```", PAGE, re.M | re.S))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder in which README's lines ran, and what they left in names."""
    folder, names = tmp_path_factory.mktemp("readme"), {}
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.chdir(folder)
        # One step of the loop that README leaves to its reader.
        step = (
            "model = backbone.model\n"
            "images = torch.rand(2, 3, 64, 64)\n"
            "loss = torch.nn.functional.cross_entropy(model(images), torch.tensor([1, 2]))\n"
            "loss.backward()\n"
            "optimizer.step()\n"
            "model.eval()\n"
            "logits = model(images).detach()\n"
        )
        exec(BLOCK.replace("...\n", step), names)
    return folder, names


def test_the_first_study_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = {}
    exec(STUDY, names)
    assert names["merged"].certificate.changed == 0
    assert (tmp_path / "study/best.safetensors").is_file()
    assert set(foldtune.charts(tmp_path / "study")) >= {"accuracy", "ranking"}


def test_the_estimator_runs():
    names = {}
    exec(ESTIMATOR, names)
    assert names["model"].method_ == "BitFit()"


def test_every_command_is_one_that_the_command_line_takes():
    table = re.findall(r"^\| (.*?) \|", PAGE, re.M)
    lines = [*SHELL.splitlines(), *re.findall(r"`(foldtune [^`]+)`", "\n".join(table))]
    commands = [line for line in lines if line.startswith("foldtune ")]
    assert len(commands) > 20
    for command in commands:
        # What stands for something: `...` is what stood before, and others are words.
        words = [w for w in shlex.split(command.replace(" ...", "")) if w != "VERB"][1:]
        if "..." in command and words[0] == "compare":
            words[1:1] = ["DATA", "--out", "DIR"]
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_tuning_of_ones_own_loop_finds_its_backbone(saved):
    folder, names = saved
    again = foldtune.load(folder / "tuning.safetensors")
    assert torch.equal(again.model.eval()(names["images"]), names["logits"])
    plain = foldtune.load_backbone("micro").identity()
    header, _ = read(folder / "tuning.safetensors")
    assert {n: header["backbone"][n] for n in ("name", "weights", "hash")} == {
        n: plain[n] for n in ("name", "weights", "hash")
    }


def test_a_tuning_that_was_loaded_is_saved_with_its_backbone(saved, tmp_path):
    again = foldtune.load(saved[0] / "tuning.safetensors")
    foldtune.save(again, tmp_path / "again.safetensors")
    assert read(tmp_path / "again.safetensors")[0] == read(saved[0] / "tuning.safetensors")[0]


def test_predict_and_merge_take_it(saved, tmp_path, monkeypatch, capsys):
    Image.new("RGB", (40, 30), (200, 50, 40)).save(tmp_path / "a.png")
    tuning = str(saved[0] / "tuning.safetensors")
    for words in (
        ("predict", tuning, str(tmp_path / "a.png")),
        ("merge", tuning, "--out", str(tmp_path / "merged.safetensors")),
    ):
        monkeypatch.setattr(sys, "argv", ["foldtune", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
    told = capsys.readouterr().out
    assert re.search(r"a\.png +\d ", told)
    assert "0 predictions changed" in told
    assert (tmp_path / "merged.safetensors").is_file()
