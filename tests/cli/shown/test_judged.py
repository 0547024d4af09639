"""What eval prints for people: the share with its interval, then by class; other tasks' metrics."""

from foldtune.cli.shown.judged import show_judged

ESTIMATE = {"value": 0.5, "low": 0.25, "high": 0.75}
BY_CLASS = {
    "classes": [{"class": "cat", "images": 2, "recall": ESTIMATE, "precision": ESTIMATE}],
    "confusions": [{"truth": "cat", "said": "dog", "images": 1, "share": 0.5}],
    "left_out": [{"left_out": 0.0, "accuracy": 0.5}, {"left_out": 0.1, "accuracy": 0.6}],
}


def test_the_share_that_is_right_comes_first_then_the_classes(capsys):
    show_judged({"top1": 0.5, "nll": 1.5, "images": 100, "split": "test", "judgement": BY_CLASS})
    said = capsys.readouterr().out
    assert said.startswith("It is right about 50.0 % of 100 images (split test; 95 % interval 40.4")
    assert "0.500 [0.250, 0.750]" in said
    assert "1 of cat are called dog (50%)" in said
    assert "without the 10% least sure: 60.0% are right" in said


def test_images_that_were_trained_on_are_owned_up_to(capsys):
    told = {
        "top1_including_trained": 0.5,
        "nll_including_trained": 1.5,
        "images": 9,
        "split": "all",
    }
    show_judged(told | {"judgement_including_trained": BY_CLASS})
    said = capsys.readouterr().out
    assert "trained on among them" in said.splitlines()[0]
    assert "1 of cat are called dog" in said


def test_a_number_is_judged_by_its_error(capsys):
    show_judged({"images": 9, "split": "test", "mae": 1.5, "judgement": {"mae": ESTIMATE}})
    said = capsys.readouterr().out
    assert "is right about" not in said
    assert "mean absolute error  0.500 [0.250, 0.750]" in said


def test_a_rule_is_told_beside_the_usual_answers(capsys):
    cost = {"mean": 0.25, "mean_of_likeliest": 0.5, "accuracy": 0.4}
    about = {"images": 9, "split": "test"}
    show_judged(about | {"map": 0.5, "judgement": BY_CLASS | {"cost": cost}})
    said = capsys.readouterr().out
    assert "cost 0.25 an image and are right about 40.0%; those of the likeliest class" in said
    assert "--calibrated" not in said
    show_judged(about | {"map": 0.5, "judgement": {"cost": cost | {"mean": 0.75}}})
    assert "predict --calibrated" in capsys.readouterr().out
    show_judged(about | {"map": 0.5, "judgement": BY_CLASS | {"thresholds": {"cat": None}}})
    assert "never" in capsys.readouterr().out
    show_judged(about | {"map": 0.5, "judgement": BY_CLASS | {"thresholds": {"cat": 0.25}}})
    assert "0.250" in capsys.readouterr().out
