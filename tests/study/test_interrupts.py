"""Ctrl-C ends a study with its workers, loses nothing, and says how to go on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from foldtune.study.results.store import Store

# More runs than are done by the time of the interrupt.
STUDY = (
    *("digits", "--size", "16", "--shots", "4", "--methods", "BitFit", "--trials", "20"),
    *("--epochs", "2", "--head", "zero", "--threads", "1"),
)


def _heeds_interrupts():
    # A shell starts what runs in its background deaf to SIGINT, and that is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def begun(folder, *options):
    """A study in a session of its own, as a terminal makes one."""
    return subprocess.Popen(
        [sys.executable, "-m", "foldtune", "compare", *STUDY, "--out", str(folder), *options],
        stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=_heeds_interrupts,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def stored(folder):
    return len(Store(folder)) if folder.exists() else 0


def wait_for_a_row(study, folder):
    while not stored(folder):
        assert study.poll() is None, study.stderr.read()
        time.sleep(0.1)


def session(leader):
    """The processes left of a session."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(name)) == leader and int(name) != leader:
                found.append(int(name))
        except ProcessLookupError:
            pass
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize(("executor", "workers"), [("processes", "2"), ("ray", "1")])
def test_ctrl_c_ends_all_and_says_how_to_go_on(tmp_path, executor, workers):
    """The cluster has one worker, and processes of its own that must end with it."""
    if executor == "ray":
        pytest.importorskip("ray")
    folder = tmp_path / "study"
    study = begun(folder, "--executor", executor, "--workers", workers)
    wait_for_a_row(study, folder)
    os.killpg(study.pid, signal.SIGINT)  # a terminal interrupts every process of the group
    _, said = study.communicate(timeout=60)
    assert study.returncode == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("stopped; what is finished is kept; to go on: foldtune")
    # Each row that was told was stored; the interrupt may come between the two.
    assert stored(folder) >= max(1, said.count("validation"))
    deadline = time.monotonic() + 20
    while session(study.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert session(study.pid) == []


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    study = begun(tmp_path / "study", "--executor", "processes", "--workers", "1")
    wait_for_a_row(study, tmp_path / "study")
    others = session(study.pid)  # the worker and what it started, in no order
    for other in others:
        os.kill(other, signal.SIGSTOP)  # so that it does not end when it is told to
    os.killpg(study.pid, signal.SIGINT)
    time.sleep(0.5)
    assert study.poll() is None
    os.killpg(study.pid, signal.SIGINT)
    assert study.wait(60) == 130
    # A driver that had waited for its end would have killed it.
    for other in others:
        os.kill(other, signal.SIGCONT)
    assert study.stderr.read().count("to go on: foldtune") == 1
