"""A Ray cluster: one on this machine, or one of many that is already there.

Each worker is an actor that is told the bench once, then run after run. Ray ends the actors when
the driver ends, however it ends; a driver started again makes new ones.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foldtune.analysis.row import Row
from foldtune.errors import InputError
from foldtune.processes import cores
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.execute import Executor
from foldtune.study.bench.run import Run
from foldtune.study.executors.dispatch import Lost, dispatch
from foldtune.study.executors.place import Place
from foldtune.study.executors.work import Task, Worker, keep, share


class OnRay:
    """Makes workers on a Ray cluster for a bench and a study; a context manager that ends them.

    address: of the cluster; None starts one on this machine, and ends it. workers: by default one
    a GPU of the cluster, or one for every `threads` of its cores. threads: of torch in each run,
    and the cores that Ray sets aside for it.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, threads: int | None = None
    ) -> None:
        self.address, self.workers, self.threads = address, workers, threads
        self._own = False
        self._crews: list[Crew] = []

    def __enter__(self) -> OnRay:
        ray = _ray()
        if not ray.is_initialized():
            _connect(ray, self.address, self.workers, self.threads)
            self._own = True
        return self

    def __exit__(self, *error: object) -> None:
        for crew in self._crews:
            crew.close()
        self._crews.clear()
        if self._own:
            _ray().shutdown()
            self._own = False

    def __call__(self, bench: Bench, study: Path) -> Executor:
        crew = Crew(bench, study, self.workers, self.threads)
        self._crews.append(crew)
        return crew


class Crew:
    """The actors of one study."""

    def __init__(self, bench: Bench, study: Path, workers: int | None, threads: int | None) -> None:
        self.ray, self.study = _ray(), study
        self.threads = threads or 1
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        gpus = sum(int(node.get("GPU", 0)) for node in nodes)
        self.gpu = bench.device in (None, "cuda") and gpus > 0
        cpus = sum(int(node.get("CPU", 0) // self.threads) for node in nodes)
        room = gpus if self.gpu else cpus
        # An actor without room would wait for ever, and the run with it.
        if room < (workers or 1):
            what = "a GPU" if self.gpu else f"{self.threads} threads"
            raise InputError(
                f"the Ray cluster has room for {room} workers of {what}, not {workers or 1}; "
                "give fewer --workers or --threads, or add nodes"
            )
        self.workers = workers or room
        task = Task(Place.of(bench), study.absolute(), share(study), self.threads)
        self.task = self.ray.put(task)  # once for all actors of a node
        self.idle: list[Any] = []
        self._busy: dict[Any, Any] = {}

    def __call__(self, runs: Sequence[Run]) -> Iterator[Row]:
        return dispatch(self, runs)

    def begin(self, run: Run) -> Any:
        """Give the run to an idle actor, or to a new one."""
        actor = self.idle.pop() if self.idle else self._start()
        answer = actor.run.remote(run)
        self._busy[answer] = actor
        return answer

    def wait(self, tickets: Sequence[Any]) -> Sequence[Any]:
        # With a limit of time, so that Ctrl-C is heard between two waits.
        ready: Sequence[Any] = ()
        while not ready:
            ready, _ = self.ray.wait(list(tickets), num_returns=1, timeout=1.0)
        return ready

    def result(self, ticket: Any) -> Row:
        actor = self._busy.pop(ticket)
        errors = self.ray.exceptions
        try:
            done = self.ray.get(ticket)
        except errors.RayTaskError as error:
            raise error.cause from None
        except (errors.RayActorError, errors.ObjectLostError, errors.WorkerCrashedError) as error:
            self._end(actor)
            raise Lost(str(error).strip().partition("\n")[0]) from None
        self.idle.append(actor)
        return keep(done, self.study)

    def drop(self, tickets: Sequence[Any]) -> None:
        for ticket in tickets:
            self._end(self._busy.pop(ticket))

    def close(self) -> None:
        """End every actor; what they were at goes on from its last checkpoint next time, where they
        saw the study's folder."""
        for actor in [*self.idle, *self._busy.values()]:
            self._end(actor)
        self.idle.clear()
        self._busy.clear()

    def _start(self) -> Any:
        places = {"num_cpus": self.threads, "num_gpus": 1 if self.gpu else 0}
        made = self.ray.remote(**places, max_restarts=0, max_concurrency=1)(_Actor)
        return made.remote(self.task, "cuda" if self.gpu else None)

    def _end(self, actor: Any) -> None:
        with contextlib.suppress(Exception):  # it is gone, or the cluster is
            self.ray.kill(actor, no_restart=True)


class _Actor:
    """A worker that is made at its first run, so that what goes wrong then is the run's answer."""

    def __init__(self, task: Task, device: str | None) -> None:
        self.task, self.device = task, device
        self.worker: Worker | None = None

    def run(self, run: Run) -> Any:
        self.worker = self.worker or Worker(self.task, self.device)
        return self.worker.run(run)


def _ray() -> Any:
    # Nothing about a study leaves the machine. Ray reads this as it is imported and started.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise InputError(
            "the executor ray needs the package ray: pip install 'foldtune[ray]'"
        ) from None
    return ray


def _connect(ray: Any, address: str | None, workers: int | None, threads: int | None) -> None:
    # An actor would else have the driver's, which has all cores.
    variables = {"OMP_NUM_THREADS": str(threads or 1)}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None:
        # By the environment of all its processes: by a runtime_env Ray would start the workers that
        # wait for work anew, each with an environment of its own.
        variables["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
        # Ray's workers are at nice 15: beside anything else they hardly get on (2.60).
        variables["RAY_worker_niceness"] = "0"
        # "local", since without an address Ray takes a cluster that somebody else began here.
        options |= {"address": "local", "num_cpus": max(cores(), (workers or 1) * (threads or 1))}
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    else:
        options |= {"address": address, "runtime_env": {"env_vars": variables}}
    try:
        with _environment({} if address else variables):
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "on this machine" if address is None else f"at {address}"
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"no Ray cluster {where} ({reason}); start one with `ray start --head` and give "
            "--address auto, or its address; where it asks for a token, as Ray's clusters do by "
            "themselves once there is one, an address needs RAY_AUTH_MODE=token too"
        ) from None


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables in this process's environment inside, and so in what it starts."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
