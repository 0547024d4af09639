"""One trial is chosen, by a stated rule; what a budget bought is told; two means are kept apart."""

import pytest

from foldtune.analysis.leaderboard import chosen_trial, leaderboard
from foldtune.analysis.selection import TIES, best_after, configurations, means, rank_trials
from foldtune.errors import InputError


def trial(val, lr=1e-3, *, number=0, trainable=10, stage="trial", verdict="finished", epochs=2):
    return {
        "run": f"{stage}{number}{lr}{epochs}", "stage": stage, "label": "A", "method": "A()",
        "recipe": {"lr": lr, "weight_decay": 1e-4, "epochs": epochs, "warmup_epochs": epochs / 10},
        "verdict": verdict, "val_accuracy": val, "trainable": trainable, "trial": number,
        "curve": [{"epoch": epoch} for epoch in range(epochs + 1)],
    }  # fmt: skip


def test_ties_go_to_fewer_parameters_then_the_smaller_rate_then_the_earlier():
    rows = [trial(0.8, 1e-2), trial(0.8, 1e-3), trial(0.8, 1e-3), trial(0.8, 1.0, trainable=5)]
    assert rank_trials(rows) == [3, 1, 2, 0]


def test_equal_rates_are_parted_by_the_smaller_decay():
    rows = [trial(0.8, number=n) for n in range(3)]
    for row, decay in zip(rows, (1e-2, 0.0, 1e-4), strict=True):
        row["recipe"]["weight_decay"] = decay
    assert rank_trials(rows) == [1, 2, 0]
    assert rank_trials(rows, "lr") == [0, 1, 2]  # which knows the rate alone
    del rows[0]["recipe"]["weight_decay"]  # of a method without one: none
    assert rank_trials(rows) == [0, 1, 2]


def test_the_rules_of_the_papers_choose_otherwise():
    rows = [trial(0.8, 1e-3, trainable=9), trial(0.8, 1e-4), trial(0.8, 1e-2)]
    assert rank_trials(rows, "lr")[0] == 1
    assert rank_trials(rows, "last")[0] == 2
    losses = [{**row, "val_loss": loss} for row, loss in zip(rows, [0.5, 0.4, 0.6], strict=True)]
    assert rank_trials(losses, "loss") == [1, 0, 2]
    assert rank_trials(rows)[0] == 0


@pytest.mark.parametrize("ties", TIES)
def test_a_trial_is_judged_by_its_last_epoch_never_by_its_best(ties):
    # Ahead at its first epoch, behind at its last; first wherever the order of storing decides.
    fell = trial(0.7, number=0) | {"val_best_accuracy": 0.95, "val_best_epoch": 1}
    held = trial(0.8, number=1) | {"val_best_accuracy": 0.8, "val_best_epoch": 2}
    assert rank_trials([fell, held], ties) == [1, 0]
    assert chosen_trial([held, fell], ties) is held
    assert best_after([fell, held]) == [0.7, 0.8]
    (entry,) = leaderboard([fell, held], ties)
    assert entry["run"] == held["run"]
    assert (entry["val_accuracy"], entry["val_best_accuracy"]) == (0.8, 0.8)


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="unknown rule for ties 'smal'; choose from: small"):
        rank_trials([], "smal")


def test_the_order_of_storing_decides_nothing():
    rows = [trial(0.8, number=n, lr=1e-3) for n in range(3)]
    assert chosen_trial(rows[::-1])["trial"] == 0
    assert chosen_trial(rows[::-1], "last")["trial"] == 2


def test_what_diverged_is_never_chosen_and_still_counts_as_a_trial():
    rows = [trial(None, number=0, verdict="diverged: at once"), trial(0.5, number=1)]
    assert rank_trials(rows) == [1]
    assert best_after(rows) == [None, 0.5]


def test_the_best_so_far_never_falls():
    rows = [trial(v, number=n) for n, v in enumerate([0.5, 0.4, 0.7, 0.6])]
    assert best_after(rows[::-1]) == [0.5, 0.5, 0.7, 0.7]


def test_a_short_rung_is_spent_budget_but_never_the_choice():
    rungs = [trial(0.9, 1e-2, stage="rung", number=0), trial(0.6, stage="rung", number=1)]
    (entry,) = leaderboard([*rungs, trial(0.7, number=1, epochs=6)])
    assert entry["val_accuracy"] == 0.7
    assert entry["trials"] == 2
    assert entry["epochs"] == 2 + 2 + 6
    assert entry["best_after"] == [0.7]


def test_a_row_read_back_is_the_same_configuration_as_a_fresh_one():
    rows = [trial(0.9, stage="rung"), trial(0.7, epochs=6)]
    rows[0]["recipe"]["betas"], rows[1]["recipe"]["betas"] = (0.9, 0.99), [0.9, 0.99]
    assert configurations(rows) == 1


def test_a_study_stopped_among_its_rungs_has_a_board():
    (entry,) = leaderboard([trial(0.9, stage="rung")])
    assert entry["val_accuracy"] is None


def test_both_means_are_told_and_none_where_a_task_is_missing():
    groups = {"one": ["a", "b", "c"], "other": ["d"]}
    found = means({"a": 0.1, "b": 0.2, "c": 0.3, "d": 1.0}, groups)
    assert found["mean_of_tasks"] == pytest.approx(0.4)
    assert found["mean_of_groups"] == pytest.approx(0.6)
    part = means({"a": 0.1, "b": 0.2, "c": 0.3}, groups)
    assert part["mean_of_tasks"] is part["mean_of_groups"] is None
    assert part["groups"]["one"] == pytest.approx(0.2)
