"""Confusions, classes, thresholds and the unsure, beside scikit-learn and plain counting."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from foldtune.analysis.judgement.classes import parts, per_class
from foldtune.analysis.judgement.confusion import confusion, examples, in_order, largest
from foldtune.analysis.judgement.thresholds import (
    at,
    best_f1,
    curves,
    for_cost,
    for_precision,
    table,
)
from foldtune.analysis.judgement.unsure import left_out
from foldtune.analysis.panel import Member, Panel
from foldtune.tasks.kinds import MultiLabel, Ordinal

NAMES = ("ant", "bee", "cat", "dog")


def panel(images=200, seeds=2, seed=0, share=(0.4, 0.3, 0.2, 0.1), often=0.0):
    draw = np.random.default_rng(seed)
    labels = draw.choice(4, images, p=share)
    logits = draw.normal(size=(seeds, images, 4)).astype(np.float32)
    logits[:, np.arange(images), labels] += 1.5
    logits[:, labels == 3, 0] += 1.5  # dogs look like ants
    logits[:, :, 0] += often
    return Panel(labels, {"A": [Member("A", s, one) for s, one in enumerate(logits)]})


def test_examples_of_a_confusion_are_those_that_most_seeds_suffer():
    it = panel()
    said = np.stack([member.predictions for member in it.runs["A"]]) == 0
    every = examples(it, "A", 3, 0, most=1000)
    assert sorted(every) == np.flatnonzero((it.labels == 3) & said.any(0)).tolist()
    seeds = said.sum(0)[every].tolist()
    assert seeds == sorted(seeds, reverse=True)
    both = [k for k in every if said[:, k].all()]
    sure = np.mean([it.with_labels(member).shares[:, 0] for member in it.runs["A"]], axis=0)
    assert sure[both].tolist() == sorted(sure[both], reverse=True)
    assert examples(it, "A", 3, 0) == every[:4]


def test_confusion_is_scikit_learns_over_seeds():
    it = panel()
    wanted = np.mean([
        theirs.confusion_matrix(it.labels, member.predictions) for member in it.runs["A"]
    ], axis=0)  # fmt: skip
    np.testing.assert_array_equal(confusion(it, "A"), wanted)


def test_the_largest_confusion_is_named_and_neighbours_stand_together():
    it = panel(share=(0.25, 0.25, 0.25, 0.25))
    counts = confusion(it, "A")
    worst = largest(counts, NAMES, 1)[0]
    assert (worst["truth"], worst["said"]) == ("dog", "ant")
    assert worst["share"] == pytest.approx(counts[3, 0] / counts[3].sum())
    order = in_order(counts, it)
    assert abs(order.index(0) - order.index(3)) == 1
    graded = Panel(
        it.labels, {"A": [Member("A", 0, it.members[0].logits[:, :3])]}, Ordinal(), "mae"
    )
    assert in_order(counts, graded) == [0, 1, 2, 3]


def test_recall_and_precision_are_scikit_learns_inside_their_intervals():
    it = panel(seeds=1)
    said = it.members[0].predictions
    recall = theirs.recall_score(it.labels, said, average=None)
    precision = theirs.precision_score(it.labels, said, average=None)
    for k, row in enumerate(per_class(it, "A", NAMES)):
        assert row["recall"]["value"] == pytest.approx(recall[k], abs=1e-12)
        assert row["precision"]["value"] == pytest.approx(precision[k], abs=1e-12)
        for value in (row["recall"], row["precision"]):
            assert 0 <= value["low"] < value["value"] < value["high"] <= 1
    assert [row["images"] for row in per_class(it, "A", NAMES)] == np.bincount(it.labels).tolist()


def test_a_class_that_is_never_called_or_hardly_there_has_no_interval():
    logits = np.tile([2.0, 1.0, 0.0], (6, 1)).astype(np.float32)
    it = Panel(np.array([0, 0, 0, 0, 0, 1]), {"A": [Member("A", 0, logits)]})
    rows = per_class(it, "A", NAMES[:3])
    assert rows[1]["precision"]["value"] is None
    assert rows[1]["recall"] == {"value": 0.0, "low": None, "high": None}
    assert rows[2]["recall"]["value"] is None


def test_it_is_said_where_images_and_classes_part():
    rare = panel(share=(0.85, 0.05, 0.05, 0.05), often=2.0)
    found = parts(rare, "A")
    right = rare.right["A"].mean(0)
    assert found["images"] == pytest.approx(right.mean())
    each = [right[rare.labels == k].mean() for k in range(4)]
    assert found["classes"] == pytest.approx(np.mean(each))
    even = panel()
    assert parts(Panel(even.labels, {"A": [Member("A", 0, np.eye(4)[even.labels])]}), "A") is None


def test_several_labels_have_recall_and_precision_each():
    draw = np.random.default_rng(2)
    truth = (draw.random((80, 3)) < 0.4).astype(np.float32)
    logits = (draw.normal(size=truth.shape) + 2 * truth - 1).astype(np.float32)
    it = Panel(truth, {"A": [Member("A", 0, logits)]}, MultiLabel(), "map")
    recall = theirs.recall_score(truth, logits >= 0, average=None)
    found = [row["recall"]["value"] for row in per_class(it, "A", NAMES[:3])]
    assert found == pytest.approx(recall.tolist(), abs=1e-12)


def test_thresholds_reach_what_they_are_chosen_for():
    draw = np.random.default_rng(1)
    marks = draw.random(300) < 0.3
    shares = 1 / (1 + np.exp(-(draw.normal(size=300) + 1.5 * marks)))
    every = np.unique(shares)
    best = best_f1(marks, shares)
    f1 = [theirs.f1_score(marks, shares >= t) for t in every]
    assert theirs.f1_score(marks, shares >= best) == pytest.approx(max(f1))
    sure = for_precision(marks, shares, 0.9)
    able = [at(marks, shares, t) for t in every]
    wanted = max(row["recall"] for row in able if (row["precision"] or 0) >= 0.9)
    assert at(marks, shares, sure)["recall"] == pytest.approx(wanted)
    assert at(marks, shares, sure)["precision"] >= 0.9
    # It took the lowest of equal ones: a threshold of 0.002 where all from 0.998 on were right.
    alike = [t for t, row in zip(every, able, strict=True)
             if (row["precision"] or 0) >= 0.9 and row["recall"] == wanted]  # fmt: skip
    assert sure == max(alike)
    assert for_precision(marks & False, shares, 0.9) is None
    for missed in (0.2, 1.0, 8.0):

        def cost(threshold, missed=missed):
            said = shares >= threshold
            return (said & ~marks).sum() + missed * (marks & ~said).sum()

        assert cost(for_cost(marks, shares, missed)) == min(map(cost, [*every, 2.0]))


def test_a_table_of_thresholds_is_chosen_on_one_half_and_judged_on_the_other():
    it = panel(seeds=2)
    one, other = (it.with_labels(member) for member in it.runs["A"])
    rows = table(one, other, NAMES)
    for k, row in enumerate(rows):
        assert row["f1_threshold"] == best_f1(one.marks[:, k], one.shares[:, k])
        reached = at(other.marks[:, k], other.shares[:, k], row["f1_threshold"])
        assert (row["f1_precision"], row["f1_recall"]) == tuple(reached.values())


def test_curves_end_where_scikit_learns_do():
    precision, roc = curves(panel().with_labels(panel().members[0]), NAMES)
    for name in NAMES:
        own = [row for row in roc if row["label"] == name]
        assert (own[0]["false"], own[0]["true"]) == (0.0, 0.0)
        assert (own[-1]["false"], own[-1]["true"]) == (1.0, 1.0)
        assert [row for row in precision if row["label"] == name][-1]["recall"] == 0.0


def test_leaving_out_the_least_sure_leaves_the_accuracy_of_the_rest():
    it = panel(seeds=1)
    found = left_out(it, "A", (0.25,))
    member, right = it.members[0], it.right["A"][0]
    kept = np.argsort(-member.confidence, kind="stable")[:150]
    assert found[0]["accuracy"] == pytest.approx(right.mean())
    assert found[1]["accuracy"] == pytest.approx(right[kept].mean())
    assert found[1]["accuracy"] > found[0]["accuracy"]
