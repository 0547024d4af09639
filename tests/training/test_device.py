import pytest
import timm
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from foldtune.errors import InputError
from foldtune.training.device import (
    check_precision,
    faster_channels_last,
    parse_device,
    prepare_model,
)

from .tiny import vit

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_preparing_leaves_no_trace_on_the_model(precision, monkeypatch):
    monkeypatch.setattr("foldtune.training.device._abilities", lambda: {"avx512_bf16": True})
    model = vit()
    attributes, keys = set(vars(model)), list(model.state_dict())
    with prepare_model(model, precision, "cpu") as at:
        assert at.forward is model
        assert set(vars(model)) == attributes
        assert model.forward.__func__ is type(model).forward
        with at.accelerator.autocast():
            half = model.head(torch.zeros(1, 16)).dtype
        assert half == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert set(vars(model)) == attributes
    assert list(model.state_dict()) == keys


def test_a_forward_of_the_models_own_is_kept():
    model = vit()
    model.forward = own = lambda x: x
    with prepare_model(model, "fp32", "cpu"):
        pass
    assert model.forward is own


def test_precisions_follow_each_other_and_the_callers_accelerator_lives_on(monkeypatch):
    monkeypatch.setattr("foldtune.training.device._abilities", lambda: {"avx512_bf16": True})
    AcceleratorState._reset_state(reset_partial_state=True)
    callers = Accelerator(mixed_precision="no", cpu=True)
    for precision in ("bf16", "fp32", "bf16"):
        with prepare_model(vit(), precision, "cpu") as at:
            assert at.accelerator.mixed_precision == precision.replace("fp32", "no")
    assert callers.mixed_precision == "no"
    assert callers.device.type == "cpu"
    AcceleratorState._reset_state(reset_partial_state=True)
    with prepare_model(vit(), "fp32", "cpu"):
        pass
    assert PartialState._shared_state == AcceleratorState._shared_state == {}


def test_bf16_is_refused_where_the_cpu_would_emulate_it(monkeypatch):
    monkeypatch.setattr(
        "foldtune.training.device._abilities", lambda: {"avx2": True, "avx512_bf16": False}
    )
    with pytest.raises(InputError, match="neither avx512_bf16 nor amx_bf16"):
        check_precision("bf16", CPU)
    check_precision("fp32", CPU)


def test_fp16_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        check_precision("fp16", CPU)


@pytest.mark.parametrize(
    ("host", "precision", "faster"),
    [
        ("resnet18", "bf16", True),
        ("convnext_atto", "bf16-kept", True),
        ("efficientnet_lite0", "fp16", True),
        ("resnet18", "fp32", False),
        ("resnet18", "tf32", False),
        ("vit_tiny_patch16_224", "bf16", False),
    ],
)
def test_networks_of_convolutions_have_channels_last_in_half_precision_on_cuda(
    host, precision, faster
):
    with torch.device("meta"):
        model = timm.create_model(host)
    assert faster_channels_last(model, torch.device("cuda"), precision) is faster
    assert not faster_channels_last(model, torch.device("mps"), precision)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu0"])
def test_a_device_that_is_not_here_is_refused_by_name(device):
    with pytest.raises(InputError, match=f"device '{device}'"):
        parse_device(device)
