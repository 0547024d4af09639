"""Damaged pictures, tables and archives are read or refused; `make fuzz` gives thousands."""

import importlib
import random
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "benchmarks" / "fuzz"


@pytest.fixture(scope="module")
def run():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FUZZ))
        yield importlib.import_module("pictures")
        for name in ("pictures", "images", "containers", "mutate", "_memory"):
            sys.modules.pop(name, None)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # meant so
@pytest.mark.parametrize("kind", ["images", "zips", "tars", "npz", "tables"])
def test_a_few_cases_of_every_kind_are_read_or_refused(run, kind, tmp_path):
    told = set()
    for number in range(25):
        (tmp_path / str(number)).mkdir()
        told.add(run.try_case(kind, 1, number, tmp_path / str(number)))
    assert told <= {"read", "refused"}
    assert told


def test_a_case_is_its_seed_kind_and_number_alone(run):
    made = [run.KINDS["images"].make(random.Random("0 images 7")) for _ in range(2)]
    assert made[0] == made[1]


def test_what_fails_is_counted_and_named(run, monkeypatch):
    def fails(folder, rng):
        raise ValueError("a bug")

    monkeypatch.setitem(run.KINDS, "images", run.Kind(run.images.make, fails, 1.0))
    outcome, why = run._watched("images", 0, 0)
    assert (outcome, "ValueError: a bug" in why) == ("failed", True)


@pytest.mark.parametrize("event", ["subprocess.Popen", "os.system", "pickle.find_class"])
def test_what_executes_is_refused(run, event):
    with pytest.raises(PermissionError, match="executed"):
        run._watch(event, ())
