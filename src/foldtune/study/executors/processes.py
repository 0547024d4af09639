"""Several processes on this machine, each with a backbone and data of its own.

Own processes and not a multiprocessing pool, for the reasons in data/store/workers.py; besides,
these are told apart when one is killed, and end by themselves when their driver is.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing import Pipe, connection
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.processes import cores
from foldtune.startup import import_hosts, keep_freed_memory
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Executor
from foldtune.study.bench.run import Run
from foldtune.study.executors.dispatch import Lost, dispatch
from foldtune.study.executors.place import Place
from foldtune.study.executors.start import start_process
from foldtune.study.executors.work import Done, Task, Worker, share

_PATIENCE = 10.0  # seconds that a worker has to end when it is told to


class Processes:
    """Makes a pool of worker processes for a bench and a study; a context manager that ends them.

    workers: by default one a GPU, or one a core, four at most; more than there are GPUs share them.
    threads: of torch in each, by default the cores shared out evenly. Processes are kept for the
    next study.
    """

    def __init__(self, workers: int | None = None, threads: int | None = None) -> None:
        self.workers, self.threads = workers, threads
        self.idle: list[Process] = []

    def __call__(self, bench: Bench, study: Path) -> Executor:
        devices = _devices(bench.device)
        workers = self.workers or len(devices) or at_once()
        threads = self.threads or max(1, cores() // workers)
        task = Task(Place.of(bench), study.absolute(), share(study), threads)
        return Pool(task, workers, shared_out(devices, workers), self.idle)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.idle:
            process.process.kill()  # at nothing, so there is nothing to tidy up
        while self.idle:
            self.idle.pop().stop()


class Pool:
    """Workers at the runs of one study; a process is started when there is first a run for it."""

    def __init__(self, task: Task, workers: int, devices: list[str], idle: list[Process]) -> None:
        self.task, self.workers, self.idle = task, workers, idle
        self.busy: dict[Connection, Process] = {}
        self._free = devices  # one of them goes with each process

    def __call__(self, runs: Sequence[Run]) -> Iterator[Row]:
        # All at once: each takes seconds to import what it needs before it listens.
        while len(self.idle) < min(self.workers, len(runs)):
            self.idle.append(self._start())
        return dispatch(self, runs)

    def begin(self, run: Run) -> Connection:
        """Give the run to an idle worker, or to a new one."""
        process = self._worker()
        while not process.give(self.task, run):
            process.stop()  # it was killed while it waited
            self._release(process)
            process = self._worker()
        self.busy[process.link] = process
        return process.link

    def wait(self, tickets: Sequence[Connection]) -> Sequence[Connection]:
        return connection.wait(tickets)  # type: ignore[return-value]

    def result(self, ticket: Connection) -> Row:
        process = self.busy.pop(ticket)
        try:
            answer = ticket.recv()
        except (EOFError, OSError):
            self._release(process)
            raise Lost(process.end()) from None
        self.idle.append(process)
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Done)
        return answer.row

    def drop(self, tickets: Sequence[Connection]) -> None:
        """End the workers; what they are at goes on from its last checkpoint next time."""
        processes = [self.busy.pop(ticket) for ticket in tickets]
        for process in processes:
            process.process.terminate()
        for process in processes:
            process.stop()
            self._release(process)

    def _worker(self) -> Process:
        return self.idle.pop() if self.idle else self._start()

    def _start(self) -> Process:
        return Process(self.task.threads, self._free.pop(0) if self._free else None)

    def _release(self, process: Process) -> None:
        if process.device is not None:
            self._free.append(process.device)


def at_once() -> int:
    """Workers on a CPU where no number is said: one a core, four at most."""
    return min(cores(), 4)


def _devices(device: str | None) -> list[str]:
    """The devices that workers take in turn; none on a CPU, which they all share."""
    import torch

    if device not in (None, "cuda") or not torch.cuda.is_available():
        return []
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def shared_out(devices: Sequence[str], workers: int) -> list[str]:
    """A device for each worker, in turn: several runs of a small host share a GPU."""
    return [devices[number % len(devices)] for number in range(workers)] if devices else []


class Process:
    """One worker process, and the two-way link to it. device: None for the task's own."""

    def __init__(self, threads: int, device: str | None) -> None:
        self.link, other = Pipe()
        self.device = device
        self._task: Task | None = None
        self.process = start_process(other, threads)
        other.close()
        self._send(sys.path)

    def give(self, task: Task, run: Run) -> bool:
        """Have it execute a run of a task; whether it was there to be told."""
        if self._task is not task and not self._send((task, self.device)):
            return False
        self._task = task
        return self._send(run)

    def _send(self, value: object) -> bool:
        try:  # not `send`, with which torch passes handles that only its own children may take
            self.link.send_bytes(pickle.dumps(value))
        except OSError:
            return False
        return True

    def end(self) -> str:
        """Wait for a worker that has closed its link; how it ended."""
        self.link.close()
        code = self.process.wait()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def stop(self) -> None:
        """Wait for its end, after it was told to; then end it."""
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.link.close()


def serve(link: Connection) -> None:
    """Be a worker: be told a task, then answer run after run, until the driver ends."""
    keep_freed_memory()
    import_hosts()
    signal.signal(signal.SIGTERM, _leave)
    os.dup2(2, 1)  # what a library prints must not mix with the driver's answers
    told: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(link, told), daemon=True).start()
    try:
        _answer(link, told)
    finally:
        os._exit(0)  # without the seconds that tearing torch down takes


def _answer(link: Connection, told: SimpleQueue[Any]) -> None:
    worker: Worker | None = None
    while True:
        message = told.get()
        if not isinstance(message, Run):
            task, worker = message, None
            continue
        try:
            if isinstance(task, Exception):
                raise task
            worker = worker or Worker(*task)
            answer: object = worker.run(message)
        except Exception as error:
            answer = _sendable(error)
        link.send(answer)


def _listen(link: Connection, told: SimpleQueue[Any]) -> None:
    """Take messages in; when the driver has gone, end at once, in the middle of a run as well.

    A driver started again may begin the same run at any moment.
    """
    while True:
        try:
            told.put(pickle.loads(link.recv_bytes()))
        except (EOFError, OSError):
            os._exit(0)
        except Exception as error:  # a task with classes that are not here: the driver waits
            told.put(error)


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(0)  # and not the default: what is half written is removed on the way


def _sendable(error: Exception) -> Exception:
    """The error as it can travel, with where it happened unless it is the user's."""
    if not isinstance(error, InputError):
        error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error
