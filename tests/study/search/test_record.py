"""Trials in Optuna's storages: once each, whatever the storage; a real PostgreSQL where it is."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import optuna
import pytest

from foldtune.errors import InputError
from foldtune.study.search.plan import Trial
from foldtune.study.search.record import Record, hide_password
from foldtune.study.search.spaces import Entrant
from foldtune.study.terms.settings import default_recipe

BASE = default_recipe(9)
LORA = Entrant.parse("LoRA")


def postgres_programs():
    """The folder of PostgreSQL's programs, or None: Debian keeps them off the path."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


@pytest.fixture(scope="module")
def postgres():
    """A throw-away cluster on loopback, of a user that is not root, which PostgreSQL refuses."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (initdb)")
    pytest.importorskip("pg8000")
    user = {"user": "nobody"} if os.getuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="foldtune-postgres-") as folder:
        cluster = Path(folder) / "cluster"
        if user:
            shutil.chown(folder, "nobody")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def run(program, *words):
            subprocess.run(
                [programs / program, *words], check=True, cwd=folder, timeout=120,
                stdout=subprocess.DEVNULL, **user,
            )  # fmt: skip

        secret = Path(folder) / "secret"
        secret.write_text("s3cret")
        secret.chmod(0o644)
        run("initdb", "-D", cluster, "-U", "tuner", "-A", "scram-sha-256", f"--pwfile={secret}",
            "-E", "UTF8", "--no-sync")  # fmt: skip
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -k {folder}"
        run("pg_ctl", "-D", cluster, "-w", "-o", options, "-l", Path(folder) / "log", "start")
        try:
            yield f"postgresql://tuner:s3cret@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", cluster, "-m", "immediate", "stop")


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    path = tmp_path / "trials"
    return path if request.param == "journal" else f"sqlite:///{path}"


def trial(number, rank, stage="trial"):
    values = {"rank": rank, "lr": 1e-3}
    return Trial(number, values, *LORA.configure(BASE, values), stage)


def row(trial, value):
    verdict = "finished" if value is not None else "diverged: at once"
    return {
        "run": f"{trial.stage}-{trial.number}", "method": repr(trial.method),
        "stage": trial.stage, "verdict": verdict, "val_accuracy": value,
        "val_best_accuracy": value and value + 0.2,  # the last epoch is recorded, not the best
    }  # fmt: skip


def test_trials_are_recorded_once_and_read_back(storage, tmp_path):
    trials = [trial(0, 4), trial(1, 8), trial(2, 16, "rung")]
    rows = [row(t, v) for t, v in zip(trials, [0.5, None, 0.4], strict=True)]
    about = f"digits {tmp_path.name}"
    for _ in range(2):  # a second call on the same study records nothing again
        record = Record(storage, about)
        record.add(LORA, BASE, trials[:2], rows[:2])
        record.add(LORA, BASE, trials, rows)
    (study,) = (s for s in optuna.get_all_study_summaries(record._storage) if about in s.study_name)
    kept = optuna.load_study(study_name=study.study_name, storage=record._storage).trials
    assert [t.state.name for t in kept] == ["COMPLETE", "FAIL", "PRUNED"]
    assert [t.params["rank"] for t in kept] == [4, 8, 16]
    assert kept[0].value == 0.5
    assert kept[2].intermediate_values == {9: 0.4}
    assert [t.user_attrs["run"] for t in kept] == ["trial-0", "trial-1", "rung-2"]


def test_another_space_of_the_same_method_is_recorded_beside_it(storage, tmp_path):
    record = Record(storage, f"digits {tmp_path.name}")
    record.add(LORA, BASE, [trial(0, 4)], [row(trial(0, 4), 0.5)])
    other = Entrant("LoRA", LORA.method, {"rank": (64, 128), "lr": LORA.space["lr"]})
    later = trial(7, 64)
    Record(storage, f"digits {tmp_path.name}").add(other, BASE, [later], [row(later, 0.5)])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://tuner:s3cret@127.0.0.1:1/base", r"127.0.0.1:1/base .* server runs"),
        ("nothing://x/y", "nothing://x/y"),
        ("://", "no database URL"),
    ],
)
def test_a_storage_that_cannot_be_reached_is_one_line_without_its_password(url, said):
    with pytest.raises(InputError, match=said) as caught:
        Record(url, "x")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_password_is_not_shown():
    assert (
        hide_password("postgresql://tuner:s3cret@host/base") == "postgresql://tuner:***@host/base"
    )
    assert hide_password("study/optuna.journal") == "study/optuna.journal"
