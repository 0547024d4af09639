"""Methods without a reference fixture against their formula, written out plainly."""

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.core.compute.computed import effective
from foldtune.methods import parse
from foldtune.testing import build_host

CLOSE = {"atol": 1e-12, "rtol": 0.0}


@pytest.fixture
def tuned():
    """Attach a method, move its tensors, and give the plain and the computed layer of a path."""

    def build(method, path):
        model, x = build_host("vit")
        module = model.get_submodule(path)
        plain = module.weight.detach().clone(), module.bias.detach().clone()
        attachment = attach(model, parse(method), example=x, seed=0)
        with torch.no_grad():
            for p in attachment.parameters():
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
        own = {n.split(".", 1)[1]: t for n, t in attachment.named_tensors().items()}
        return own, plain, effective(module)

    return build


def test_arc_recombines_one_projection(tuned):
    own, (W, bias), (new_W, new_bias) = tuned("ARC(rank=3)", "blocks.1.mlp.fc1")
    P, c, b = own["blocks.0.mlp.fc1.P"], own["blocks.1.mlp.fc1.c"], own["blocks.1.mlp.fc1.b"]
    torch.testing.assert_close(new_W, W @ (torch.eye(24) + P.T @ torch.diag(c) @ P), **CLOSE)
    torch.testing.assert_close(new_bias, bias + W @ b, **CLOSE)


@pytest.mark.parametrize("shuffle", [False, True])
def test_consolidator_adds_one_block_per_group(tuned, shuffle):
    own, (W, _), (new_W, _) = tuned(f"Consolidator(4, shuffle={shuffle})", "blocks.0.mlp.fc1")
    blocks = own["blocks.0.mlp.fc1.blocks"]
    expected = W.clone()
    for group, block in enumerate(blocks):  # (96 / 4, 24 / 4)
        for row in range(24):
            out = row * 4 + group if shuffle else group * 24 + row
            expected[out, group * 6 : group * 6 + 6] += block[row]
    torch.testing.assert_close(new_W, expected, **CLOSE)


def test_dora_lengths_are_m_and_directions_those_of_lora(tuned):
    own, (W, _), (new_W, _) = tuned("DoRA(rank=2, alpha=6.0)", "blocks.0.attn.qkv")
    A, B, m = (own[f"blocks.0.attn.qkv.{n}"] for n in ("low.lora_A", "low.lora_B", "m"))
    moved = W + 3.0 * B @ A
    torch.testing.assert_close(new_W.norm(dim=1), m.abs(), **CLOSE)
    direction = torch.nn.functional.normalize(moved, dim=1)
    torch.testing.assert_close(new_W, m[:, None] * direction, **CLOSE)


def test_dora_holds_the_norm_constant(tuned):
    own, (W, _), (new_W, _) = tuned("DoRA(rank=2)", "blocks.0.attn.qkv")
    A, B, m = (own[f"blocks.0.attn.qkv.{n}"] for n in ("low.lora_A", "low.lora_B", "m"))
    upstream = torch.randn_like(new_W)
    (grad,) = torch.autograd.grad(new_W, B, upstream)
    gain = m / (W + B @ A).norm(dim=1)
    torch.testing.assert_close(grad, (gain[:, None] * upstream) @ A.T, **CLOSE)


def test_ia3_scales_keys_values_and_hidden_features(tuned):
    own, (W, bias), (new_W, new_bias) = tuned("IA3()", "blocks.0.attn.qkv")
    gain = torch.cat([torch.ones(24), own["blocks.0.attn.qkv.l_k"], own["blocks.0.attn.qkv.l_v"]])
    torch.testing.assert_close(new_W, gain[:, None] * W, **CLOSE)
    torch.testing.assert_close(new_bias, gain * bias, **CLOSE)
    own, (W, bias), (new_W, new_bias) = tuned("IA3()", "blocks.0.mlp.fc2")
    torch.testing.assert_close(new_W, W * own["blocks.0.mlp.fc2.l"], **CLOSE)
    torch.testing.assert_close(new_bias, bias, **CLOSE)


@pytest.mark.parametrize(("path", "first"), [("attn.qkv", 0), ("mlp.fc1", 4), ("mlp.fc2", 8)])
def test_fact_tk_takes_one_slice_per_square(tuned, path, first):
    own, (W, _), (new_W, _) = tuned("FacTTK(rank=3, scale=0.5)", f"blocks.1.{path}")
    U, V, C, P = (own[f"blocks.0.attn.qkv.{n}"] for n in "UVCP")
    expected = W.clone()
    squares = [(r, c) for r in range(0, W.shape[0], 24) for c in range(0, W.shape[1], 24)]
    for i, (row, column) in enumerate(squares):
        T = C @ P[:, 12 + first + i]
        expected[row : row + 24, column : column + 24] += 0.5 * V @ T.T @ U
    torch.testing.assert_close(new_W, expected, **CLOSE)


def test_last_blocks_are_counted_not_matched_by_name():
    model, x = build_host("vit")
    attachment = attach(model, parse("LastBlocks(1, part='mlp')"), example=x)
    assert set(attachment.base_names) == {
        f"blocks.1.mlp.{layer}.{n}" for layer in ("fc1", "fc2") for n in ("weight", "bias")
    }
