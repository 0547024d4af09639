"""README's Python runs as it stands, and what it saved goes on by itself."""

import re
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import foldtune
from foldtune.__main__ import main
from foldtune.core.tuningfile import read

PAGE = (Path(__file__).parents[1] / "README.md").read_text()
(BLOCK,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


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
