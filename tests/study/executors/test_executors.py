"""Whoever executes a run, its row is the same; a worker lost loses nothing."""

import os
import signal
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from foldtune.core.tensorfile import hash_tensors
from foldtune.core.tuningfile import read
from foldtune.errors import InputError
from foldtune.methods import BitFit, LayerNorm, LinearProbe
from foldtune.study.bench.bench import CHECKPOINT, Bench
from foldtune.study.bench.execute import InProcess
from foldtune.study.compare import compare
from foldtune.study.executors import choose
from foldtune.study.executors.dispatch import Lost, dispatch
from foldtune.study.executors.place import Place
from foldtune.study.executors.processes import Process, Processes, shared_out
from foldtune.study.executors.work import Done, Task, Worker, keep, share
from foldtune.study.results.artefacts import LOGITS, TUNING


def plain(row):
    """A row without what the clock decides."""
    curve = [
        {k: v for k, v in point.items() if k not in ("seconds", "images_per_second")}
        for point in row["curve"]
    ]
    return {**{k: v for k, v in row.items() if k != "seconds"}, "curve": curve}


def by_run(rows):
    return {row["run"]: plain(row) for row in rows}


@pytest.fixture
def runs(bench, recipe):
    short = replace(recipe, epochs=1)
    methods = (BitFit(), LinearProbe(), LayerNorm())
    return [bench.describe("final", method, short, 0, head="zero") for method in methods]


@pytest.fixture
def wrong(runs, recipe):
    """A run that raises wherever it is executed on a CPU."""
    return replace(runs[0], recipe=replace(recipe, precision="fp16"))


