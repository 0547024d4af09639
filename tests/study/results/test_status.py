"""How a study stands is told from its folder alone."""

import json

import pytest
import torch
from rich.console import Console

from foldtune.core.tensorfile import write_tensors
from foldtune.errors import InputError
from foldtune.study.results.live import draw_table, live, summary
from foldtune.study.results.status import Tally, status
from foldtune.study.results.store import Store

ASKED = {"methods": ["SSF", "LoRA"], "trials": 2, "seeds": 1, "command": "foldtune compare x"}


def row(run, label="SSF", stage="trial", **more):
    curve = [{"epoch": 1, "images_per_second": 100.0}, {"epoch": 2, "images_per_second": 300.0}]
    found = {"run": run, "label": label, "stage": stage, "verdict": "finished", "seconds": 10.0}
    return {**found, "curve": curve, "val_accuracy": 0.5, **more}


def begun(folder, run, epochs_done):
    """A checkpoint as training leaves it."""
    curve = [{"epoch": 1, "images_per_second": 50.0}] * epochs_done
    header = {"identity": {"recipe": {"epochs": 8}}, "curve": curve, "seconds": 4.0}
    write_tensors(
        {"w": torch.zeros(2)}, folder / "runs" / run / "checkpoint.safetensors",
        {"foldtune.checkpoint": json.dumps(header)},
    )  # fmt: skip


@pytest.fixture
def study(tmp_path):
    with Store(tmp_path) as store:
        store.write_description(ASKED)
        store.add(row("a1", trial=0))
        store.add(row("a2", trial=1, val_accuracy=0.75))
        store.add(row("a3", stage="final", val_accuracy=None, seconds=20.0))
        store.add(row("b1", "LoRA", trial=0, verdict="diverged: loss is nan", val_accuracy=None))
    return tmp_path


def test_what_is_done_and_left_is_told_for_each_method(study):
    ssf, lora = status(study).methods
    assert (ssf.trials_done, ssf.trials, ssf.finals_done, ssf.finals) == (2, 2, 1, 1)
    assert (ssf.best, ssf.images_per_second, ssf.diverged) == (0.75, 200.0, 0)
    assert (lora.trials_done, lora.finals_done, lora.best, lora.diverged) == (1, 0, None, 1)


def test_time_left_is_that_of_the_runs_left_at_their_methods_pace(study):
    found = status(study)
    assert (found.done, found.planned, found.seconds) == (4, 6, 50.0)
    # One trial and one final run of LoRA, whose one run took ten seconds.
    assert found.seconds_left == 20.0
    assert found.go_on == "foldtune compare x"


def test_a_complete_study_has_nothing_to_go_on_with(study):
    with Store(study) as store:
        store.add(row("b2", "LoRA", trial=1))
        store.add(row("b3", "LoRA", "final"))
    found = status(study)
    assert found.go_on is None
    assert found.seconds_left == 0


def test_a_method_all_of_whose_trials_failed_leaves_nothing_to_wait_for(study):
    lost = {"verdict": "failed: RuntimeError: no memory", "val_accuracy": None}
    tally = Tally(study)
    with Store(study) as store:
        store.add(row("b2", "LoRA", trial=1, **lost))
        found = tally.status()
        assert (found.done, found.planned, found.go_on) == (5, 5, None)
        assert found.methods[1].failed == 1
        assert "1 failed (--retry-failed runs them again)" in summary(found)
        store.forget({"b2"})
        assert (tally.status().done, tally.status().methods[1].failed) == (4, 0)


def test_runs_under_way_are_told_by_their_checkpoints(study):
    begun(study, "b2", 3)
    begun(study, "a1", 8)  # stored since: killed before the checkpoint was removed
    (run,) = status(study).under_way
    assert (run.run, run.epoch, run.epochs, run.images_per_second) == ("b2", 3, 8, 50.0)
    assert "1 under way (epochs 3/8)" in summary(status(study))


def test_time_left_is_shared_by_the_workers_though_no_run_has_a_checkpoint(study):
    with Store(study) as store:
        store.write_description(ASKED | {"workers": 2})
        assert status(study).seconds_left == 20.0 / 2


def test_a_damaged_checkpoint_is_passed_over(study):
    begun(study, "b2", 3)
    path = study / "runs/b2/checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:40])
    assert status(study).under_way == []


def test_the_owner_is_named_while_there_is_one(study):
    assert status(study).owner is None
    with Store(study):
        owner = status(study).owner
    assert set(owner) == {"pid", "host", "since"}
    assert status(study).as_json()["running"] is False


def test_asking_does_not_keep_a_driver_out(study):
    for _ in range(20):
        status(study)
        Store(study).claim().close()


def test_rows_are_counted_once_though_asked_again(study):
    tally = Tally(study)
    first = tally.status()
    with Store(study) as store:
        store.add(row("b2", "LoRA", trial=1))
    assert tally.status().done == first.done + 1


def test_prolonged_trials_count_once(study):
    with Store(study) as store:
        store.add(row("b2", "LoRA", stage="rung", trial=1))
        store.add(row("b3", "LoRA", trial=1))
    assert status(study).methods[1].trials_done == 2


def test_a_search_without_a_fixed_number_of_trials_plans_nothing(study):
    with Store(study) as store:
        store.write_description({**ASKED, "trials": None})
    found = status(study)
    assert (found.planned, found.seconds_left) == (None, None)
    assert summary(found).startswith("4 runs")


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no study"):
        status(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_table_has_a_line_a_method(study):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(draw_table(status(study)))
    text = console.export_text()
    assert "SSF" in text
    assert "2/2" in text
    assert "75.0%" in text
    assert "4/6 runs, about 20 s left" in text


@pytest.mark.parametrize("width", [80, 60, 44])
def test_a_narrow_terminal_shows_every_number_whole(study, width):
    long = "LoRA(rank=8, alpha=16, sites=('attn.in', 'attn.out'))"
    with Store(study) as store:
        store.write_description(ASKED | {"methods": ["SSF", "LoRA", long]})
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(draw_table(status(study)))
    text = console.export_text()
    assert "images/s" in text
    assert "…" not in text
    assert text.count("0/2") == 1  # the long one's
    assert "75.0%" in text


def test_beyond_a_terminal_nothing_is_drawn(study, capsys):
    with live(study):
        pass
    assert capsys.readouterr() == ("", "")
