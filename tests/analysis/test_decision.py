"""One judgement: equal to its reference, and to SciPy; true as often as it says, no more often."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from foldtune.analysis.decision import decide
from foldtune.analysis.intervals import paired_gain, row_intervals
from foldtune.analysis.spread import wilson
from foldtune.errors import InputError

KNOWN = json.loads((Path(__file__).parent / "decision.json").read_bytes())
# Sums in another order, and a Cholesky factor of another LAPACK, over 4,000 draws.
CLOSE = {"rel": 1e-6, "abs": 1e-9}
# Beyond this the reference has Bonferroni's p alone, and ours the smaller of both.
RARE = 0.005


def unpacked(case):
    return {
        str(m): np.stack([np.unpackbits(np.frombuffer(bytes.fromhex(r), np.uint8),
                                        count=case["images"]) for r in rows]).astype(bool)
        for m, rows in enumerate(case["right"])
    }  # fmt: skip


def two_seeds_of_three_methods(case):
    return 2 in map(len, case["right"]) and len(case["right"]) > 2


@pytest.mark.parametrize("case", [c for c in KNOWN["decisions"] if "groups" not in c])
def test_a_decision_is_that_of_the_reference(case):
    found, wanted = decide(unpacked(case)), case["expected"]
    for name, key in (("accuracy", "acc"), ("low", "low"), ("high", "high"),
                      ("seed_sd", "seed_sd")):  # fmt: skip
        assert getattr(found, name) == pytest.approx(wanted[key], **CLOSE), name
    halves = np.array([(pair.high - pair.low) / 2 for pair in found.pairs])
    for name, key in (("difference", "diff"), ("images_share", "images_share"),
                      ("holds_to_seed_sd", "holds_to_seed_sd")):  # fmt: skip
        assert [getattr(p, name) for p in found.pairs] == pytest.approx(wanted[key], **CLOSE), name
    if two_seeds_of_three_methods(case):
        # Ours counts what other methods lend among the degrees of freedom of two seeds.
        assert (halves < np.array(wanted["sim"]) * (1 + 1e-9)).all()
        return
    assert halves == pytest.approx(wanted["sim"], **CLOSE)
    assert (found.best, found.worst) == (tuple(wanted["rank_lo"]), tuple(wanted["rank_hi"]))
    for name, key in (("alone", "one"), ("apart", "apart")):
        assert [getattr(p, name) for p in found.pairs] == pytest.approx(wanted[key], **CLOSE), name
    assert [found.may_be_best(n) for n in found.names] == [bool(b) for b in wanted["may_be_best"]]
    p, reference = np.array([pair.p for pair in found.pairs]), np.array(wanted["p_adj"])
    # A draw more or less beyond a difference is 1 / 4,000.
    assert np.minimum(p, RARE) == pytest.approx(np.minimum(reference, RARE), abs=6e-4)
    assert p[p > RARE] == pytest.approx(reference[p > RARE], abs=6e-4)


@pytest.mark.parametrize("case", [c for c in KNOWN["decisions"] if "groups" in c])
def test_groups_are_those_of_the_reference(case):
    found = decide(unpacked(case), np.array(case["groups"]))
    assert found.seed_sd == pytest.approx(case["expected"]["seed_sd"], **CLOSE)
    shares = [pair.images_share for pair in found.pairs]
    assert shares == pytest.approx(case["expected"]["images_share"], **CLOSE)


@pytest.mark.parametrize("case", KNOWN["gains"])
def test_a_gain_is_that_of_the_reference(case):
    found = paired_gain(*unpacked(case).values())
    value, half, _ = case["expected"]
    assert found["value"] == pytest.approx(value, **CLOSE)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, **CLOSE)


def one_seed(images=2000, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(size=images)
    levels = {"A": 0.8, "B": 0.9, "C": 0.85}
    return {n: (base + rng.normal(size=images) + q > 0)[None] for n, q in levels.items()}


def test_two_runs_are_judged_as_by_a_paired_t_test():
    # SciPy's has no made-up image: 1 beside hundreds that differ.
    right = {n: rows for n, rows in one_seed().items() if n != "C"}
    (pair,) = decide(right).pairs
    known = stats.ttest_rel(*(rows[0].astype(float) for rows in right.values()))
    low, high = known.confidence_interval(0.95)
    assert (pair.low, pair.high) == pytest.approx((low, high), rel=0.01)
    assert pair.p == pytest.approx(known.pvalue, rel=0.02)
    assert pair.alone == pytest.approx((high - low) / 2, rel=0.01)


def test_many_seeds_of_sharp_accuracy_are_judged_as_by_welch():
    # 20,000 images that all runs see alike, so that seeds alone make the variance.
    rng = np.random.default_rng(3)
    images = 20_000
    place = (np.arange(images) + 0.5) / images

    def runs(mean):
        return np.stack([place < rng.normal(mean, 0.02) for _ in range(30)])

    right = {"A": runs(0.80), "B": runs(0.81)}
    (pair,) = decide(right).pairs
    known = stats.ttest_ind(*(rows.mean(1) for rows in right.values()), equal_var=False)
    low, high = known.confidence_interval(0.95)
    # Two of 31 degrees of freedom are borrowed, and images add a little.
    assert (pair.high - pair.low) == pytest.approx(high - low, rel=0.06)
    assert pair.p == pytest.approx(known.pvalue, abs=0.01)
    assert pair.images_share < 0.1


def test_wilson_matches_newcombes_table():
    # Newcombe, Statistics in Medicine 1998, table I, method 3.
    z = stats.norm.ppf(0.975)
    for right, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                                (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson(right / n, n, z) == pytest.approx((low, high), abs=5e-5)


def test_one_run_has_wilsons_interval():
    # t with 1,999 degrees of freedom in the place of z, and half an image in p (1 - p).
    right = {"A": one_seed()["A"]}
    found = decide(right)
    z = stats.norm.ppf(0.975)
    wanted = wilson(right["A"].mean(), 2000, z)
    assert (found.low[0], found.high[0]) == pytest.approx(wanted, abs=2e-4)
    assert (found.pairs, found.best, found.worst) == ((), (1,), (1,))


def test_one_seed_covers_images_alone_and_says_how_long_it_holds():
    right = one_seed()
    right["D"] = ~right["A"]
    found = decide(right)
    assert found.covers == "images"
    pair = found.between("A", "D")
    assert pair.apart
    assert 0 < pair.holds_to_seed_sd < pair.difference
    assert found.between("A", "B").holds_to_seed_sd < pair.holds_to_seed_sd
    borrowed = decide(right | {"E": np.concatenate([right["A"], right["B"]])})
    assert borrowed.covers == "images and seeds", "E's seeds tell what seeds do"


@pytest.mark.parametrize("start", range(6))
def test_verdict_interval_p_and_ranks_are_one(start):
    rng = np.random.default_rng(start)
    base = rng.normal(size=400)
    right = {
        str(m): base + 0.6 * rng.normal(size=(int(rng.integers(1, 4)), 400)) + rng.normal() / 2 > 0
        for m in range(8)
    }
    found = decide(right)
    better = dict.fromkeys(found.names, 0)
    worse = dict(better)
    for pair in found.pairs:
        assert pair.apart == (pair.low > 0 or pair.high < 0) == (pair.p < 0.05)
        if pair.apart:
            up, down = (pair.a, pair.b) if pair.difference > 0 else (pair.b, pair.a)
            better[down] += 1
            worse[up] += 1
    assert found.best == tuple(1 + better[name] for name in found.names)
    assert found.worst == tuple(8 - worse[name] for name in found.names)
    assert any(pair.apart for pair in found.pairs)


def test_a_pair_is_the_same_from_both_sides():
    found = decide(one_seed())
    one, other = found.between("A", "B"), found.between("B", "A")
    assert (one.difference, one.low, one.high) == (-other.difference, -other.high, -other.low)
    assert one.p == other.p
    with pytest.raises(KeyError):
        found.between("A", "A")


def test_groups_of_duplicates_count_once():
    right = {n: np.concatenate([rows[:, :500]] * 4, 1) for n, rows in one_seed().items()}
    alone = decide({n: rows[:, :500] for n, rows in right.items()})
    grouped = decide(right, np.tile(np.arange(500), 4))
    fooled = decide(right)
    wide, same = (found.pairs[0].alone for found in (alone, grouped))
    # The made-up image is one of 500 or of 2,000.
    assert same == pytest.approx(wide, rel=0.01)
    assert fooled.pairs[0].alone < 0.6 * wide
    assert grouped.units == 500


def test_images_of_one_group_are_refused():
    with pytest.raises(InputError, match="tell nothing apart"):
        decide({"A": np.ones((2, 5), bool)}, np.zeros(5, int))


def test_rows_alone_give_wider_intervals_than_images():
    rng = np.random.default_rng(2)
    base = rng.normal(size=300)
    right = {str(m): base + 0.5 * rng.normal(size=(3, 300)) + 1 > 0 for m in range(3)}
    found = decide(right)
    rough = row_intervals([rows.mean(1).tolist() for rows in right.values()], 300)
    for (low, high), fine_low, fine_high in zip(rough, found.low, found.high, strict=True):
        assert high - low > 0.95 * (fine_high - fine_low)
        assert low < fine_high
        assert fine_low < high


def test_perfect_runs_keep_a_width():
    ((low, high),) = row_intervals([[1.0, 1.0]], 50)
    assert high == 1.0
    assert 0.85 < low < 0.95


@pytest.fixture
def simulation(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import judgement as found

    yield found
    for name in ("judgement", "_lines"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("images", "seeds", "noise", "width"), [(300, 3, 2.0, 9), (1000, 2, 1.0, 7)]
)
def test_intervals_hold_what_they_say_and_no_more(simulation, images, seeds, noise, width):
    # With the reference's single degree of freedom two seeds had intervals twice as wide.
    # 150 studies of 21 pairs: 95 % within 93 to 97 and some; a family error of 5 % shows below 10.
    found = simulation.judged(0.9, images, seeds, noise, 150)
    assert 92.5 <= found["coverage"] <= 98
    assert 92.5 <= found["accuracy_coverage"] <= 98.5
    assert found["family_error"] <= 9
    assert found["half_width"] <= width


def test_a_gain_over_new_seeds_and_images_is_covered(simulation):
    # Both of one true accuracy: the gain is 0.
    held = 0
    for right, _ in simulation.studies(0.9, 300, 3, 2.0, 300):
        found = paired_gain(right[0], right[1])
        held += found["low"] <= 0 <= found["high"]
    assert 0.92 <= held / 300 <= 0.99
