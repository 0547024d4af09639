"""Charts say what the rows say; colours and names keep their places."""

import fake
import pytest

from foldtune.analysis.leaderboard import chosen_trial, leaderboard
from foldtune.report import charts
from foldtune.report.labels import place_labels
from foldtune.report.sections.accuracy import accuracy_chart
from foldtune.report.sections.training import training_chart
from foldtune.report.sections.tuning import tuning_chart


@pytest.fixture(scope="module")
def rows():
    return list(fake.rows())


def _values(chart):
    return chart.to_dict()["data"]["values"]


def test_a_new_method_moves_no_colour(rows):
    before = charts.colours(row for row in rows if row["label"] != "Full")
    after = charts.colours(rows)
    assert {label: after[label] for label in before} == before


def test_every_chart_gives_a_method_the_same_colour(rows):
    palette = charts.colours(rows)
    drawn = [
        accuracy_chart(leaderboard(rows), palette),
        training_chart(rows, palette),
        tuning_chart(rows, palette),
    ]
    for chart in drawn:
        scale = chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]
        assert dict(zip(scale["domain"], scale["range"], strict=True)) == palette


def test_accuracy_shows_the_board(rows):
    board = leaderboard(rows)
    values = _values(accuracy_chart(board, charts.colours(rows)))
    assert [v["test_accuracy"] for v in values] == [e["test_accuracy"] for e in board]
    assert sum(v["winner"] for v in values) == 1


def test_training_curves_end_at_the_figure_of_the_chosen_trial(rows):
    values = _values(training_chart(rows, charts.colours(rows)))
    for label in charts.colours(rows):
        trials = [row for row in rows if row["label"] == label and row["stage"] == "trial"]
        (end,) = [v["accuracy"] for v in values if v["label"] == label and v["last"]]
        assert end == chosen_trial(trials)["val_accuracy"]


def test_a_diverged_trial_counts_as_spent(rows):
    values = _values(tuning_chart(rows, charts.colours(rows)))
    assert [v["trials"] for v in values if v["label"] == "Full"] == [1, 2, 3, 4]


def test_tuning_never_falls(rows):
    values = _values(tuning_chart(rows, charts.colours(rows)))
    for label in charts.colours(rows):
        reached = [v["accuracy"] for v in values if v["label"] == label]
        assert reached == sorted(reached)


def test_zero_parameters_have_a_place_on_the_axis(rows):
    board = leaderboard(rows)
    encoding = accuracy_chart(board, charts.colours(rows)).to_dict()["layer"][0]["encoding"]
    assert encoding["x"]["scale"]["type"] == "symlog"
    some = [entry for entry in board if entry["trainable"]]
    encoding = accuracy_chart(some, charts.colours(rows)).to_dict()["layer"][0]["encoding"]
    assert encoding["x"]["scale"]["type"] == "log"


def test_without_rows_there_is_no_chart():
    assert accuracy_chart([], {}) is None
    assert training_chart([], {}) is None
    assert tuning_chart([], {}) is None


def test_methods_in_one_spot_do_not_all_show_a_name():
    entry = {"label": "Method", "trainable": 10, "test_accuracy": 0.5, "low": 0.4, "high": 0.6}
    places = place_labels([entry] * 30)
    assert places[0]["shown"] == 1
    assert 0 < sum(place["shown"] for place in places) < 10
