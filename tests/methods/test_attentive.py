"""The attentive probe: against a plain loop, on tokens and maps, with and beside other methods."""

import pytest
import torch
from timm import create_model

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import parse
from foldtune.methods.attentive import AttentivePool
from foldtune.testing import (
    build_host,
    check_deepcopy_is_independent,
    check_detach,
    check_every_tensor_is_reached,
    check_merge,
    check_save_and_load,
    check_start,
)


def by_hand(pool, tokens):
    """One query at a time, one image at a time."""
    found = []
    for image in tokens:
        h = (image - image.mean(1, keepdim=True)) / (
            image.var(1, False, keepdim=True) + 1e-5
        ).sqrt()
        width = len(pool.gain) // pool.count
        parts = []
        for j, query in enumerate(pool.query):
            own = slice(j * width, (j + 1) * width)
            keys = (h @ pool.key.T)[:, own] if hasattr(pool, "key") else h
            weights = (keys @ query / len(query) ** 0.5).softmax(0)
            parts.append(weights @ (h @ pool.value.T)[:, own])
        found.append(image + pool.gain * torch.cat(parts))
    return torch.stack(found)


@pytest.mark.parametrize("form", ["efficient", "plain"])
def test_it_is_the_plain_loop_over_queries(form):
    pool = AttentivePool(12, 4, form, "tokens").double()
    with torch.no_grad():
        for p in pool.parameters():
            p.add_(torch.randn_like(p))
        tokens = torch.randn(2, 5, 12, dtype=torch.float64)
        torch.testing.assert_close(pool.leave(tokens, tokens), by_hand(pool, tokens))
        maps = AttentivePool(12, 4, form, "maps").double()
        maps.load_state_dict(pool.state_dict())
        grid = tokens[:, :4].mT.reshape(2, 12, 2, 2)
        found = maps.leave(grid, grid).flatten(2).mT
        torch.testing.assert_close(found, by_hand(pool, tokens[:, :4]))


@pytest.mark.parametrize(
    "check",
    [check_start, check_every_tensor_is_reached, check_merge, check_detach, check_save_and_load,
     check_deepcopy_is_independent],
)  # fmt: skip
@pytest.mark.parametrize("text", ["AttentiveProbe(queries=4)",
                                  "LoRA(rank=2) + AttentiveProbe(form='plain')"])  # fmt: skip
def test_promise_of_the_contract_holds(text, check):
    check(parse(text), *build_host("vit"))


def test_positions_of_maps_are_tokens():
    model = create_model("resnet18", num_classes=5, layers=(2, 1, 1, 1), channels=(8, 8, 16, 16))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = model.eval()(x)
    attachment = attach(model, parse("AttentiveProbe(queries=4)"), example=x, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), before)
    assert attachment.edits[0].site.layout == "maps"


def test_one_position_leaves_nothing_to_attend_to():
    model, x = build_host("resnet")  # whose last map is one pixel
    with pytest.raises(InputError, match=r"query at layer4\.0 trains without effect"):
        attach(model, parse("AttentiveProbe"), example=x)


def test_it_counts_as_its_card_says():
    with torch.device("meta"):
        model = create_model("vit_base_patch16_224")
        x = torch.zeros(1, 3, 224, 224)
        assert attach(model, parse("AttentiveProbe"), example=x).trainable == 615_168


def test_wrong_settings_are_told():
    with pytest.raises(InputError, match="queries must be at least 1"):
        parse("AttentiveProbe(queries=0)")
    with pytest.raises(InputError, match=r"form must be|unknown form"):
        parse("AttentiveProbe(form='wide')")
