"""Agreement is what it says, image by image, and stands beside that of other seeds."""

from itertools import combinations, product

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from analysis.panels import made, of_predictions
from foldtune.analysis.agreement import agreement, oracle
from foldtune.analysis.bootstrap import resamples
from foldtune.analysis.confident import confident_sets, overlaps, set_size, venn
from foldtune.analysis.panel import Member, Panel
from foldtune.errors import InputError


def rows_of(panel, draws=100):
    found = agreement(panel, resamples(len(panel.labels), draws))
    return {(row["a"], row["b"]): row for row in found}


def test_figures_of_one_seed_are_those_counted_by_hand():
    panel = of_predictions([0, 0, 1, 1, 2], A=[0, 1, 1, 2, 0], B=[0, 1, 2, 2, 1])
    row = rows_of(panel)["A", "B"]
    assert row["agreement"]["value"] == pytest.approx(3 / 5)
    assert row["equal_mistakes"]["value"] == pytest.approx(2 / 5)
    assert row["given_both_wrong"]["value"] == pytest.approx(2 / 3)
    kappa = cohen_kappa_score([0, 1, 1, 2, 0], [0, 1, 2, 2, 1])
    assert row["kappa"]["value"] == pytest.approx(kappa)
    assert row["seeds_agreement"] is None


@pytest.mark.parametrize("pair", [("A", "B"), ("B", "B")])
def test_several_seeds_are_averaged_over_their_pairs(pair):
    panel = made(seeds=3)
    a, b = (panel.predictions[name] for name in pair)
    seeds = list(combinations(range(3), 2)) if pair[0] == pair[1] else product(range(3), repeat=2)
    wanted = np.mean([(a[s] == b[t]).mean() for s, t in seeds])
    row = rows_of(panel)[pair]
    assert row["agreement"]["value"] == pytest.approx(wanted)
    assert row["control"] is (pair[0] == pair[1])


def test_kappa_of_the_control_is_that_of_its_two_seeds():
    panel = made(seeds=2)
    wanted = cohen_kappa_score(*panel.predictions["A"])
    assert rows_of(panel)["A", "A"]["kappa"]["value"] == pytest.approx(wanted, abs=1e-5)


def test_methods_that_differ_more_than_seeds_are_named():
    row = rows_of(made(images=400))["A", "B"]
    assert row["differs"]
    assert row["beyond_seeds"]["value"] == pytest.approx(
        row["agreement"]["value"] - row["seeds_agreement"]["value"]
    )
    assert row["agreement"]["low"] < row["agreement"]["value"] < row["agreement"]["high"]


def test_one_method_under_two_names_does_not_differ():
    panel = made(methods=1, seeds=4, images=400)
    runs = panel.runs["A"]
    twins = Panel(panel.labels, {"A": runs[:2], "B": runs[2:]})
    assert not rows_of(twins)["A", "B"]["differs"]


def test_intervals_of_agreement_cover_what_new_images_give():
    truth = made(images=20_000, seed=1)
    wanted = (truth.predictions["A"][0] == truth.predictions["B"][0]).mean()
    covered = 0
    for start in range(0, 20_000, 200):
        some = slice(start, start + 200)
        part = Panel(
            truth.labels[some],
            {n: [Member(n, 0, truth.runs[n][0].logits[some])] for n in "AB"},
        )
        row = rows_of(part)["A", "B"]["agreement"]
        covered += row["low"] <= wanted <= row["high"]
    assert 88 <= covered <= 100


def test_oracle_counts_images_that_any_method_gets_right():
    panel = of_predictions([0, 0, 0, 0], A=[[0, 1, 1, 1]] * 2, B=[[0, 0, 1, 1], [0, 0, 0, 1]])
    told = oracle(panel, resamples(4, 50))
    assert told["all_methods"]["value"] == pytest.approx((2 / 4 + 3 / 4) / 2)
    assert told["best_method"]["value"] == pytest.approx(5 / 8)
    # Two members each: A and B of one seed, against A's own seeds (1/4) and B's own (3/4).
    assert told["members"] == 2
    assert told["methods_at"]["value"] == pytest.approx(5 / 8)
    assert told["seeds"]["value"] == pytest.approx((1 / 4 + 3 / 4) / 2)


