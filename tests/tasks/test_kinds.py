"""Tasks are read from text, read labels as texts, and are recognised where that is certain."""

import numpy as np
import pytest

from foldtune.errors import InputError
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression, SingleLabel
from foldtune.tasks.parsing import is_task, parse_task
from foldtune.tasks.recognition import recognise, settled_task

EVERY = (
    SingleLabel(), MultiLabel(), MultiLabel(separator=";"), Ordinal(), Ordinal(("low", "high")),
    Regression(), Regression(mean=2.5, std=1.25, span=7.0),
)  # fmt: skip


@pytest.mark.parametrize("task", EVERY, ids=repr)
def test_a_task_is_rebuilt_by_its_repr(task):
    assert parse_task(repr(task)) == task
    assert is_task(repr(task).lower().split("(")[0])


@pytest.mark.parametrize(
    "text",
    ["Classes", "MultiLabel(separator='x')", "Ordinal(levels=('a',))", "Regression(std=0)",
     "Ordinal(levels=", "Regression(mean=__import__('os'))", "MultiLabel('|')", "Ordinal(rank=2)"],
)  # fmt: skip
def test_what_is_no_task_is_refused(text):
    with pytest.raises(InputError):
        parse_task(text)


def test_several_labels_become_marks():
    task, texts = MultiLabel(), ("", "cat|dog", "dog")
    names = task.outputs(texts)
    assert names == ("cat", "dog")
    found = task.targets(texts, np.array([1, 0, 2]), names)
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [0, 1]])


def test_grades_are_in_order_of_numbers_or_as_said():
    assert Ordinal().outputs(("10", "2", "1")) == ("1", "2", "10")
    assert Ordinal(("low", "high")).outputs(("high", "low")) == ("low", "high")
    with pytest.raises(InputError, match="order is not known"):
        Ordinal().outputs(("high", "low"))
    with pytest.raises(InputError, match="none of the 2 known"):
        Ordinal(("low", "high")).outputs(("high", "middle"))


def test_numbers_are_told_in_their_own_unit():
    task = Regression().for_targets(np.array([2.0, 4.0, 6.0]))
    assert (task.mean, task.span) == (4.0, 4.0)
    assert task.answers(np.array([[0.0], [1.0]])) == pytest.approx([4.0, 4.0 + task.std])
    with pytest.raises(InputError, match="no number"):
        task.targets(("1.5", "tall"), np.array([0, 1]), ("value",))
    with pytest.raises(InputError, match="one number"):
        Regression().for_targets(np.array([3.0, 3.0]))


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (["0.5", "1.25", "2.75", "0.1", "0.2", "0.3", "0.4", "3"], Regression()),
        (["a|b", "b", "a", "c"], MultiLabel()),
        (["a;b", "b;c", "a"], MultiLabel(";")),
        (["daisy", "rose", "daisy"], None),
        (["0", "1", "2", "3"], None),
        (["wolf, gray", "fox, red"], None),
    ],
)
def test_labels_say_what_they_are_where_it_is_certain(labels, wanted):
    assert recognise(labels) == (wanted, "")


def test_labels_that_may_be_two_things_are_asked_for():
    found, doubt = recognise(["bus, red", "car, red", "car"])
    assert found is None
    with pytest.raises(InputError, match=r"table.csv: .*one name or several.*--task"):
        settled_task(None, found, doubt, "table.csv")
    assert settled_task(SingleLabel(), found, doubt, "table.csv") == SingleLabel()


def test_numbers_with_a_fraction_are_no_classes():
    with pytest.raises(InputError, match="numbers to predict, which are no classes"):
        settled_task(SingleLabel(), Regression(), "", "table.csv")