@pytest.fixture(scope="module", autouse=True)
def as_many_threads_as_workers():
    """Equal bits are of equal numbers of threads, and workers here have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool():
    with Processes(workers=2, threads=1) as processes:
        yield processes


def test_processes_give_the_rows_and_files_of_one_process(bench, runs, tmp_path, pool):
    wanted = list(InProcess(bench, tmp_path / "one")(runs))
    found = list(pool(bench, tmp_path / "two")(runs))
    assert by_run(found) == by_run(wanted)
    for run in runs:
        for name in (TUNING, LOGITS):
            one, two = (tmp_path / at / "runs" / run.key / name for at in ("one", "two"))
            assert one.read_bytes() == two.read_bytes()


def test_a_killed_worker_loses_nothing(bench, runs, recipe, tmp_path, pool):
    long = [replace(run, recipe=replace(recipe, epochs=3)) for run in runs[:1]]
    bench.checkpoint_seconds = 0.0
    started, killed = pool(bench, tmp_path), []

    def kill():
        checkpoint = tmp_path / "runs" / long[0].key / CHECKPOINT
        while not checkpoint.exists():
            time.sleep(0.01)
        process = next(iter(started.busy.values())).process
        process.send_signal(signal.SIGKILL)
        killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    rows = list(started(long))
    killer.join()
    assert killed
    assert by_run(rows) == by_run(InProcess(bench, tmp_path / "alone")(long))


def test_a_worker_that_died_while_it_waited_is_noticed(bench, runs, tmp_path):
    process = Process(1, None)
    process.process.kill()
    process.process.wait()
    task = Task(Place.of(bench), tmp_path, share(tmp_path), 1)
    assert not process.give(task, runs[0])
    process.stop()


class Weak:
    """A crew whose workers are lost at chosen attempts."""

    workers = 2

    def __init__(self, losses):
        self.losses, self.begun, self.dropped = dict(losses), [], []

    def begin(self, run):
        self.begun.append(run.key)
        return (run.key, len(self.begun))

    def wait(self, tickets):
        return tickets[:1]

    def result(self, ticket):
        if self.losses.get(ticket[0], 0):
            self.losses[ticket[0]] -= 1
            raise Lost("signal 9")
        return {"run": ticket[0]}

    def drop(self, tickets):
        self.dropped += [run for run, _ in tickets]


def test_a_lost_run_is_tried_three_times_and_no_more(runs):
    twice = Weak({runs[0].key: 2})
    assert {row["run"] for row in dispatch(twice, runs)} == {run.key for run in runs}
    assert twice.begun.count(runs[0].key) == 3
    thrice = Weak({runs[0].key: 3})
    rows = {row["run"]: row.get("verdict") for row in dispatch(thrice, runs)}
    assert rows.keys() == {run.key for run in runs}  # the others go on
    assert rows[runs[0].key].startswith("failed: it ended its worker 3 times (signal 9); mostly")
    assert thrice.begun.count(runs[0].key) == 3


def test_rows_not_taken_end_the_workers_at_them(runs):
    crew = Weak({})
    rows = dispatch(crew, runs)
    next(rows)
    rows.close()
    assert crew.dropped == [runs[1].key]


def test_an_error_in_a_worker_is_the_row_of_one_in_process(bench, wrong, tmp_path, pool):
    (here,), (there,) = (
        [plain(row) for row in executor([wrong])]
        for executor in (InProcess(bench, tmp_path), pool(bench, tmp_path))
    )
    assert here == there
    assert here["verdict"].startswith("failed: precision fp16 needs a GPU")


def test_what_a_worker_cannot_even_read_ends_the_study_and_not_in_silence(
    bench, runs, tmp_path, pool
):
    # Its listener died of the error, and the driver waited for ever.
    crew = pool(bench, tmp_path)
    crew.task = replace(crew.task, study=_Unreadable())
    with pytest.raises(InputError, match="not on this machine"):
        list(crew(runs[:1]))


class _Unreadable:
    """Pickles here, and raises where it is read."""

    def __reduce__(self):
        return _raise, ()


def _raise():
    raise InputError("not on this machine")


def test_a_study_over_processes_has_the_table_of_one_in_process(
    digits, backbone, recipe, tmp_path, pool
):
    short = replace(recipe, epochs=1, warmup_epochs=0.1)
    asked = {"trials": 1, "seeds": 1, "recipe": short, "head": "zero"}
    methods = ["LinearProbe", "BitFit"]
    one = compare(digits, backbone, methods, out=tmp_path / "one", **asked)
    two = compare(digits, backbone, methods, out=tmp_path / "two", executor=pool, **asked)
    assert by_run(one.rows) == by_run(two.rows)
    drop = lambda entry: {k: v for k, v in entry.items() if k != "seconds"}  # noqa: E731
    assert [drop(e) for e in one.leaderboard] == [drop(e) for e in two.leaderboard]
    assert one.merged.read_bytes() == two.merged.read_bytes()


def test_workers_end_when_the_executor_is_left(bench, runs, tmp_path):
    with Processes(workers=1, threads=1) as processes:
        assert processes(bench, tmp_path).workers == 1
        processes.idle.append(worker := Process(1, None))
    assert worker.process.returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(worker.process.pid, 0)


# -- the place ---------------------------------------------------------------------------------


def test_pixels_do_not_travel_where_a_store_has_them(bench):
    place = Place.of(bench)
    assert place.data.pixels.size == 0
    assert place.backbone is None
    again = place.bench()
    assert np.array_equal(again.data.pixels, bench.data.pixels)
    assert again.backbone_hash == bench.backbone_hash


def test_images_are_decoded_again_where_the_store_is_not_there(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = replace(Place.of(bench), cache=tmp_path / "nowhere")
    assert np.array_equal(place.bench().data.pixels, bench.data.pixels)


def test_other_images_than_the_drivers_are_refused(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = Place.of(bench)
    place = replace(place, data=replace(place.data, identity="0" * 32))
    with pytest.raises(InputError, match="reads other images at digits"):
        place.bench()


def test_another_backbone_than_the_drivers_is_refused(bench):
    place = Place.of(bench)
    place = replace(place, identity={**place.identity, "hash": "0" * 32})
    with pytest.raises(InputError, match="loads another micro than the driver: its hash is"):
        place.bench()


def test_another_version_than_the_drivers_is_refused(bench):
    with pytest.raises(InputError, match=r"the driver has foldtune 0\.0\.0"):
        replace(Place.of(bench), version="0.0.0").bench()


def test_a_backbone_of_ones_own_travels_itself(backbone, digits):
    own = Bench(replace(backbone, weights="mine.safetensors sha256:0"), digits)
    assert Place.of(own).bench().backbone_hash == own.backbone_hash


def test_arrays_of_ones_own_travel_themselves(backbone, digits):
    own = replace(digits, pixels=np.array(digits.pixels))
    assert np.array_equal(Place.of(Bench(backbone, own)).bench().data.pixels, own.pixels)


def test_a_run_of_another_study_is_refused(bench, runs, tmp_path):
    worker = Worker(Task(Place.of(bench), tmp_path, share(tmp_path), 1))
    with pytest.raises(InputError, match="is of splits 0, and this worker"):
        worker.run(replace(runs[0], splits="0"))


def test_files_come_back_from_a_worker_that_does_not_see_the_folder(bench, runs, tmp_path):
    far = Worker(Task(Place.of(bench), tmp_path / "not there", "token", 1))
    done = far.run(runs[0])
    assert set(done.files) == {TUNING, LOGITS}
    keep(Done(done.row, done.files), tmp_path)
    bench.execute(runs[0], tmp_path / "near")
    here, near = (read(tmp_path / at / TUNING)[1] for at in (f"runs/{runs[0].key}", "near"))
    assert hash_tensors(here) == hash_tensors(near)


# -- choosing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"name": "dask"}, "unknown executor 'dask'"),
        ({"workers": 0}, "--workers is 0"),
        ({"threads": 0}, "--threads is 0"),
        ({"name": "in-process", "workers": 2}, "in-process is one worker, not 2"),
        ({"name": "stacked", "workers": 2}, "stacked is one worker, not 2"),
        ({"name": "processes", "address": "auto"}, "--address is of a Ray cluster"),
    ],
)
def test_impossible_executors_are_refused(words, said):
    with pytest.raises(InputError, match=said):
        choose(**words)


def test_several_workers_mean_processes():
    assert isinstance(choose(workers=2), Processes)


@pytest.mark.parametrize(
    ("devices", "workers", "given"),
    [
        (["cuda:0"], 3, ["cuda:0"] * 3),
        (["cuda:0", "cuda:1"], 5, ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]),
        (["cuda:0", "cuda:1"], 1, ["cuda:0"]),
        ([], 4, []),
    ],
)
def test_workers_share_out_the_devices(devices, workers, given):
    assert shared_out(devices, workers) == given
