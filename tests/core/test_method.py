from dataclasses import FrozenInstanceError, dataclass, field
from typing import Literal

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.core.compute.computed import effective
from foldtune.core.method import Method, Stack, check_settings, settings, written_out
from foldtune.errors import InputError
from foldtune.methods import SSF, AdaptFormer, BitFit, LoRA, parse

from .tiny import distance, shift, vit


def test_repr_leaves_out_defaults_and_the_long_form_writes_them():
    assert repr(LoRA()) == "LoRA()"
    assert repr(LoRA(rank=4, alpha=8.0)) == "LoRA(rank=4, alpha=8.0)"
    assert (
        written_out(SSF())
        == "SSF(std=0.02, downsample=False, skip=(), absorb=False, add_bias=False)"
    )
    assert written_out(SSF() + BitFit()).endswith("absorb=False, add_bias=False) + BitFit()")


@pytest.mark.parametrize(
    "method",
    [
        LoRA(rank=3, targets=("attn.in", "mlp.up"), alpha=-1.5, dropout=0.1),
        LoRA(targets=("blocks.0.attn.qkv",)),
        SSF(std=1e-8) + LoRA(rank=1) + BitFit() + LoRA(rank=1),
        Stack((SSF(),)) + AdaptFormer(scale=2.0),
    ],
)
def test_both_spellings_rebuild_the_method(method):
    assert parse(repr(method)) == method
    assert parse(written_out(method)) == method
    assert hash(parse(repr(method))) == hash(method)


def test_methods_are_values():
    assert LoRA(rank=4) == LoRA(rank=4) != LoRA(rank=8)
    with pytest.raises(FrozenInstanceError):
        LoRA().rank = 4


def test_sums_are_flat_in_whatever_order_they_are_written():
    one, two, three = SSF(), LoRA(), BitFit()
    assert (one + two) + three == one + (two + three)
    # A stack in a stack was written as Stack(methods=...), which no parser knows.
    nested = Stack((Stack((one, two)), three))
    assert nested == one + two + three
    assert parse(written_out(nested)) == nested


def test_empty_stack_is_refused():
    with pytest.raises(InputError, match="at least one method"):
        Stack(())


def test_only_methods_add_up():
    for other in ("LoRA()", 3, None):
        with pytest.raises(TypeError):
            SSF() + other


def test_stack_starts_as_identity_if_all_its_parts_do():
    assert (LoRA() + BitFit()).starts_as_identity
    assert not (LoRA() + SSF()).starts_as_identity


def test_stacks_compose_in_the_order_of_attaching():
    model, x = vit()
    stored = model.blocks[0].attn.qkv.weight.detach().clone()
    attachment = attach(model, SSF() + LoRA(rank=2), example=x, seed=0)
    shift(attachment)
    own = {
        n.rpartition(".")[2]: t for n, t in attachment.named_tensors().items() if "0.attn.q" in n
    }
    wanted = own["scale"][:, None] * stored + own["lora_B"] @ own["lora_A"]
    assert distance(effective(model.blocks[0].attn.qkv)[0], wanted) < 1e-12
    attachment.merge()
    assert distance(model.blocks[0].attn.qkv.weight, wanted) < 1e-12


def test_method_without_edits_says_so():
    with pytest.raises(NotImplementedError, match="Method defines no edits"):
        Method().edits(torch.nn.Identity(), ())


@dataclass(frozen=True, repr=False)
class Fancy(Method):
    kind: Literal["a", "b"] = "a"
    pair: tuple[int, float] = (1, 1.0)
    names: tuple[str, ...] = ()
    maybe: int | None = None
    flag: bool = False
    made: tuple[int, ...] = field(default_factory=tuple)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "b", "pair": (2, 3), "names": ("x",), "maybe": 4, "flag": True, "made": (1, 2)},
        {"maybe": None, "names": ()},
    ],
)
def test_values_that_fit_their_annotations_pass(values):
    check_settings(Fancy, values)
    assert settings(Fancy(**values)) == settings(Fancy()) | values


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "c"), ("pair", (1, 2, 3)), ("pair", (1.5, 1)), ("names", "attn.in"),
        ("names", ("a", 1)), ("maybe", 1.0), ("maybe", True), ("flag", 1), ("made", None),
    ],
)  # fmt: skip
def test_first_value_that_does_not_fit_is_named(name, value):
    with pytest.raises(InputError, match=rf"Fancy: {name} must be .*, not "):
        check_settings(Fancy, {name: value})


@pytest.mark.parametrize(
    ("method", "words"),
    [
        # Each letter was taken for a target: "unknown site 'a'".
        (LoRA(targets="attn.in"), r"targets must be tuple\[str, \.\.\.\], not 'attn\.in'"),
        (LoRA(rank=2.5), r"rank must be int, not 2\.5"),
        (SSF() + LoRA(alpha="x"), r"alpha must be float \| None, not 'x'"),
        (SSF(std=float("inf")), r"std must be float, not inf"),
    ],
)
def test_attach_refuses_settings_of_the_wrong_kind(method, words):
    model, x = vit()
    with pytest.raises(InputError, match=words):
        attach(model, method, example=x)
