"""A Ray cluster that somebody else started, elsewhere, executes a study by its address, and loses
nothing with a worker."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from operator import itemgetter
from pathlib import Path

import psutil
import pytest

from foldtune.cli import main
from foldtune.study.results.artefacts import TUNING
from foldtune.study.results.store import Store

pytest.importorskip("ray")
STUDY = (
    *("digits", "--size", "16", "--shots", "4", "--methods", "BitFit", "--trials", "3"),
    *("--seeds", "1", "--epochs", "1", "--head", "zero", "--threads", "1"),
)
RAY = str(Path(sys.executable).with_name("ray"))
run_of = itemgetter("run")
_TIMES = ("seconds", "images_per_second")


def timeless(value):
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in _TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
def cluster(tmp_path):
    """Address, environment and first process of a cluster here with a working directory of its
    own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A token of its own: without one anybody on the network could run code on it.
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
    }  # fmt: skip
    (tmp_path / "elsewhere").mkdir()
    head = subprocess.Popen(
        [
            RAY, "start", "--head", "--block",
            "--port", str(port), "--node-ip-address", "127.0.0.1", "--num-cpus", "2",
            "--include-dashboard=false",
        ],
        cwd=tmp_path / "elsewhere", env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not answers(port, environment):
            assert head.poll() is None
            time.sleep(0.2)
        yield f"127.0.0.1:{port}", environment, psutil.Process(head.pid)
    finally:
        head.send_signal(signal.SIGTERM)
        head.wait(60)


def answers(port, environment):
    """Whether the cluster is up: on a busy machine its port listens long before it answers."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return False
    return not subprocess.run(
        [RAY, "health-check", "--address", f"127.0.0.1:{port}"], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ).returncode  # fmt: skip


def kill_the_worker(head):
    """Ray names a worker by what it executes."""
    workers = [
        p for p in head.children(recursive=True) if "".join(p.cmdline()).startswith("ray::_Actor")
    ]
    assert len(workers) == 1
    workers[0].kill()


@pytest.mark.usefixtures("one_thread")  # as the cluster's worker has
def test_a_cluster_at_an_address_gives_the_rows_of_one_process_though_a_worker_is_killed(
    cluster, tmp_path, monkeypatch
):
    address, environment, head = cluster
    options = ["--executor", "ray", "--address", address, "--workers", "1"]
    command = [sys.executable, "-m", "foldtune", "compare", *STUDY, "--out", "there", *options]
    study = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
        cwd=tmp_path,
    )  # fmt: skip
    told = next(line for line in study.stderr if "validation" in line)  # more runs follow
    kill_the_worker(head)
    told += study.communicate()[1]
    assert study.returncode == 0, told
    monkeypatch.setattr(sys, "argv", ["foldtune", "compare", *STUDY, "--out", "here"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    rows = [[timeless(row) for row in Store(tmp_path / at).rows()] for at in ("here", "there")]
    assert sorted(rows[0], key=run_of) == sorted(rows[1], key=run_of)
    assert len(rows[0]) == 4
    kept = [p.relative_to(tmp_path / "here") for p in (tmp_path / "here").glob(f"runs/*/{TUNING}")]
    assert kept
    for one in kept:
        assert (tmp_path / "here" / one).read_bytes() == (tmp_path / "there" / one).read_bytes()
