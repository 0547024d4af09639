"""A tuning file becomes an adapter and a tuning again, in Python and on the command line."""

import json
import sys

import pytest
import torch
from peft import PeftModel

from foldtune.__main__ import main
from foldtune.backbones import load, load_backbone
from foldtune.core.attach import attach
from foldtune.core.tuningfile import read, save
from foldtune.interop import to_peft
from foldtune.methods import LoRA

from .hosts import logits, train


@pytest.fixture(scope="module")
def tuning(tmp_path_factory):
    """A moved tuning of the embedded backbone in a file, images, and its logits."""
    backbone = load_backbone("micro", size=16)
    identity = backbone.identity()
    attachment = train(attach(backbone, LoRA(rank=2, separate="qv"), num_classes=3, seed=0))
    path = tmp_path_factory.mktemp("tuning") / "tuning.safetensors"
    save(attachment, path, {"backbone": identity, "classes": ["a", "b", "c"]})
    x = backbone.example()
    return path, x, logits(backbone.model, x)


def told(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["foldtune", *map(str, words), "--json"])
    with pytest.raises(SystemExit, match="0"):
        main()
    return json.loads(capsys.readouterr().out)


def test_verbs_write_an_adapter_and_read_it(tuning, tmp_path, capsys, monkeypatch):
    path, x, expected = tuning
    out = told(capsys, monkeypatch, "export-peft", path, "--out", tmp_path / "adapter")
    assert (out["peft_type"], out["base"], out["layers"], out["classes"]) == ("LORA", "micro", 8, 3)
    back = tmp_path / "back.safetensors"
    out = told(
        capsys, monkeypatch, "import-peft", tmp_path / "adapter", "--out", back, "--size", 16
    )
    assert out["method"] == "LoRA(rank=2, separate='qv')"
    torch.testing.assert_close(logits(load(back).model, x), expected, atol=1e-5, rtol=0)
    before, after = (read(p)[0] for p in (path, back))
    assert all(before[k] == after[k] for k in ("classes", "base_hash", "method", "backbone"))


def test_a_file_becomes_an_adapter_whose_card_says_how_to_load_it(tuning, tmp_path):
    path, x, expected = tuning
    folder = to_peft(path, tmp_path / "adapter")
    code = (folder / "README.md").read_text().split("```")[1].removeprefix("python\n")
    names = {}
    exec(code.replace("PATH_OF_THIS_FOLDER", str(folder)), names)
    model = names["model"]
    assert isinstance(model, PeftModel)
    torch.testing.assert_close(logits(model, x), expected, atol=1e-5, rtol=0)
