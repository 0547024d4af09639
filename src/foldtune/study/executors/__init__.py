"""Who executes the runs of a study: this process, processes beside it, or a Ray cluster.

Each is a context manager that yields what `compare(executor=...)` takes; see `execute.Executor`.
Only the driver, which is the process that calls `compare`, writes the study's store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from foldtune.errors import InputError, unknown_name
from foldtune.processes import processes as together
from foldtune.study.bench.execute import InProcess, MakeExecutor

EXECUTORS = ("in-process", "stacked", "processes", "ray")


def choose(
    name: str | None = None,
    *,
    workers: int | None = None,
    threads: int | None = None,
    address: str | None = None,
) -> AbstractContextManager[MakeExecutor]:
    """The executor called `name`: in-process, stacked, processes or ray.

    None is ray where there is an address, processes where there are several workers, else
    in-process. workers: runs at a time; by default one a GPU, or one a core, four at most.
    threads: of torch in each run; by default the cores are shared out evenly. address: of a Ray
    cluster ("auto" for the one on this machine); None starts one here.
    """
    if together() > 1:
        raise InputError(
            f"{together()} processes were started together, and a study's runs each train in one; "
            "start it once with --workers, or fit one method with torchrun"
        )
    for what, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise InputError(f"--{what} is {value}; at least 1 is needed")
    if name is None:
        name = "ray" if address else "processes" if (workers or 1) > 1 else "in-process"
    if address is not None and name != "ray":
        raise InputError(f"--address is of a Ray cluster, not of {name}; give --executor ray")
    if name == "processes":
        from foldtune.study.executors.processes import Processes

        return Processes(workers, threads)
    if name == "ray":
        from foldtune.study.executors.on_ray import OnRay

        return OnRay(address, workers, threads)
    if name not in EXECUTORS:
        raise unknown_name("executor", name, EXECUTORS)
    if (workers or 1) > 1:
        raise InputError(f"{name} is one worker, not {workers}; give --executor processes")
    if name == "stacked":
        from foldtune.study.executors.stacked import Stacked

        return in_process(threads, Stacked)
    return in_process(threads)


@contextmanager
def in_process(
    threads: int | None = None, make: MakeExecutor = InProcess
) -> Iterator[MakeExecutor]:
    """What `make` makes, by default one run after the other, with that many threads of torch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield make
    finally:
        torch.set_num_threads(before)
