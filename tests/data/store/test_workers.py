"""Images decoded in processes are the images decoded here; a worker's death is told."""

import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFile

from data.conftest import encoded
from foldtune.data.sources.embedded import SceneReader
from foldtune.data.store import workers
from foldtune.data.store.decode import Fit
from foldtune.data.store.workers import Job, decode_all
from foldtune.errors import InputError

NAMES = [str(i) for i in range(230)]


def job(tmp_path, reader, name="rows"):
    path = tmp_path / name
    path.touch()
    return Job(reader, Fit(16), path)


def test_processes_write_what_one_process_writes(tmp_path):
    here, there = (job(tmp_path, SceneReader(0), name) for name in ("here", "there"))
    seen = []
    expected = decode_all(here, NAMES, 1, None)
    assert decode_all(there, NAMES, 2, lambda *at: seen.append(at)) == expected
    assert here.file.read_bytes() == there.file.read_bytes()
    assert seen[-1] == (230, 230)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize(("worth", "processes"), [(1e9, 0), (0.0, 2)])
def test_processes_are_started_where_there_is_enough_to_do(tmp_path, monkeypatch, worth, processes):
    started = []
    worker = workers.Worker
    monkeypatch.setattr(workers, "Worker", lambda job: started.append(1) or worker(job))
    monkeypatch.setattr(workers, "_WORTH", worth)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    one, other = (job(tmp_path, SceneReader(0), name) for name in ("one", "other"))
    assert decode_all(one, NAMES, None, None) == decode_all(other, NAMES, 1, None)
    assert len(started) == processes


@dataclass(frozen=True)
class Fatal:
    """A reader that ends its process, as a decoder that runs out of memory does."""

    def __call__(self, name: str) -> bytes:
        import os

        os._exit(7)


def test_the_death_of_a_worker_is_told_with_its_place(tmp_path):
    with pytest.raises(InputError, match=r"died \(exit code 7\) between \d+ and \d+"):
        decode_all(job(tmp_path, Fatal()), NAMES, 2, None)


def test_an_error_of_a_worker_reaches_the_caller(tmp_path):
    gone = Job(SceneReader(0), Fit(16), tmp_path / "absent" / "rows")
    with pytest.raises(FileNotFoundError):
        decode_all(gone, NAMES, 2, None)


def test_a_cut_off_file_is_broken_even_where_the_caller_lets_pillow_pass_it(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    one = job(tmp_path, lambda name: encoded(1, ".jpg")[:-200])
    assert decode_all(one, ["a"], 1, None).broken == {0: "truncated"}
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert not np.frombuffer(one.file.read_bytes(), np.uint8).any()


def test_a_script_without_a_main_guard_runs_once(tmp_path, make_folder):
    folder = make_folder({"a": 100, "b": 101})
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from foldtune.data import load_data
        print("once")
        load_data({str(folder)!r}, size=8, cache=Path({str(tmp_path)!r}), workers=2)
        """)
    )
    source = str(Path(__file__).parents[3] / "src")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env={"PYTHONPATH": source}
    )
    assert (done.stdout, done.stderr, done.returncode) == ("once\n", "", 0)
