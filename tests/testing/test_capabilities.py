"""What every method can do on every family is what the packaged table says.

All cells of our own methods are probed in float64, on a sample of families; float32, tracing and
the methods with layers of HF PEFT on fewer, since `benchmarks/capabilities.py` does these for all
(float32) and for whole families (tracing).
"""

import json
import os
import pickle

import pytest
import torch

from foldtune.core.structure.finding import find_sites
from foldtune.errors import InputError
from foldtune.methods import IA3, parse
from foldtune.methods.cards import capabilities, cards
from foldtune.methods.refusal import able
from foldtune.testing.capabilities import (
    LIMITS,
    as_json,
    from_json,
    own_methods,
    probe_family,
    probe_pair,
    probed_methods,
)
from foldtune.testing.hosts import FAMILIES, TINY_HOSTS, build_host
from lacking import NEEDS_NEW_COMPILER

TABLE = capabilities()
# Tracing takes seconds a pair: what the contract does not trace, a library's own output class and a
# layer that is only read.
TRACED = (
    ("RepAdapter()", "beit"),
    pytest.param("AdapterPlus()", "hf swin", marks=NEEDS_NEW_COMPILER),
    ("LoRA()", "mobilenetv4"),
)
HELD_ON = ("vit",)
# One of each kind of network and of each library's layers; all of them: make sweep.
SAMPLE = (
    "vit", "eva02", "beit", "open_clip resnet", "hf swin", "convnext", "mixer", "resnet",
    "efficientnet", "nfnet",
)  # fmt: skip
CONVOLUTIONAL = ("resnet", "convnext", "efficientnet", "regnet", "mobilenetv4", "nfnet")
# What stands on each of these; on NFNet, whose kernels are normalised, DoRA's and SSF's factors
# would train without effect, and there is no norm.
ON_ALL = (
    "LinearProbe()", "Full()", "BitFit()", "LastBlocks()", "LoRA()", "RepAdapter()",
    "ConvAdapter()", "AdapterPlus()", "Stem()",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:dropout of")
@pytest.mark.parametrize("family", FAMILIES if "FOLDTUNE_ALL_FAMILIES" in os.environ else SAMPLE)
def test_every_cell_is_as_the_table_says(family):
    # Layers of HF PEFT stand where LoRA does, on any host: some hosts show that they do.
    methods = probed_methods() if family in HELD_ON else own_methods()
    cells, _ = probe_family(family, methods)
    table = {name: TABLE["methods"][name]["families"][family] for name in methods}
    assert {name: as_json(cell) for name, cell in cells.items()} == table


@pytest.mark.filterwarnings("ignore:dropout of")
@pytest.mark.parametrize("family", ["vit without qkv bias"])
def test_merging_in_single_precision_is_exact_to_its_limit(family):
    merging = [n for n, f in TABLE["methods"].items() if f["families"][family].get("merges")]
    _, errors = probe_family(family, tuple(merging), torch.float32)
    assert max(errors.values()) <= LIMITS[torch.float32]


@pytest.mark.filterwarnings("ignore:dropout of")
@pytest.mark.parametrize(("method", "family"), TRACED)
def test_attached_model_exports_and_compiles(method, family):
    probe_pair(parse(method), *build_host(family), traced=True)


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_nine_methods_stand_on_every_convolutional_network(family):
    for name in ON_ALL:
        assert "refused" not in TABLE["methods"][name]["families"][family], name


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_they_were_traced_and_nothing_disagreed(family):
    assert TABLE["traced"][family] == []
    assert [n for n in ON_ALL if family in TABLE["not_traced"].get(n, ())] == []


def test_the_table_covers_every_method_and_family():
    assert set(TABLE["methods"]) == set(probed_methods())
    for facts in TABLE["methods"].values():
        assert set(facts["families"]) == set(FAMILIES)
    assert set(TINY_HOSTS) <= set(FAMILIES)


def test_every_mergeable_pair_keeps_the_limits():
    for name, facts in TABLE["methods"].items():
        for dtype, limit in LIMITS.items():
            worst = facts["worst_merge_error"].get(str(dtype).removeprefix("torch."), 0.0)
            assert worst <= limit, name


def test_a_method_stands_in_all_blocks_or_says_otherwise():
    # Probes train none, nor does Stem; LastBlocks the last.
    for name, facts in TABLE["methods"].items():
        for family, cell in facts["families"].items():
            touched, _, there = cell.get("blocks", "0/0").partition("/")
            if name not in ("LinearProbe()", "LastBlocks()", "Stem()", "AttentiveProbe()"):
                assert touched == there, (name, family)


def test_cells_survive_json():
    for facts in TABLE["methods"].values():
        for cell in facts["families"].values():
            assert as_json(from_json(json.loads(json.dumps(cell)))) == cell


def test_cards_carry_the_table():
    told = {card["method"]: card["capabilities"] for card in cards()}
    assert told["LoRA"]["families"]["vit"]["merges"]
    assert "needs attention" in told["IA3"]["families"]["resnet"]["refused"]


@pytest.mark.parametrize("family", ["resnet", "mixer", "hf vit", "swin", "dinov3"])
def test_methods_that_a_refusal_names_can(family):
    model, x = build_host(family)
    named = able(model, find_sites(model, x))
    for name, facts in TABLE["methods"].items():
        # Only a pass shows the one position that AttentiveProbe has nothing to choose among.
        if " + " not in name and name != "AttentiveProbe()":
            refused = "refused" in facts["families"][family]
            assert (name.removesuffix("()") in named) != refused, name


def test_a_refusal_crosses_processes_as_text():
    model, x = build_host("resnet")
    able = r"Methods that can: LoRA, SSF, BitFit, LayerNorm, Full, .* and \d+ more \(foldtune"
    with pytest.raises(InputError, match=able) as refusal:
        list(IA3().edits(model, find_sites(model, x)))
    again = pickle.loads(pickle.dumps(refusal.value))
    assert (type(again), str(again)) == (InputError, str(refusal.value))
