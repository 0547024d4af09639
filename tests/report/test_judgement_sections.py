"""The sections about one method's answers, of a study of classes that was made before them."""

import json

import judged
import numpy as np
import pytest

from foldtune.report.material import Material
from foldtune.report.page import write_report
from foldtune.report.sections import judgement
from foldtune.report.sections.judgement import (
    classes,
    confusion,
    numbers,
    reliability,
    thresholds,
)
from foldtune.report.words import judged_by, of_metric


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = judged.write_judged(tmp_path_factory.mktemp("judged"), judged.METHODS[:2], seeds=2)
    return Material.read(folder)


def test_every_cell_of_the_confusion_is_drawn_and_rows_are_shares(study):
    found = confusion.section(study)
    values = found.figures[0].specification["data"]["values"]
    assert len(values) == judged.CLASSES**2
    for name in {row["truth"] for row in values}:
        assert sum(r["share"] for r in values if r["truth"] == name) == pytest.approx(1.0)
    worst = max((row for row in values if row["truth"] != row["called"]), key=lambda r: r["images"])
    assert f"{worst['truth']} for {worst['called']}" in found.summary
    assert "% least sure" in found.words[2]


def test_the_largest_confusions_show_images_that_suffer_them(study):
    found = confusion.section(study)
    shown = found.context["confusions"]
    worst = [(row[0], row[1]) for row in found.tables[0].rows]
    assert [(one["truth"], one["said"]) for one in shown] == worst
    panel, name = study.panel, judgement.shown_method(study)
    names = [f"species {k}" for k in range(judged.CLASSES)]
    for one in shown:
        assert 1 <= len(one["images"]) <= 4
        for image in one["images"]:
            row = int(image["n"].removeprefix("img ").removesuffix(".png"))
            assert names[panel.labels[row]] == one["truth"]
            assert names.index(one["said"]) in panel.predictions[name][:, row]
            assert image["t"].startswith("data:image/jpeg")


def test_without_the_studys_images_no_example_is_shown(tmp_path):
    folder = judged.write_judged(tmp_path, judged.METHODS[:1], seeds=1, pictures=False)
    study = Material.read(folder, cache=tmp_path / "nowhere")
    assert confusion.section(study).context == {"confusions": []}
    assert '<div class="confusions">' not in write_report(folder).read_text()


def test_each_class_has_recall_and_precision_with_intervals(study):
    found = classes.section(study)
    table, metrics = found.tables
    assert len(table.rows) == judged.CLASSES
    assert all(" to " in row[2] and " to " in row[3] for row in table.rows)
    recalls = [float(row[2].split()[0]) for row in table.rows]
    assert recalls == sorted(recalls)
    assert [row[0] for row in metrics.rows] == list(study.panel.names)
    accuracy = np.mean(study.panel.right[study.panel.names[0]])
    assert float(metrics.rows[0][1]) == pytest.approx(accuracy, abs=6e-4)


def test_thresholds_need_validation_logits_and_curves_do_not(study):
    found = thresholds.section(study)
    assert [figure.name for figure in found.figures] == ["precision-recall", "roc"]
    assert "kept no validation logits" in found.words[1]
    assert found.tables == ()
    assert numbers.section(study) is None


def test_sentences_are_named_after_the_metric_that_chooses():
    lines = ["the best validation accuracy, 80.0 %.", "Accuracies are those of the last epoch."]
    assert of_metric(lines, "accuracy") == lines
    named = of_metric(lines, "balanced_accuracy")
    assert named[0] == "the best validation balanced accuracy, 80.0 %."
    assert "score (mean absolute error)" in of_metric(lines, "mae")[0]
    assert judged_by("accuracy", "") == []
    assert "1 minus the mean absolute error" in judged_by("mae", "Regression()")[0]
    assert json.dumps(of_metric(lines, "unheard"))


def test_reliability_of_each_class_is_drawn_and_told_beside_chance(study):
    found = reliability.section(study)
    (table,) = found.tables
    assert len(table.rows) == judged.CLASSES
    errors = [float(row[4]) for row in table.rows]
    assert errors == sorted(errors, reverse=True)
    values = found.figures[0].specification["data"]["values"]
    assert [row["class"] for row in values] == [row[0] for row in table.rows]
    drawn = [(f"{100 * row['ece']:.1f}", f"{100 * row['by_chance']:.1f}") for row in values]
    assert drawn == [row[4:6] for row in table.rows]
    assert f"Furthest off is {table.rows[0][0]}: {table.rows[0][4]} points" in found.words[1]
