"""Libraries that the tests do not install: the Lightning block of docs/own-loop.md, and torchao."""

import re
from pathlib import Path

import pytest
import torch

import foldtune
from foldtune.methods import LoRA

PAGE = Path(__file__).parents[2] / "docs/own-loop.md"


def test_lightning_block_runs(tmp_path, monkeypatch):
    pytest.importorskip("lightning", reason="lightning is not installed")
    block = re.search(r"^## Lightning\n.*?^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    exec(block[1], {"__name__": "block"})
    assert (tmp_path / "tuning.safetensors").exists()


def test_weights_that_torchao_quantised_carry_lora(tmp_path):
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    backbone = foldtune.load_backbone("micro")
    x = backbone.example(2)
    quantization.quantize_(backbone.model.blocks, quantization.Int8WeightOnlyConfig())
    before = backbone.model(x)
    attachment = foldtune.attach(backbone, LoRA(rank=4), seed=0)
    backbone.model(x).square().sum().backward()
    assert all(p.grad is not None for p in attachment.parameters())
    foldtune.save(attachment, tmp_path / "tuning.safetensors")
    assert torch.equal(attachment.detach()(x), before)
