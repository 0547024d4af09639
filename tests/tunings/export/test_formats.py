"""Graphs that cannot be written say why; tests/outside runs each in its own runtime."""

import pytest
import torch
from torch import nn
from torch._inductor import config

from foldtune.errors import InputError
from foldtune.tunings.export.formats import write_compiled


def graph():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.GELU(), nn.Linear(4, 2)).eval()


def test_without_a_compiler_the_reason_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(config.cpp, "cxx", ("a-compiler-that-is-not-here",))
    with pytest.raises(InputError, match="cannot be written as compiled code") as error:
        write_compiled(graph(), torch.rand(2, 3, 2, 2), tmp_path / "model.aoti.pt2")
    assert "\n" not in str(error.value)
