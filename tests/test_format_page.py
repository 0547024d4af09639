"""docs/format.md reads a tuning as it stands, with safetensors and json alone."""

import re
from pathlib import Path

import torch
from safetensors.torch import load_file

import foldtune
from foldtune.core.header import FORMAT, OWN_FIELDS
from foldtune.core.tuningfile import read
from foldtune.methods import SSF

PAGE = (Path(__file__).parents[1] / "docs/format.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_the_page_reads_and_folds_a_tuning_without_foldtune(tmp_path, monkeypatch):
    assert "import foldtune" not in "".join(BLOCKS)
    backbone = foldtune.load_backbone("micro", size=16)
    plain = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    attachment = foldtune.attach(backbone, SSF(), num_classes=3)
    with torch.no_grad():
        for tensor in attachment.parameters():
            tensor.add_(0.1)
    path = foldtune.save(attachment, tmp_path / "tuning.safetensors", {"classes": ["a", "b", "c"]})
    merged = attachment.merge().state_dict()
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in BLOCKS:
        exec(block, names)
    assert names["header"]["classes"] == ["a", "b", "c"]
    assert set(load_file(path)) == set(names["tensors"])
    for at in ("blocks.0.mlp.fc1", "patch_embed.proj"):
        weight, bias = names["folded"](plain[f"{at}.weight"], plain[f"{at}.bias"], at)
        # Merging folds in float64 and rounds once.
        assert torch.allclose(weight, merged[f"{at}.weight"], atol=1e-6)
        assert torch.allclose(bias, merged[f"{at}.bias"], atol=1e-6)


def test_every_field_of_a_header_is_on_the_page(tmp_path):
    backbone = foldtune.load_backbone("micro", size=16)
    attachment = foldtune.attach(backbone, SSF(), num_classes=3)
    header, _ = read(foldtune.save(attachment, tmp_path / "tuning.safetensors"))
    for name in (*header, *OWN_FIELDS):
        assert f"`{name}`" in PAGE
    assert f"this page's version, {FORMAT}" in PAGE
