"""Which modules are the repeated units of a host, and what is put back."""

import pytest
import timm
import torch

from foldtune.training.speed.blocks import eager, many_graphs, repeated_blocks


@pytest.mark.parametrize(
    ("host", "blocks"),
    [
        ("vit_tiny_patch16_224", 12),
        ("swin_tiny_patch4_window7_224", 12),
        ("convnext_atto", 12),
        ("resnet18", 8),
        ("mixer_s32_224", 8),
    ],
)
def test_the_units_of_families_are_found(host, blocks):
    with torch.device("meta"):
        model = timm.create_model(host)
    found = repeated_blocks(model)
    assert len(found) == blocks
    assert len({type(m) for m in found}) == 1


def test_numbered_layers_are_no_units():
    layers = [torch.nn.Linear(4, 4) for _ in range(3)]
    assert repeated_blocks(torch.nn.Sequential(*layers)) == []


def test_the_limit_of_graphs_comes_back():
    config = torch._dynamo.config
    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    before = getattr(config, name)
    with many_graphs():
        assert getattr(config, name) >= 64
    assert getattr(config, name) == before


def test_eager_runs_what_is_compiled_as_it_is_written():
    made = []

    def kept(graph, _inputs):
        made.append(graph)
        return graph

    compiled = torch.compile(lambda x: x + 1, backend=kept)
    with eager(True):
        assert compiled(torch.zeros(2)).tolist() == [1, 1]
    assert made == []
    with eager(False):
        compiled(torch.zeros(2))
    assert len(made) == 1
