"""A journal whose writer was killed can be written on at once."""

import os
import signal
import time

import optuna
import pytest

from foldtune.study.search.journal import journal


def studies(path):
    return optuna.storages.JournalStorage(journal(path))


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_torn_last_line_is_cut_off(tmp_path):
    path = tmp_path / "journal"
    optuna.create_study(study_name="a", storage=studies(path))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":0,"worker')
    optuna.create_study(study_name="b", storage=studies(path))
    assert path.read_bytes().startswith(whole + b"{")
    assert sorted(s.study_name for s in optuna.get_all_study_summaries(studies(path))) == ["a", "b"]


def test_a_lock_dies_with_its_holder(tmp_path):
    path = tmp_path / "journal"
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        backend = journal(path)
        backend._lock.acquire()
        os.write(tell, b".")
        time.sleep(60)
    os.read(told, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    started = time.monotonic()
    optuna.create_study(study_name="a", storage=studies(path))
    assert time.monotonic() - started < 5
