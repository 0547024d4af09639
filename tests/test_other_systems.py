"""A study runs where what Windows lacks, and what only extras bring, is hidden."""

import json
import os
import subprocess
import sys
from pathlib import Path

# Not register_at_fork, nor SIGKILL: torch and subprocess ask for the name of the system alone.
_HIDDEN = """
import os, signal, sys
for module in ("fcntl", "resource", "pwd", "grp", "termios", "vl_convert"):
    sys.modules[module] = None
for owner, names in (
    (os, "fork forkpty sched_getaffinity pread pwrite getuid"),
    (signal, "pthread_sigmask SIGHUP SIGUSR1"),
):
    for name in names.split():
        delattr(owner, name)
"""
# Several verbs of one process, whose start takes seconds.
_RUN = """
from foldtune.__main__ import main
for words in VERBS:
    sys.argv = ["foldtune", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


def hidden(*verbs):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _HIDDEN + _RUN.replace("VERBS", repr(verbs))],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    )


def test_a_study_runs_without_what_windows_and_a_plain_install_lack(tmp_path):
    """And decoding tells no peak of memory, where the system counts none."""
    done = hidden(
        ("data", "decode", "digits", "--size", "8", "--cache", str(tmp_path), "--json"),
        (
            *("compare", "digits", "--size", "16", "--shots", "4"),
            *("--out", str(tmp_path / "study"), "--methods", "LinearProbe", "BitFit"),
            *("--trials", "1", "--seeds", "1", "--epochs", "1", "--head", "zero"),
            *("--storage", str(tmp_path / "trials.journal"), "--json", "--workers", "1"),
        ),
    )
    assert done.returncode == 0, done.stderr
    told, position = json.JSONDecoder().raw_decode(done.stdout)
    assert told["images"] == 1797
    assert "peak_mib" not in told
    assert json.loads(done.stdout[position:])["winner"]
    assert "a report needs the package vl-convert-python: pip install 'foldtune[report]'" in (
        done.stderr
    )
    assert not (tmp_path / "study" / "lock.json").exists()  # nobody holds it any more
