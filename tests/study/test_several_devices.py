"""One fit over two processes, as torchrun starts them; forked, since importing torch is dear."""

import contextlib
import io
import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from foldtune.cli import main
from foldtune.errors import InputError
from foldtune.study.executors import choose
from foldtune.study.results.artefacts import LOGITS


def fitted(out, cache, method, said=None, environment=None):
    """`foldtune fit` in this process; what it printed."""
    os.environ.update(environment or {})
    sys.argv = [
        "foldtune", "fit", "digits", "--size", "16", "--shots", "2", "--epochs", "2",
        "--batch-size", "16", "--head", "zero", "--method", method, "--device", "cpu", "--json",
        "--out", str(out), "--cache", str(cache),
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    if said is not None:
        said.write_text(printed.getvalue())
    return printed.getvalue()


def group():
    """The environments that torchrun gives two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [{**shared, "RANK": rank, "LOCAL_RANK": rank} for rank in "01"]


@pytest.mark.usefixtures("one_thread")
def test_fit_over_two_processes_gives_the_tuning_of_one(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [])
    cache, method = Path(digits.pixels.filename).parents[1], "SSF"
    said = [tmp_path / "said0", tmp_path / "said1"]
    runs = [
        multiprocessing.get_context("fork").Process(
            target=fitted, args=(tmp_path / "two", cache, method, said[rank], environment),
            daemon=True,
        )
        for rank, environment in enumerate(group())
    ]  # fmt: skip
    for run in runs:
        run.start()
    for run in runs:
        run.join(300)
    assert [run.exitcode for run in runs] == [0, 0]
    alone = json.loads(fitted(tmp_path / "one", cache, method))["row"]
    assert said[1].read_text() == ""
    together = json.loads(said[0].read_text())["row"]
    assert sorted(os.listdir(tmp_path / "two")) == sorted(os.listdir(tmp_path / "one"))
    one, two = (load_file(tmp_path / at / LOGITS)["logits"] for at in ("one", "two"))
    # Means of two means of eight images, not of sixteen: float32 rounding, over four steps. Not the
    # tensors: a key's shift changes no output, so AdamW makes whole steps of its rounding errors.
    assert (one - two).abs().max() < 1e-3 * one.abs().max()
    assert together["curve"][-1]["loss"] == pytest.approx(alone["curve"][-1]["loss"], rel=1e-4)
    assert together["test_accuracy"] == pytest.approx(alone["test_accuracy"], abs=0.01)


def test_a_study_is_not_started_several_times_over(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes were started together"):
        choose()