def test_most_confident_sets_hold_the_surest_right_and_wrong_images():
    labels = np.array([0, 0, 0, 0])
    sure = np.array([3.0, 1.0, 2.0, 4.0], np.float32)
    logits = np.stack([sure, -sure], 1)
    logits[3] *= -1  # wrong, and surest of all
    panel = Panel(labels, {"A": [Member("A", 0, logits)]})
    k, sets = confident_sets(panel, 2, right=True)
    assert (k, sets["A"][0].tolist()) == (2, [True, False, True, False])
    k, sets = confident_sets(panel, 2, right=False)
    assert (k, sets["A"][0].tolist()) == (1, [False, False, False, True])


def test_overlap_and_venn_count_images():
    sets = {
        "A": np.array([[1, 1, 0, 0, 0]], bool),
        "B": np.array([[1, 0, 1, 0, 0]], bool),
        "C": np.array([[1, 0, 0, 1, 0]], bool),
    }
    rows = overlaps(sets, resamples(5, 50))
    assert [row["jaccard"]["value"] for row in rows] == pytest.approx([1 / 3] * 3)
    regions = venn(sets, ("A", "B", "C"))["regions"]
    assert regions == {
        "A": 1, "B": 1, "A & B": 0, "C": 1, "A & C": 0, "B & C": 0, "A & B & C": 1
    }  # fmt: skip


def test_overlap_of_seeds_leaves_out_each_with_itself():
    seeds = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)
    (row,) = overlaps({"A": seeds}, resamples(4, 50))
    assert row["control"]
    assert row["jaccard"]["value"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("most", "size"), [(0.25, 25), (3, 3), (500, 100)])
def test_how_many_is_a_number_or_a_share(most, size):
    assert set_size(most, 100) == size


@pytest.mark.parametrize("most", [0, -1, 2.5])
def test_how_many_refuses_what_is_neither(most):
    with pytest.raises(InputError, match="share below 1"):
        set_size(most, 100)


def test_one_run_alone_has_no_pairs():
    panel, counts = made(methods=1, seeds=1), resamples(200, 20)
    assert agreement(panel, counts) == []
    assert overlaps(confident_sets(panel, 5, right=True)[1], counts) == []
    assert oracle(panel, counts)["members"] is None


def test_methods_that_differ_as_seeds_do_are_not_called_different():
    # Six methods of one making: of 60 studies at most a few may name any of 15 pairs.
    named = 0
    for start in range(60):
        panel = made(methods=6, seeds=3, images=150, own=0.0, noise=0.6, seed=start)
        named += any(row["differs"] for row in agreement(panel, resamples(150, 2)))
    assert named <= 5


def test_groups_of_images_count_once_in_what_seeds_explain():
    panel = made(images=100)
    four = Panel(
        np.tile(panel.labels, 4),
        {n: [Member(n, m.seed, np.tile(m.logits, (4, 1))) for m in group]
         for n, group in panel.runs.items()},
    )  # fmt: skip

    def width(panel, groups):
        row = agreement(panel, resamples(len(panel.labels), 5), groups)[1]["beyond_seeds"]
        return row["high"] - row["low"]

    alone, same = width(panel, None), width(four, np.tile(np.arange(100), 4))
    # The made-up image is one of 100 or of 400.
    assert same == pytest.approx(alone, rel=0.05)
    assert width(four, None) < 0.7 * alone


def test_resamples_of_groups_draw_their_images_together():
    counts = resamples(6, 50, groups=np.array([0, 0, 1, 2, 2, 2]))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 5]).all()
    assert (counts[:, [0, 2, 3]].sum(1) == 3).all()


def test_a_panel_refuses_other_images():
    with pytest.raises(InputError, match="same images"):
        Panel(np.zeros(3, int), {"A": [Member("A", 0, np.zeros((2, 2), np.float32))]})
