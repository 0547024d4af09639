"""Every block of docs/own-loop.md runs as it stands."""

import re
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from lacking import NEEDS_NEW_ACCELERATE, NEEDS_SHARDING

PAGE = (Path(__file__).parents[1] / "docs/own-loop.md").read_text()
BLOCKS = dict(re.findall(r"^## (.+?)\n.*?^```python\n(.*?)^```", PAGE, re.M | re.S))
OUTSIDE = ("Lightning",)  # tests/outside runs it where that library is


def test_page_has_a_block_for_each_library():
    assert list(BLOCKS) == [
        "Plain torch", "Accelerate", "Lightning", "Trainer of transformers", "FSDP2",
    ]  # fmt: skip


LACKING = {"FSDP2": [NEEDS_SHARDING], "Trainer of transformers": [NEEDS_NEW_ACCELERATE]}


@pytest.mark.parametrize(
    "title",
    [pytest.param(t, marks=LACKING.get(t, [])) for t in BLOCKS if t not in OUTSIDE],
)
def test_block_runs(title, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state(reset_partial_state=True)
    with torch.random.fork_rng():
        exec(BLOCKS[title], {"__name__": "block"})
    AcceleratorState._reset_state(reset_partial_state=True)
    assert list(tmp_path.rglob("*.safetensors"))
