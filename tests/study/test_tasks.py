"""Several labels, grades and numbers end to end: compare, page, predict, merge, eval, analyse."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn import metrics as theirs

from foldtune.backbones import load_backbone
from foldtune.backbones.prepare import prepare_for
from foldtune.core.tuningfile import read
from foldtune.data import load_data
from foldtune.errors import InputError
from foldtune.judging.predict import predict_logits
from foldtune.options.groups import AnswerOptions
from foldtune.report.material import Material
from foldtune.report.page import write_report
from foldtune.report.sections import sections
from foldtune.study.compare import compare
from foldtune.study.conclusion import BEST
from foldtune.study.ensembles import save_ensemble
from foldtune.study.fit import fit
from foldtune.study.results.analyses import analyse
from foldtune.study.results.artefacts import LOGITS, TUNING, VALIDATION
from foldtune.study.results.logits import read_logits
from foldtune.study.results.predictions import read_predictions
from foldtune.study.tuned.rules import validation_of, with_rule
from foldtune.tasks.kinds import MultiLabel, Ordinal, Regression
from foldtune.tasks.metrics import METRICS
from foldtune.training.recipe import Recipe
from foldtune.tunings.answers import task_of
from foldtune.tunings.export.folder import Asked, export_tuning
from foldtune.tunings.judging import Known, choose
from foldtune.tunings.predict import answer_of, predict_images
from foldtune.tunings.tuning import evaluate_tuning, header_of, merge_tuning, open_tuning
from foldtune.tunings.usable import usable
from study.pictures import SIDE, write_set

ASKED = {"several": None, "grade": "ordinal", "number": None}
KINDS = {"several": MultiLabel, "grade": Ordinal, "number": Regression}
RECIPE = Recipe(epochs=2, warmup_epochs=0.2, batch_size=32, lr=3e-3)


@pytest.fixture(scope="module", params=list(ASKED))
def study(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    spec = write_set(folder / "set", request.param)
    data = load_data(spec, size=SIDE, cache=folder / "cache", task=ASKED[request.param])
    found = compare(
        data, load_backbone("micro", size=SIDE), ["LinearProbe", "BitFit"], out=folder / "study",
        trials=1, seeds=1, recipe=RECIPE,
    )  # fmt: skip
    return request.param, data, found


def test_the_task_is_recognised_and_told_everywhere(study):
    kind, data, found = study
    assert type(data.task) is KINDS[kind]
    task = repr(data.task)
    assert {row["task"] for row in found.rows} == {task}
    asked = json.loads((found.folder / "study.json").read_text())
    assert (asked["task"], asked["metric"]) == (task, data.task.metrics[0])
    final = next(row for row in found.rows if row["stage"] == "final")
    header, _ = read(found.folder / "runs" / final["run"] / TUNING)
    assert task_of(header) == data.task
    assert header["num_classes"] == data.task.logits(len(data.outputs))


def test_every_metric_of_the_test_split_is_scikit_learns(study):
    kind, data, found = study
    for row in found.rows:
        if row["stage"] != "final":
            continue
        stored = read_logits(found.folder / "runs" / row["run"] / LOGITS)
        np.testing.assert_array_equal(stored.labels, data.targets[data.split("test")])
        answers = data.task.answers(stored.logits)
        if kind == "several":
            shares = data.task.probabilities(stored.logits)
            wanted = {
                "map": theirs.average_precision_score(stored.labels, shares, average="macro"),
                "macro_f1": theirs.f1_score(stored.labels, answers, average="macro"),
                "auroc": theirs.roc_auc_score(stored.labels, shares, average="macro"),
            }
        elif kind == "grade":
            wanted = {
                "mae": theirs.mean_absolute_error(stored.labels, answers),
                "kappa": theirs.cohen_kappa_score(stored.labels, answers, weights="quadratic"),
                "accuracy": theirs.accuracy_score(stored.labels, answers),
            }
        else:
            wanted = {
                "mae": theirs.mean_absolute_error(stored.labels, answers),
                "rmse": theirs.root_mean_squared_error(stored.labels, answers),
                "r2": theirs.r2_score(stored.labels, answers),
            }
        assert {n: row["test"][n] for n in wanted} == pytest.approx(wanted, abs=1e-12)


def test_the_decision_is_of_the_metric_that_chooses(study):
    _, data, found = study
    predictions = read_predictions(found.folder)
    assert predictions.panel.metric == data.task.metrics[0]
    for entry in found.leaderboard:
        scores = [r["test_accuracy"] for r in found.rows
                  if r["stage"] == "final" and r["label"] == entry["label"]]  # fmt: skip
        assert entry["metric"] == predictions.panel.metric
        assert entry["test_accuracy"] == pytest.approx(np.mean(scores), abs=1e-12)
        at = found.decision.at(entry["label"])
        assert found.decision.accuracy[at] == pytest.approx(np.mean(scores), abs=1e-12)
        assert entry["low"] <= entry["test_accuracy"] <= entry["high"]


def test_something_is_learnt(study):
    kind, data, found = study
    best = max(row["test_accuracy"] for row in found.rows if row["stage"] == "final")
    held = data.targets[data.split("train")].astype(float)
    truth = data.targets[data.split("test")].astype(float)
    if kind == "several":  # a constant answer has the labels' shares
        assert best > truth.mean() + 0.2
        return
    span = data.task.span if kind == "number" else len(data.outputs) - 1
    assert best > 1 - np.abs(truth - np.median(held)).mean() / span + 0.03


def test_a_tuning_predicts_evaluates_and_merges(study, tmp_path):
    kind, data, found = study
    final = next(r for r in found.rows if r["stage"] == "final" and r["label"] == "BitFit")
    path = found.folder / "runs" / final["run"] / TUNING
    attachment, backbone, header = open_tuning(path)
    task, known = task_of(header), Known.of([path], [header])
    told = evaluate_tuning(
        attachment, backbone, data, header["classes"], choose(known, data), None, task
    )
    # Batches of another size sum in another order.
    assert {n: told[n] for n in task.metrics} == pytest.approx(final["test"], abs=1e-4)
    close = told["judgement"]
    if kind == "number":
        assert close["mae"]["value"] == pytest.approx(told["mae"], abs=1e-9)
        assert close["mae"]["low"] < told["mae"] < close["mae"]["high"]
    else:
        assert [row["class"] for row in close["classes"]] == list(data.outputs)
    folder = data.facts["source"].rpartition("/")[0]
    rows = data.split("test")[:3]
    paths = [f"{folder}/{data.names[row]}" for row in rows]
    answers = list(predict_images(attachment, backbone, paths, answer_of(header)))
    stored = read_logits(found.folder / "runs" / final["run"] / LOGITS)
    wanted = task.describe(stored.logits[:3], header["classes"])
    for answer, one in zip(answers, wanted, strict=True):
        assert answer.keys() - {"image"} == one.keys()
        if kind == "number":
            assert answer["value"] == pytest.approx(one["value"], abs=1e-4)
        else:
            name = "labels" if kind == "several" else "class"
            assert answer[name] == one[name]
    attachment.detach()
    certificate = merge_tuning(path, tmp_path / "merged.safetensors", backbone, data)
    assert certificate.changed == 0
    # The merged file alone answers as the tuning does, numbers in the labels' unit.
    plain, backbone, header = usable(tmp_path / "merged.safetensors")
    again = list(predict_images(plain, backbone, paths, answer_of(header)))
    for one, other in zip(answers, again, strict=True):
        assert all(other[k] == pytest.approx(one[k], abs=1e-4) for k in one if k != "image")
    if kind == "number":  # whoever loads it without us reads the numbers, too
        with torch.no_grad():
            batch = torch.from_numpy(np.asarray(data.pixels[rows]))
            found = plain.model(prepare_for(backbone)(batch, None))[:, 0]
        assert found.tolist() == pytest.approx([a["value"] for a in answers], abs=1e-4)


def test_thresholds_of_a_final_run_are_chosen_on_its_trials_validation(study):
    kind, data, found = study
    trial, final = (
        next(r for r in found.rows if (r["stage"], r["label"]) == (stage, "BitFit"))
        for stage in ("trial", "final")
    )
    path = found.folder / "runs" / final["run"]
    kept = read_logits(found.folder / "runs" / trial["run"] / VALIDATION)
    chosen_on = validation_of(path, header_of(path))
    np.testing.assert_array_equal(chosen_on.logits, kept.logits)
    best = found.folder / BEST
    assert validation_of(best, header_of(best)).logits.shape == kept.logits.shape
    np.testing.assert_array_equal(np.sort(chosen_on.rows), np.sort(data.split("val")))
    asked = AnswerOptions(at_precision=0.8)
    if kind == "several":
        assert len(with_rule(path, header_of(path), asked).thresholds) == len(data.outputs)
    else:
        with pytest.raises(InputError, match="--at-precision has a meaning for several labels"):
            with_rule(path, header_of(path), asked)


def test_a_tuning_of_every_task_is_exported_with_its_shares_inside(study, tmp_path):
    """`onnx` alone gives what `Task.probabilities` does, and the folder is used as a tuning is."""
    kind, data, found = study
    final = next(r for r in found.rows if r["stage"] == "final" and r["label"] == "BitFit")
    path = found.folder / "runs" / final["run"] / TUNING
    asked = Asked(("onnx",), whole=True, images=40)
    exported = export_tuning(path, tmp_path / "out", load_backbone("micro", size=SIDE), data, asked)
    assert [one.changed for one in exported.certificates] == [0, 0]
    for one in exported.certificates:
        assert one.low < one.high  # also where nothing was wrong
        assert one.low <= one.accuracy <= one.high
        assert one.accuracy == pytest.approx(one.accuracy_before, abs=1e-5)
    attachment, backbone, header = open_tuning(path)
    task, rows = task_of(header), data.split("test")[:5]
    logits = predict_logits(attachment.model, data.pixels, rows, prepare_for(backbone))
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (given,) = session.run(None, {"pixels": np.asarray(data.pixels[rows])})
    wanted = task.probabilities(logits.numpy())
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(given, wanted, atol=1e-5 * scale)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert len(config["label_names"]) == config["num_classes"] == task.logits(len(data.outputs))
    plain, own, told = usable(tmp_path / "out")
    again = predict_logits(plain.model, data.pixels, rows, prepare_for(own))
    assert type(task_of(told)) is KINDS[kind]
    np.testing.assert_allclose(
        task_of(told).probabilities(again.numpy()), wanted, atol=1e-5 * scale
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert "image classifier" not in card
    assert exported.certificates[0].metric in card


def test_the_page_and_the_analysis_leave_out_what_has_no_meaning(study):
    _, data, found = study
    page = write_report(found.folder).read_text()
    assert 'id="leaderboard"' in page
    for anchor in ("agreement", "ensembles", "calibration", "disagreement"):
        assert f'id="{anchor}"' not in page
    title = METRICS[data.task.metrics[0]].title
    shown = {one.key: one for one in sections(Material.read(found.folder))}
    for key in ("accuracy", "training"):
        (figure,) = shown[key].figures
        spoken = json.dumps(figure.specification["layer"]) + figure.alternative
        assert title in spoken
        assert "accuracy" not in " ".join((figure.title, figure.alternative, *shown[key].words))
    told = analyse(found.folder)
    assert told["metric"] == data.task.metrics[0]
    assert "left out" in told["notes"][0]
    assert ("class-reliability" in shown) == bool(told["reliability"])
    assert bool(told["reliability"]) == (not isinstance(data.task, Regression))
    with pytest.raises(InputError, match="votes for one class an image"):
        save_ensemble(found.folder, found.folder / "ensemble")


def test_options_of_classes_are_refused_for_other_tasks(study):
    _, data, _ = study
    backbone = load_backbone("micro", size=SIDE)
    for wrong in ({"label_smoothing": 0.1}, {"imbalance": "weighted"}, {"mixup": 0.2}):
        recipe = Recipe(epochs=1, warmup_epochs=0.1, **wrong)
        with pytest.raises(InputError, match=next(iter(wrong))):
            fit(data, backbone, "BitFit", recipe=recipe, head="zero")
    with pytest.raises(InputError, match="metric of"):
        fit(data, backbone, "BitFit", select="top1")
    if not isinstance(data.task, Ordinal):
        with pytest.raises(InputError, match="--shots"):
            data.few_shot(2)


def test_what_a_start_solves_is_already_right(study):
    """LinearProbe is solved, not trained: its classifier is the start."""
    _, _, found = study
    rows = [row for row in found.rows if row["label"] == "LinearProbe"]
    assert all(row["recipe"]["epochs"] == 0 and row["probe"]["C"] > 0 for row in rows)
