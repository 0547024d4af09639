"""The family of LoRA by options of one class, against PEFT's own starts and plain sums."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from foldtune.core.attach import attach
from foldtune.core.method import written_out
from foldtune.errors import InputError
from foldtune.methods import LoRA, parse
from foldtune.testing import CHECKS, build_host, check_compile, check_export
from foldtune.training.optim.optimizer import build_optimizer, parameter_groups
from foldtune.training.recipe import Recipe

QUICK = [c for c in CHECKS if c not in (check_compile, check_export)]


def attached(text, host="vit"):
    model, x = build_host(host)
    return attach(model, parse(text), example=x, seed=0), x


@pytest.mark.parametrize("check", QUICK)
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_promise_of_the_contract_holds(start, check):
    check(LoRA(rank=3, start=start), *build_host("vit"))


@pytest.mark.parametrize("host", ["swinv2", "resnet"])
def test_read_layers_and_kernels_start_from_factors_too(host):
    check = next(c for c in CHECKS if c.__name__ == "check_merge")
    check(LoRA(rank=3, start="pissa"), *build_host(host))


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_factors_are_those_of_peft(start):
    # PEFT takes the product out of its base; what is left and the product are the same W.
    model, _ = build_host("vit")
    W = model.blocks[0].attn.qkv.weight.detach().clone()
    attachment, _ = attached(f"LoRA(rank=3, alpha=6.0, start={start!r})")
    delta = attachment.edits[0].delta
    ours = 2.0 * delta.lora_B @ delta.lora_A
    config = LoraConfig(r=3, lora_alpha=6, init_lora_weights=start, target_modules=["qkv"])
    layer = get_peft_model(model.float(), config).base_model.model.blocks[0].attn.qkv
    theirs = layer.get_delta_weight("default").double()
    # A sign of a column may differ, the product not; OLoRA's counts scale times in both.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.base_layer.weight.double() + theirs, W, rtol=0, atol=1e-5)


def test_the_base_stays_to_the_bit_and_the_start_is_saved():
    plain, _ = build_host("vit")
    attachment, _ = attached("LoRA(rank=3, start='pissa')")
    for name, p in plain.named_parameters():
        assert torch.equal(attachment.model.get_parameter(name), p), name
    with torch.no_grad():
        assert torch.equal(attachment.edits[0].delta.fold(plain.blocks[0].attn.qkv.weight, None)[0],
                           plain.blocks[0].attn.qkv.weight)  # fmt: skip
    assert attachment.trainable == 2 * 3 * (24 + 72)  # the start is saved and does not count
    saved = attachment.named_tensors()
    assert "LoRA.blocks.0.attn.qkv.start_A" in saved
    assert all(not p.requires_grad for n, p in saved.items() if ".start_" in n)


def test_scaling_by_the_root_of_the_rank():
    root, _ = attached("LoRA(rank=4, alpha=8.0, scaling='root')")
    assert root.edits[0].delta.scale == 8.0 / 2.0
    assert attached("LoRA(rank=4, alpha=8.0)")[0].edits[0].delta.scale == 8.0 / 4.0


def test_ranks_and_alphas_by_site_a_path_before_its_role():
    text = (
        "LoRA(rank=2, targets=('attn.in', 'mlp.up'), "
        "ranks=(('mlp.up', 4), ('blocks.1.mlp.fc1', 5)), alphas=(('mlp.up', 8.0),))"
    )
    attachment, _ = attached(text)
    found = {e.site.path: (len(e.delta.lora_A), e.delta.scale) for e in attachment.edits}
    assert found == {
        "blocks.0.attn.qkv": (2, 1.0), "blocks.0.mlp.fc1": (4, 2.0),
        "blocks.1.attn.qkv": (2, 1.0), "blocks.1.mlp.fc1": (5, 8.0 / 5),
    }  # fmt: skip


@pytest.mark.parametrize("text", ["LoRA(rank=2, rate_ratio=16.0)",
                                  "LoRA(rank=2, rate_ratio=16.0, separate='qv')"])  # fmt: skip
def test_b_takes_its_own_rate(text):
    attachment, _ = attached(text)
    groups = parameter_groups(attachment.model, 0.1)
    fast = [n for g in groups if g["rate"] == 16.0 for n, _ in g["params"]]
    assert fast
    assert all(n.endswith("lora_B") for n in fast)
    assert not [n for g in groups if g["rate"] == 1.0 for n, _ in g["params"] if "lora_B" in n]
    optimizer = build_optimizer(attachment.model, Recipe())
    assert {g["rate"] for g in optimizer.param_groups} == {1.0, 16.0}


def test_options_that_came_later_leave_earlier_identities_alone():
    assert written_out(LoRA()) == ("LoRA(rank=8, alpha=None, targets=(), dropout=0.0, separate='')")
    assert written_out(LoRA(start="pissa")).endswith("separate='', start='pissa')")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LoRA(start='svd')", "start must be|unknown start of LoRA"),
        ("LoRA(scaling='log')", "scaling must be|unknown scaling of LoRA"),
        ("LoRA(separate='qv', start='pissa')", "takes factors of a whole matrix"),
        ("LoRA(alpha=-1.0, start='pissa')", "needs alphas above 0"),
        ("LoRA(rate_ratio=0.0)", "rate_ratio must be above 0"),
        ("LoRA(ranks=(('mlp.up', 0),))", "ranks must be at least 1"),
    ],
)
def test_impossible_options_are_told(text, words):
    with pytest.raises(InputError, match=words):
        parse(text)


def test_a_site_that_is_not_there_is_told():
    with pytest.raises(InputError, match=r"unknown site 'mlp\.upp'; choose from: mlp\.up"):
        attached("LoRA(ranks=(('mlp.upp', 4),))")
