import math

import pytest

from foldtune.analysis.effective import fit_baseline, logit, read_baselines
from foldtune.analysis.frontier import (
    Point,
    crossings,
    frontier,
    read_published,
    reference,
    shift_at,
)
from foldtune.errors import InputError


def curve(*pairs):
    return [Point(home, shift) for home, shift in pairs]


def test_frontier_holds_what_nothing_beats_by_rising_home():
    points = curve((1, 9), (2, 8), (2, 7), (3, 8), (4, 2), (3.5, 1))
    assert frontier(points) == curve((1, 9), (3, 8), (4, 2))


def test_equal_points_stay_once():
    assert frontier([Point(1, 1, "a"), Point(1, 1, "b")]) == [Point(1, 1, "a")]
    assert frontier([]) == []


def test_between_two_points_the_frontier_is_a_line():
    points = curve((70, 60), (80, 50))
    assert shift_at(points, 75) == pytest.approx(55)
    assert shift_at(points, 80) == 50
    assert shift_at(points, 10) == 60
    assert shift_at(points, 80.1) is None
    assert shift_at([], 1) is None


def test_crossings_are_where_the_lead_changes():
    a, b = curve((0, 10), (10, 0)), curve((0, 8), (10, 4))
    assert crossings(a, b) == pytest.approx([10 / 3])
    assert crossings(a, curve((0, 11), (10, 1))) == []
    # Frontiers that only touch, here at their end, change no places.
    assert crossings(a, curve((0, 8), (10, 0))) == []


def test_the_published_claim_holds_only_at_high_accuracy_at_home():
    # Study A: full fine-tuning leads above 76.5 % on ImageNet, LoRA below, on frontiers.
    told = reference()
    (place,) = told["changes_places_at"]
    assert place == pytest.approx(76.5, abs=0.05)
    for row in told["leads"]:
        assert row["better"] == ("lora_32" if row["home"] < place else row["better"])
        if row["home"] > place:
            assert row["better"] in ("full", "full alone gets there")
    single = {row["method"]: float(row["mean_shift"]) for row in told["methods"]}
    # Without the ensemble full fine-tuning is the least robust of all.
    assert min(single, key=single.get) == "full"


def test_published_curves_agree_with_the_published_table():
    table = {row["method"]: row for row in read_published("robustness")}
    for row in read_published("wise_curves"):
        best = table[row["method"]]
        if float(row["alpha"]) == float(best["wise_best_alpha_by_ID+OODmean"]):
            assert (row["home"], row["shift"]) == (
                f"{float(best['wise_ID']):.2f}",
                f"{float(best['wise_OODmean']):.2f}",
            )


# -- effective robustness --------------------------------------------------------------------------


def test_a_model_on_the_baseline_has_no_effective_robustness():
    points = [Point(p, 1 / (1 + math.exp(-(0.8 * logit(p) - 1)))) for p in (0.3, 0.6, 0.9)]
    line = fit_baseline(points)
    assert (line.slope, line.intercept) == pytest.approx((0.8, -1))
    assert line.effective(points[1].home, points[1].shift) == pytest.approx(0)
    assert line.effective(0.6, line.predict(0.6) + 0.05) == pytest.approx(0.05)


def test_one_point_or_an_infinite_logit_is_no_baseline():
    with pytest.raises(InputError, match="give no line"):
        fit_baseline([Point(0.5, 0.4), Point(0.5, 0.3)])
    with pytest.raises(InputError, match="no finite logit"):
        fit_baseline([Point(0.5, 0.0), Point(0.7, 0.3)])


def test_baselines_are_read_by_shift(tmp_path):
    path = tmp_path / "b.csv"
    path.write_text("model,home,art,sketch\na,0.7,0.5,\nb,0.8,0.6,0.4\n")
    found = read_baselines(path)
    assert found == {
        "art": [Point(0.7, 0.5, "a"), Point(0.8, 0.6, "b")],
        "sketch": [Point(0.8, 0.4, "b")],
    }
    path.write_text("home,art\n70 %,0.5\n")
    with pytest.raises(InputError, match="line 2"):
        read_baselines(path)
    path.write_text("id,art\n0.7,0.5\n")
    with pytest.raises(InputError, match="needs a column home"):
        read_baselines(path)
    with pytest.raises(InputError, match="no baselines at"):
        read_baselines(tmp_path / "absent.csv")
