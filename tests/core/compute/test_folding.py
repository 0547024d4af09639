import copy

import torch
from torch import nn

from foldtune.core.compute.computed import compute
from foldtune.core.compute.folding import effective, folded_in_double
from foldtune.methods.low_rank import LowRank


def test_folding_for_a_merge_rounds_once():
    layer = nn.Linear(64, 64).bfloat16()
    delta = LowRank((64, 64), rank=8, scale=0.3, dropout=0.0).bfloat16()
    nn.init.normal_(delta.lora_B)
    compute(layer, [delta])
    exact, _ = copy.deepcopy(delta).double().fold(layer._parameters["weight"].double(), None)
    merged, _ = folded_in_double(layer)
    assert merged.dtype == torch.bfloat16
    assert torch.equal(merged, exact.to(torch.bfloat16))
    assert not torch.equal(effective(layer)[0], merged)  # in bfloat16 it would round three times
