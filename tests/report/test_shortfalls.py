"""A method that ends below its own start says so in sentence, leaderboard and list of runs."""

import fake

from foldtune.analysis.leaderboard import leaderboard
from foldtune.report.page import write_report
from foldtune.report.shortfalls import shortfalls, warning


def _with_starts(start):
    """The invented rows, the trials of Full begun at `start` and all others at 10 %."""
    for row in fake.rows(trials=2):
        if row["stage"] == "trial" and row["verdict"] == "finished":
            begun = start if row["label"] == "Full" else 0.1
            row |= {"val_start_accuracy": begun, "below_start": row["val_accuracy"] < begun}
        yield row


def test_a_method_below_its_own_start_is_named_with_both_figures():
    board = leaderboard(_with_starts(0.95))
    (said,) = shortfalls(board, {})
    (full,) = [entry for entry in board if entry["label"] == "Full"]
    assert f"Full {100 * full['val_accuracy']:.1f} % after 95.0 %." in said
    assert [e["label"] for e in board if warning(e)] == ["Full"]
    assert warning(full) == "below its own start (95.0 %)"


def test_nothing_is_said_where_training_helped():
    board = leaderboard(_with_starts(0.1))
    assert shortfalls(board, {}) == []
    assert not any(map(warning, board))


def test_what_failed_and_who_was_left_out_is_told_with_the_reason(tmp_path):
    rows = list(fake.rows(trials=2))
    nothing = dict.fromkeys(("trainable", "head", "total", "mergeable", "val_accuracy"))
    lost = {**nothing, "verdict": "failed: RuntimeError: no memory", "curve": []}
    rows = [row | lost if row["label"] == "LoRA" else row for row in rows]
    board = leaderboard(rows)
    (said, left_out) = shortfalls(board, {"left_out": {"VPTDeep": "no tokens"}})
    count = sum(row["label"] == "LoRA" for row in rows)
    assert said == f"{count} runs of LoRA failed: RuntimeError: no memory."
    assert left_out == "VPTDeep was left out: no tokens."
    text = write_report(fake.write_study(tmp_path, rows)).read_text()
    assert said in text
    assert f'<small class="warning">{count} runs failed</small>' in text


def test_the_page_warns_at_the_method_at_its_runs_and_at_the_top(tmp_path):
    text = write_report(fake.write_study(tmp_path, list(_with_starts(0.95)))).read_text()
    assert "Training made worse what it started from" in text
    assert '<small class="warning">below its own start (95.0 %)</small>' in text
    assert "finished, below its own start (95.0 %)" in text
