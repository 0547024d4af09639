"""The probe: scikit-learn's own answer, a scale that is common, a penalty that is chosen."""

from inspect import signature

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from threadpoolctl import threadpool_info, threadpool_limits

from foldtune.errors import InputError
from foldtune.training import probe
from foldtune.training.probe import DEFAULT, PENALTIES, folds, solve_probe


def clouds(images, classes=4, channels=24, spread=2.0, seed=0):
    """Features (images, channels) of overlapping classes, channels of very different size."""
    draw = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = draw.normal(size=(classes, channels))
    features = centres[labels] + spread * draw.normal(size=(images, channels))
    return (features * np.geomspace(0.01, 3, channels)).astype(np.float32), labels


def scaled(features):
    return (features - features.mean(0)) / np.sqrt(features.astype(np.float64).var(0).mean())


def logits(found, features):
    return features @ found.weight.numpy().T + found.bias.numpy()


@pytest.mark.parametrize(("images", "channels"), [(60, 24), (20, 64)])
def test_it_is_scikit_learns_regression_on_one_common_scale(images, channels):
    features, labels = clouds(images, channels=channels)
    theirs = LogisticRegression(C=0.3, max_iter=1000, tol=1e-8).fit(scaled(features), labels)
    wanted = theirs.decision_function(scaled(features))
    found = logits(solve_probe(features, labels, 4, C=0.3), features)
    # Both stop at a gradient near zero, theirs nearer: 1e-8 against 1e-4.
    centred = found - found.mean(1, keepdims=True)
    np.testing.assert_allclose(centred, wanted - wanted.mean(1, keepdims=True), atol=5e-3)


def test_the_penalty_is_as_good_as_scikit_learns_by_likelihood():
    features, labels = clouds(80)
    unseen, truth = clouds(4000, seed=0, spread=2.0)
    # Which attributes it has, of the versions that ask for it.
    asked = {"l1_ratios": (0,), "use_legacy_attributes": True}
    known = signature(LogisticRegressionCV).parameters
    theirs = LogisticRegressionCV(
        Cs=PENALTIES,
        cv=5,
        scoring="neg_log_loss",
        max_iter=1000,
        **(asked if set(asked) <= set(known) else {}),
    ).fit(scaled(features), labels)
    found = solve_probe(features, labels, 4)
    assert found.C in PENALTIES
    assert found.nll is not None
    # Other folds may choose a neighbour among the penalties, half a decade away.
    assert abs(np.log10(found.C / theirs.C_[0])) < 0.6
    right = (logits(found, unseen).argmax(1) == truth).mean()
    scale = (unseen - features.mean(0)) / np.sqrt(features.astype(np.float64).var(0).mean())
    assert right > (theirs.predict(scale) == truth).mean() - 0.02


def test_a_channel_that_is_rare_gets_no_huge_weight():
    features, labels = clouds(24)
    features[:, 0] = 0.0
    features[3, 0] = 1e-3  # on in one image only
    found = solve_probe(features, labels, 4, C=1.0)
    # Standardised by itself this channel would weigh thousands of times as much as the others.
    assert found.weight[:, 0].abs().max() < found.weight.abs().max()


def test_noise_asks_for_a_strong_penalty_and_clear_classes_for_a_weak_one():
    noisy = solve_probe(*clouds(60, spread=30.0), 4)
    clear = solve_probe(*clouds(60, spread=0.5), 4)
    assert noisy.C < 0.01 < 1 <= clear.C
    assert noisy.nll == pytest.approx(np.log(4), abs=0.1)
    assert clear.nll < 0.3


def test_two_classes_and_absent_ones_are_solved():
    features, labels = clouds(40, classes=2, spread=0.3)
    found = solve_probe(features, labels * 2, 3)
    assert found.weight.shape == (3, 24)
    assert (logits(found, features).argmax(1) == labels * 2).all()


def test_one_image_a_class_has_a_stated_penalty():
    features, labels = clouds(4, spread=0.1)
    found = solve_probe(features, labels, 4)
    assert (found.C, found.nll) == (DEFAULT, None)
    assert (logits(found, features).argmax(1) == labels).all()


def test_the_same_images_and_seed_give_the_same_probe():
    features, labels = clouds(50)
    one, two = solve_probe(features, labels, 4), solve_probe(features, labels, 4)
    assert one.weight.equal(two.weight)
    assert (one.C, one.nll) == (two.C, two.nll)


def test_folds_keep_classes_even_and_are_no_more_than_the_rarest_class_has_images():
    labels = np.array([0] * 9 + [1] * 3 + [2] * 6)
    found = folds(labels, (), np.random.default_rng(0))
    assert found.max() + 1 == 3
    for label in range(3):
        counts = np.bincount(found[labels == label], minlength=3)
        assert counts.max() - counts.min() <= 1
    assert folds(np.arange(5), (), np.random.default_rng(0)) is None


def test_folds_part_no_group():
    labels, groups = np.arange(40) % 2, np.repeat([f"patient {i}" for i in range(8)], 5)
    found = folds(labels, groups, np.random.default_rng(0))
    assert all(len(set(found[groups == name])) == 1 for name in set(groups))
    assert found.max() + 1 == 5


def test_groups_keep_copies_of_an_image_from_choosing_the_penalty():
    """Each image five times over: told apart at once where copies are on both sides."""
    features, labels = clouds(40, spread=8.0)
    groups = np.repeat(np.arange(40), 5)
    features, labels = np.repeat(features, 5, 0), np.repeat(labels, 5)
    assert solve_probe(features, labels, 4, groups=groups).C < solve_probe(features, labels, 4).C


def test_many_images_choose_their_penalty_on_some(monkeypatch):
    features, labels = clouds(300, spread=6.0)
    every = solve_probe(features, labels, 4)
    monkeypatch.setattr(probe, "_MOST", 24)
    assert solve_probe(features, labels, 4).nll != every.nll


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan"), float("inf")])
def test_a_penalty_that_is_no_positive_number_is_refused(penalty):
    with pytest.raises(InputError, match="positive number"):
        solve_probe(*clouds(20), 4, C=penalty)


def test_images_of_one_class_are_refused():
    features, labels = clouds(10)
    with pytest.raises(InputError, match="all of one"):
        solve_probe(features, labels * 0, 4)


def threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_small_products_have_one_thread_and_large_ones_the_callers(monkeypatch):
    seen = []

    class Watched(LogisticRegression):
        def fit(self, *args):
            seen.append(threads())
            return super().fit(*args)

    monkeypatch.setattr(probe, "_regression", lambda C: Watched(C=C))
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    with threadpool_limits(2, user_api="blas"):
        solve_probe(features, np.arange(12) % 3, 3)
        assert seen
        assert set().union(*seen) == {1}
        monkeypatch.setattr(probe, "_SMALL", 1)
        seen.clear()
        solve_probe(features, np.arange(12) % 3, 3, C=1.0)
        assert seen == [{2}]
        assert threads() == {2}
