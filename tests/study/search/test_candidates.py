"""What is suggested stands on the host within the budget, in the order that the rule says."""

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from foldtune.backbones import Backbone
from foldtune.backbones.backbone import Transform
from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.judging.counters import count
from foldtune.methods import LoRA, catalogue, parse
from foldtune.study.search.candidates import candidates, read_budget

# Two with published figures, two without, one that stands beside, one that a ViT refuses, Full.
ASKED = ("Full", "ConvAdapter", "AdapterPlus", "BitFit", "LoRA", "Stem", "SSF")


@pytest.fixture(scope="module")
def host():
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=10
    )
    return Backbone("tiny", "own", model.eval(), Transform(16, (0.5,) * 3, (0.5,) * 3), "mine")


@pytest.fixture(scope="module")
def told(host):
    # More than SSF, BitFit and AdapterPlus train there, less than Stem and LoRA.
    return candidates(host, "1000", {name: catalogue()[name] for name in ASKED})


def test_what_is_suggested_trains_as_many_as_it_says_and_no_more_than_the_budget(host, told):
    for row in told["suggestions"]:
        attachment = attach(host, parse(row["method"]), num_classes=10, seed=0)
        assert row["trainable"] == attachment.trainable <= 1000
        assert row["merges"] == attachment.mergeable
        attachment.detach()
    assert told["parameters"] == sum(p.numel() for p in host.model.parameters()) - 17 * 10
    assert set(told["over_budget"]) == {"Full", "LoRA", "Stem"}
    assert "ConvAdapter" in told["refused"]["ConvAdapter"]


def test_published_points_come_first_and_unknown_methods_stand_at_their_median(told):
    rows = {row["method"]: row for row in told["suggestions"]}
    assert list(rows) == ["AdapterPlus", "SSF", "BitFit"]
    assert rows["AdapterPlus"]["points_below_best"] is None
    assert 2 < rows["SSF"]["points_below_best"] < rows["BitFit"]["points_below_best"] < 3


def test_costs_are_those_of_lora_on_this_host(host, told):
    def counted(method):
        attachment = attach(host, method, num_classes=10, seed=0)
        operations, kept = count(host.model, host.example(2)).of_step(32)
        attachment.detach()
        return operations, kept

    ours, yardstick = counted(parse("BitFit")), counted(LoRA())
    row = next(row for row in told["suggestions"] if row["method"] == "BitFit")
    assert row["operations"] == pytest.approx(ours[0] / yardstick[0], abs=0.006)
    assert row["activations"] == pytest.approx(ours[1] / yardstick[1], abs=0.006)


@pytest.mark.parametrize(("text", "most"), [("0.5%", 500), ("2 %", 2000), ("1_000", 1000)])
def test_a_budget_is_a_number_or_a_share(text, most):
    assert read_budget(text)(100_000) == most


@pytest.mark.parametrize("text", ["many", "-1", "0.5", "nan%", ""])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(InputError, match="is no budget; write"):
        read_budget(text)
