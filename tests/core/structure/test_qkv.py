"""Rows of q, k and v are found by what attention multiplies, wherever the host stores them."""

import pytest
import torch
from torch import nn

from foldtune.core.attach import attach
from foldtune.core.compute.computed import effective
from foldtune.core.structure.finding import find_sites
from foldtune.core.structure.head import find_head
from foldtune.core.structure.qkv import order_of, with_letters
from foldtune.errors import InputError
from foldtune.interop import to_peft
from foldtune.methods import IA3, LoRA
from foldtune.testing import build_host


def tiny_vit():
    from timm.models.tiny_vit import TinyVit

    torch.manual_seed(0)
    model = TinyVit(
        depths=(1, 1, 1, 1), embed_dims=(16, 16, 32, 32), num_heads=(1, 2, 2, 2),
        window_sizes=(4, 4, 4, 4), num_classes=5,
    )  # fmt: skip
    return model.eval(), torch.rand(2, 3, 64, 64)


def max_vit():
    import timm

    torch.manual_seed(0)
    model = timm.create_model(
        "maxvit_pico_rw_256", img_size=64, embed_dim=(32, 64, 32, 32), depths=(1, 1, 1, 1),
        num_classes=5,
    )  # fmt: skip
    return model.eval(), torch.rand(2, 3, 64, 64)


def letters(model, x):
    sites = with_letters(model, x, find_sites(model, x, find_head(model)))
    return {s.path: s.letters for s in sites if s.role == "attn.in"}


def head_by_head(rows, heads):
    size = rows // heads // 3
    return ("q" * size + "k" * size + "v" * size) * heads


@pytest.mark.parametrize("host", ["vit", "swin", "swinv2", "eva02", "beit"])
def test_hosts_that_store_thirds_have_thirds(host):
    model, x = build_host(host)
    found = letters(model, x)
    assert found
    for path, word in found.items():
        third = len(model.get_submodule(path).weight) // 3
        assert word == "q" * third + "k" * third + "v" * third
        assert order_of(word) is None


def test_rows_head_by_head_are_found_where_the_host_stores_them_so():
    model, x = tiny_vit()
    for path, word in letters(model, x).items():
        attention = model.get_submodule(path.removesuffix(".qkv"))
        assert word == head_by_head(len(attention.qkv.weight), attention.num_heads)
    model, x = max_vit()
    for path, word in letters(model, x).items():
        attention = model.get_submodule(path.removesuffix(".qkv"))
        assert word == head_by_head(len(attention.qkv.weight), attention.num_heads)


def moved_rows(method, host):
    """By attention: which of the rows that the host takes for q, k and v a method moves."""
    model, x = host()
    attachment = attach(model, method, example=x, seed=0)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
    found = []
    for module in model.modules():
        if hasattr(module, "qkv") and module.qkv.weight is not None:
            apart = (effective(module.qkv)[0] - module.qkv.weight).abs().amax(1) > 0
            # The host's own way from the rows to q, k and v.
            by_head = apart.view(module.num_heads, 3, -1)
            found.append([bool(by_head[:, i].any()) for i in range(3)])
            assert all(bool(by_head[:, i].all()) == found[-1][i] for i in range(3))
    return found


@pytest.mark.parametrize("host", [tiny_vit, max_vit])
def test_methods_for_q_and_v_leave_k_alone_whatever_the_order_of_rows(host):
    assert set(map(tuple, moved_rows(LoRA(rank=2, separate="qv"), host))) == {(True, False, True)}
    assert set(map(tuple, moved_rows(LoRA(rank=2, separate="k"), host))) == {(False, True, False)}


def test_gains_on_keys_and_values_leave_queries_alone_whatever_the_order_of_rows():
    assert set(map(tuple, moved_rows(IA3(), tiny_vit))) == {(False, True, True)}


@pytest.mark.parametrize("method", [LoRA(rank=2, separate="qv"), IA3()])
def test_merging_rows_in_another_order_changes_nothing(method):
    model, x = tiny_vit()
    model.double()
    attachment = attach(model, method, example=x.double(), seed=0)
    with torch.no_grad():
        for p in attachment.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)).to(p))
        model.eval()
        before = model(x.double())
        attachment.merge()
        torch.testing.assert_close(model(x.double()), before, rtol=1e-10, atol=1e-10)


def test_adapter_of_peft_is_not_written_in_thirds_that_are_none(tmp_path):
    model, x = tiny_vit()
    attachment = attach(model, LoRA(rank=2, separate="qv"), example=x, seed=0)
    with pytest.raises(InputError, match="head by head"):
        to_peft(attachment, tmp_path, base="tiny_vit_5m_224")


class Linear(nn.Module):
    """An attention without a softmax: (k^T v) first."""

    def __init__(self, qkv):
        super().__init__()
        self.qkv, self.proj = qkv, nn.Linear(24, 24)

    def forward(self, x, **_):
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj(q.relu() @ (k.relu().transpose(1, 2) @ v))


def test_attention_that_does_not_show_its_rows_is_refused_by_name():
    model, x = build_host("vit")
    for block in model.blocks:
        block.attn = Linear(block.attn.qkv).to(x)
    assert set(letters(model, x).values()) == {""}
    with pytest.raises(InputError, match=r"cannot tell which rows of blocks.0.attn.qkv are"):
        attach(model, LoRA(rank=2, separate="qv"), example=x)
    assert attach(model, LoRA(rank=2), example=x).trainable
