"""A method that a notebook wrote is tuned, compared, kept apart by its source, missed by name."""

import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from foldtune.core.compute.delta import Delta
from foldtune.core.edits import Reweight
from foldtune.core.method import Method
from foldtune.core.structure.sites import select
from foldtune.errors import InputError
from foldtune.methods import LoRA, parse, register
from foldtune.methods.catalogue import _registered
from foldtune.study.compare import compare
from foldtune.study.executors.processes import Processes
from foldtune.study.fit import fit
from foldtune.testing import check_method

START = 1.0


class RowGain(Delta):
    """W' = diag(gain) W."""

    moves_bias = False

    def __init__(self, rows):
        super().__init__()
        self.gain = nn.Parameter(torch.full((rows,), START))

    def fold(self, weight, bias):
        return self.gain[:, None] * weight, bias


@dataclass(frozen=True, repr=False)
class Mine(Method):
    """A gain on each row of some layers."""

    targets: tuple[str, ...] = ("mlp.up",)

    def edits(self, model, sites) -> Iterable:
        return [Reweight(s, RowGain(s.channels)) for s in select(sites, *self.targets)]


@pytest.fixture(autouse=True)
def own():
    """What a test registers is gone after it."""
    yield
    _registered.clear()


def study(digits, backbone, recipe, out, *methods, **more):
    short = replace(recipe, epochs=1, warmup_epochs=0.1)
    return compare(digits, backbone, methods, out=out, recipe=short, trials=1, seeds=1, **more)


def test_it_is_compared_beside_others(digits, backbone, recipe, tmp_path):
    found = study(digits, backbone, recipe, tmp_path, Mine(), LoRA(rank=4))
    labels = [entry["label"] for entry in found.leaderboard]
    mine = next(label for label in labels if label.startswith("Mine() @"))
    assert set(labels) == {mine, "LoRA(rank=4)"}
    assert {r["verdict"] for r in found.rows} == {"finished"}
    again = study(digits, backbone, recipe, tmp_path, Mine(), LoRA(rank=4))
    assert [r["run"] for r in again.rows] == [r["run"] for r in found.rows]


def test_written_anew_it_is_another_method(digits, backbone, recipe, tmp_path, monkeypatch):
    first = study(digits, backbone, recipe, tmp_path, Mine())
    monkeypatch.setattr(sys.modules[__name__], "START", 1.5)  # a value that its delta reads
    second = study(digits, backbone, recipe, tmp_path, Mine())
    assert len(second.rows) == 2 * len(first.rows)
    assert len({entry["label"] for entry in second.leaderboard}) == 2


def test_a_class_has_its_own_settings_searched_and_an_instance_keeps_them():
    from foldtune.methods.catalogue import text_of

    assert text_of(Mine) == "Mine"
    assert text_of(Mine(targets=("mlp.down",)) + LoRA(rank=4)) == (
        "Mine(targets=('mlp.down',)) + LoRA(rank=4)"
    )


def test_it_is_fitted_and_its_tuning_says_what_another_process_needs(
    digits, backbone, recipe, tmp_path
):
    fitted = fit(digits, backbone, Mine(), out=tmp_path, recipe=replace(recipe, epochs=1))
    assert fitted.row["verdict"] == "finished"
    script = f"""
        import foldtune
        from foldtune.errors import InputError
        try:
            foldtune.load({str(fitted.tuning)!r})
        except InputError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    assert "unknown method 'Mine'" in done.stdout
    assert "foldtune.methods.register(Mine)" in done.stdout


def test_the_contract_is_one_line():
    assert check_method(Mine(), ["mixer"]) == {"mixer": "passed"}


def test_workers_would_not_find_it(digits, backbone, recipe, tmp_path):
    with pytest.raises(InputError, match="Mine is known in this process alone"):
        study(digits, backbone, recipe, tmp_path, Mine(), executor=Processes(workers=2))


def test_register_is_a_decorator_and_the_last_definition_counts():
    first = register(Mine)
    assert parse("Mine()") == Mine()
    again = register(type("Mine", (Mine,), {}))
    assert type(parse("Mine()")) is again is not first


def test_what_cannot_be_registered_is_told():
    with pytest.raises(InputError, match="cannot register 'Delta': it is no dataclass of Method"):
        register(Delta)
    with pytest.raises(InputError, match="cannot register LoRA: there is a method LoRA"):
        register(type("LoRA", (Mine,), {}))
    with pytest.raises(InputError, match="7 is no method"):
        compare("digits", methods=[7], out="nowhere")
