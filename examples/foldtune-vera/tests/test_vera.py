"""foldtune's own contract is the test suite of a method."""

import pytest
import torch
from foldtune_vera import PlainVeRA

from foldtune import attach
from foldtune.core.compute.folding import effective
from foldtune.errors import InputError
from foldtune.testing import build_host, check_method


def test_it_keeps_the_contract():
    # Without the second argument every tiny host is tried: three minutes.
    assert check_method(PlainVeRA(rank=4), ["vit"]) == {"vit": "passed"}


def test_it_says_where_it_does_not_fit():
    model, x = build_host("convnext")
    with pytest.raises(InputError, match="PlainVeRA needs Linear layers"):
        attach(model, PlainVeRA(rank=4), example=x)


def test_the_update_is_the_papers():
    model, x = build_host("vit")
    attachment = attach(model, PlainVeRA(rank=4), example=x)
    delta = attachment.edits[0].delta
    with torch.no_grad():
        delta.b.normal_()
        W = model.blocks[0].attn.qkv._parameters["weight"]
        expected = W + delta.b.diag() @ delta.B @ delta.d.diag() @ delta.A
        torch.testing.assert_close(effective(model.blocks[0].attn.qkv)[0], expected)
    assert attachment.trainable == 2 * (3 * 24 + 4)
