"""The judgement beside the reference implementation of its procedure, on inputs drawn anew."""

import importlib.util

import numpy as np
import pytest

from foldtune.analysis.decision import decide
from foldtune.analysis.intervals import paired_gain
from outside.conftest import DATA

REFERENCE = DATA.parent / "stats" / "decide.py"
CLOSE = {"rel": 1e-9, "abs": 1e-12}


@pytest.fixture(scope="module")
def reference():
    if not REFERENCE.exists():
        pytest.skip("stats/decide.py is missing beside the folder FOLDTUNE_OUTSIDE_DATA names")
    spec = importlib.util.spec_from_file_location("reference_decision", REFERENCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(40))
def test_random_studies_are_judged_as_by_the_reference(reference, seed):
    rng = np.random.default_rng(seed)
    methods, images = int(rng.integers(2, 9)), int(rng.choice([20, 90, 300, 2000]))
    base = rng.normal(size=images)
    right = {
        str(m): base + rng.normal(size=images) / 2 + rng.normal(0.8, 0.5)
        + 0.4 * rng.normal(size=(int(rng.integers(1, 5)), images)) > 0
        for m in range(methods)
    }  # fmt: skip
    found, wanted = decide(right), reference.decide(list(right.values()))
    assert found.low == pytest.approx(wanted["low"], **CLOSE)
    assert found.high == pytest.approx(wanted["high"], **CLOSE)
    assert found.seed_sd == pytest.approx(wanted["seed_sd"], **CLOSE)
    halves = np.array([(pair.high - pair.low) / 2 for pair in found.pairs])
    if any(len(rows) == 2 for rows in right.values()) and methods > 2:
        # Ours counts what others lend among the degrees of freedom of two seeds.
        assert (halves <= wanted["sim"] * (1 + 1e-9)).all()
    else:
        assert halves == pytest.approx(wanted["sim"], **CLOSE)
        assert [pair.apart for pair in found.pairs] == wanted["apart"].tolist()
        assert found.best == tuple(wanted["rank_lo"])
        assert found.worst == tuple(wanted["rank_hi"])
    seeds = min(len(rows) for rows in right.values())
    one, other = (right[name][:seeds] for name in ("0", "1"))
    gain, (value, half, _) = paired_gain(one, other), reference.gain(one, other)
    assert (gain["value"], gain["high"] - gain["value"]) == pytest.approx((value, half), rel=1e-6)
