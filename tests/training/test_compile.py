"""Training through torch.compile, and float32 products in TF32."""

from dataclasses import replace

import pytest
import torch

from foldtune.core.attach import attach
from foldtune.errors import InputError
from foldtune.methods import SSF
from foldtune.study.run import Run
from foldtune.training.device import check_compiler, check_precision, prepared, tensor_float
from foldtune.training.loop import train
from foldtune.training.recipe import Recipe
from foldtune.training.stack import common

from .tiny import RECIPE, equal, images, prepare, vit, weights

CPU = torch.device("cpu")


def tuned(recipe, **options):
    model = vit(**options)
    attach(model, SSF(), example=torch.zeros(2, 3, 16, 16), num_classes=5, seed=0)
    train(model, *images(), recipe, prepare=prepare, seed=0, device="cpu")
    return weights(model)


@pytest.fixture
def asked(monkeypatch):
    """Each call of torch.compile, which here makes graphs but no machine code."""
    calls = []
    real = torch.compile

    def eager(model, **options):
        calls.append(options)
        return real(model, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", eager)
    return calls


def test_a_compiled_training_is_the_plain_one_but_for_rounding():
    recipe = replace(RECIPE, epochs=2)
    plain = tuned(recipe, proj_drop_rate=0.0, drop_path_rate=0.0)
    compiled = tuned(replace(recipe, compile=True), proj_drop_rate=0.0, drop_path_rate=0.0)
    assert not equal(plain, compiled)  # other kernels, or nothing was compiled
    assert all(torch.allclose(plain[n], compiled[n], atol=1e-4) for n in plain)


def test_it_is_bit_equal_to_itself_and_more_trainings_than_dynamo_keeps_are_compiled(asked):
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, compile=True)
    first = tuned(recipe)
    assert asked == [{"dynamic": False}]
    torch._dynamo.utils.counters.clear()
    assert all(equal(tuned(recipe), first) for _ in range(9))
    assert not torch._dynamo.utils.counters["unimplemented"]


def test_nothing_is_compiled_unasked(asked):
    tuned(replace(RECIPE, epochs=1, warmup_epochs=0))
    assert not asked


def test_a_missing_compiler_is_told_before_the_first_step(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="no-such-compiler is not here; install one"):
        tuned(replace(RECIPE, compile=True))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="triton"):
        check_compiler(torch.device("cuda"))


def test_runs_from_before_there_was_a_compiler_keep_their_keys():
    run = Run("trial", "SSF", "SSF()", Recipe(), 0, "b", "d", "s", ("train",))
    compiled = replace(run, recipe=replace(run.recipe, compile=True))
    assert run.key != compiled.key
    assert run.key == "61168b5baf7fafcc"


def test_stacked_trials_are_not_compiled():
    with pytest.raises(InputError, match="compile=True cannot be stacked"):
        common(replace(RECIPE, compile=True))


def test_tf32_is_for_nvidia_and_only_inside():
    with pytest.raises(InputError, match="tf32 needs an NVIDIA GPU, not cpu"):
        check_precision("tf32", CPU)
    check_precision("tf32", torch.device("cuda"))
    before = torch.get_float32_matmul_precision()
    with tensor_float(True):
        assert torch.get_float32_matmul_precision() == "high"
    with tensor_float(False), prepared(vit(), "fp32", "cpu"):
        assert torch.get_float32_matmul_precision() == before
    assert torch.get_float32_matmul_precision() == before
