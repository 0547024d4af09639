"""Rules of answering on real tunings: what they are chosen on, what is refused, by name."""

import shutil

import numpy as np
import pytest

import foldtune
from foldtune.backbones import load_backbone
from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.options.groups import AnswerOptions
from foldtune.study.fit import fit
from foldtune.study.results.artefacts import TUNING, VALIDATION
from foldtune.study.results.logits import read_logits
from foldtune.study.tuned.rules import read_costs, with_rule
from foldtune.tasks.metrics import Judged
from foldtune.training.recipe import Recipe
from foldtune.tunings.tuning import header_of
from study.pictures import SIDE, write_set

RECIPE = Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3)
WANTED = 0.8


def _made(folder, kind, task=None):
    spec = write_set(folder / "set", kind)
    return load_data(spec, size=SIDE, cache=folder / "cache", task=task)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """A fit of several labels, and its data."""
    folder = tmp_path_factory.mktemp("several")
    data = _made(folder, "several")
    fit(data, load_backbone("micro", size=SIDE), "BitFit", out=folder / "fit", recipe=RECIPE)
    return folder, data


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grade")
    data = _made(folder, "grade", "ordinal")
    fit(data, load_backbone("micro", size=SIDE), "BitFit", out=folder / "fit", recipe=RECIPE)
    return folder, data


def table(path, names, costs, order=None):
    """A CSV of costs, its columns in another order than its rows."""
    order = order or names[::-1]
    lines = [",".join(["true", *order])]
    for name in names:
        row = [str(costs[names.index(name)][names.index(other)]) for other in order]
        lines.append(",".join([name, *row]))
    path.write_text("\n".join(lines) + "\n")
    return path


def pictures(folder, data, many=12):
    return [folder / "set" / data.names[row] for row in data.split("test")[:many]]


def test_thresholds_reach_the_wanted_precision_on_validation(several):
    path = several[0] / "fit" / TUNING
    task = with_rule(path, header_of(path), AnswerOptions(at_precision=WANTED))
    kept = read_logits(path.parent / VALIDATION)
    judged = Judged(task, kept.logits, kept.labels)
    for k, at in enumerate(task.thresholds):
        said = judged.shares[:, k] >= at
        if np.isinf(at):  # no threshold does it
            for other in judged.shares[:, k]:
                assert judged.marks[judged.shares[:, k] >= other, k].mean() < WANTED
            continue
        assert judged.marks[said, k].mean() >= WANTED
        for other in judged.shares[:, k]:  # none that does it finds more, or as many with fewer
            also = judged.shares[:, k] >= other
            if judged.marks[also, k].mean() >= WANTED:
                held, others = (judged.marks[one, k].sum() for one in (said, also))
                assert (held, -said.sum()) >= (others, -also.sum())


def test_predict_and_eval_answer_by_the_thresholds(several):
    folder, data = several
    told, heard = foldtune.evaluate(folder / "fit", data.facts["source"], at_precision=WANTED,
                                    cache=folder / "cache"), []  # fmt: skip
    thresholds = told["judgement"]["thresholds"]
    assert list(thresholds) == list(data.outputs)
    rows = foldtune.predict(
        folder / "fit", pictures(folder, data), at_precision=WANTED, say=heard.append
    )
    for row in rows:
        wanted = [n for n, at in thresholds.items()
                  if at is not None and row["probabilities"][n] >= at]  # fmt: skip
        assert row["labels"] == wanted
    assert bool(heard) == (None in thresholds.values())
    half, low = (
        foldtune.predict(folder / "fit", pictures(folder, data), threshold=at) for at in (0.5, 1e-6)
    )
    plain = foldtune.predict(folder / "fit", pictures(folder, data))
    assert [row["labels"] for row in half] == [row["labels"] for row in plain]
    assert all(row["labels"] == list(data.outputs) for row in low)


def test_without_validation_logits_it_is_said_what_to_do(several, tmp_path):
    folder, data = several
    shutil.copyfile(folder / "fit" / TUNING, tmp_path / TUNING)
    with pytest.raises(InputError, match=r"no validation logits beside it.*or say --threshold"):
        foldtune.predict(tmp_path / TUNING, pictures(folder, data), at_precision=WANTED)


def test_grades_are_answered_by_cost_and_eval_says_what_they_cost(grades, tmp_path):
    folder, data = grades
    names = list(data.outputs)
    dear = np.ones((4, 4)) - np.eye(4)
    dear[:, :3] = 50.0  # anything but the highest grade is dear
    path = table(tmp_path / "costs.csv", names, dear.tolist())
    rows = foldtune.predict(folder / "fit", pictures(folder, data), cost=path)
    assert {row["class"] for row in rows} == {names[-1]}
    told = foldtune.evaluate(
        folder / "fit", data.facts["source"], cost=path, task="ordinal", cache=folder / "cache"
    )
    cost = told["judgement"]["cost"]
    targets = data.targets[data.split("test")]
    assert cost["mean"] == pytest.approx(dear[targets, 3].mean(), abs=1e-12)
    assert cost["mean"] < cost["mean_of_likeliest"]
    assert cost["accuracy"] == pytest.approx((targets == 3).mean(), abs=1e-12)
    assert told["accuracy"] == cost["accuracy"]  # every figure is of the same answers


def test_what_has_no_meaning_is_refused_by_name(several, grades, tmp_path):
    folder, data = several
    images = pictures(folder, data)
    with pytest.raises(InputError, match="--cost has a meaning for one of several classes"):
        foldtune.predict(folder / "fit", images, cost=tmp_path / "costs.csv")
    with pytest.raises(InputError, match="--at-precision has a meaning for several labels"):
        foldtune.predict(grades[0] / "fit", images, at_precision=0.9)
    with pytest.raises(InputError, match="--threshold has a meaning for several labels"):
        foldtune.evaluate(grades[0] / "fit", data.facts["source"], threshold=0.4)
    with pytest.raises(InputError, match="--threshold and --at-precision do not go together"):
        foldtune.predict(folder / "fit", images, threshold=0.4, at_precision=0.9)
    with pytest.raises(InputError, match="--at-precision and --tta do not go together"):
        foldtune.predict(folder / "fit", images, tta="flip", at_precision=0.9)
    with pytest.raises(InputError, match="--at-precision 90 is no share"):
        foldtune.predict(folder / "fit", images, at_precision=90)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("t,a\na,0\nb,1\n", "first line, lacks 'b'"),
        ("t,a,b\na,0,1\n", "first column, lacks 'b'"),
        ("t,a,b,c\na,0,1,2\nb,1,0,2\n", "names 'c' in excess"),
        ("t,a,b,a\na,0,1,2\nb,1,0,2\n", "in excess"),
        ("t,a,b\na,0\nb,1,0\n", "a has 1 costs, and there are 2 classes"),
        ("t,a,b\na,0,dear\nb,1,0\n", "a has 'dear' where a cost is a number"),
        ("t,a,b\na,0,inf\nb,1,0\n", "a has 'inf' where a cost is a number"),
    ],
)
def test_a_wrong_table_of_costs_is_refused_by_its_place(tmp_path, text, said):
    path = tmp_path / "costs.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        read_costs(path, ["a", "b"])


def test_costs_are_in_the_order_of_the_classes(tmp_path):
    path = table(tmp_path / "costs.csv", ["b", "a"], [[0, 5], [7, 0]])
    assert read_costs(path, ["a", "b"]) == ((0.0, 7.0), (5.0, 0.0))
    with pytest.raises(InputError, match="no table of costs"):
        read_costs(tmp_path / "none.csv", ["a"])
