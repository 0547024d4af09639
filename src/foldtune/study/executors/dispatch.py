"""Hand runs to workers, and a lost worker's run to another."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from typing import Protocol, TypeVar

from foldtune.analysis.row import Row
from foldtune.study.bench.row import failed_row
from foldtune.study.bench.run import Run

# A worker that ends is mostly the fault of its machine; one that ends three times on the same run,
# of the run (too little memory).
_ATTEMPTS = 3

Ticket = TypeVar("Ticket", bound=Hashable)


class Lost(Exception):
    """A worker ended while it was at work; the text says what is known of its end."""


class Crew(Protocol[Ticket]):
    """Workers of one kind, each at one run at a time. A ticket stands for a run begun."""

    workers: int

    def begin(self, run: Run) -> Ticket: ...

    def wait(self, tickets: Sequence[Ticket]) -> Sequence[Ticket]:
        """Wait until there is an answer to some of them; those."""

    def result(self, ticket: Ticket) -> Row:
        """The row; raises Lost, or what keeps the worker from serving the study."""

    def drop(self, tickets: Sequence[Ticket]) -> None:
        """End the workers that are at them."""


def dispatch(crew: Crew[Ticket], runs: Sequence[Run]) -> Iterator[Row]:
    """The rows of the runs as they come.

    A run whose worker is lost begins again with another, three times in all; then its row is a
    failed one. What a worker raises that cannot serve this study at all (other data, another
    backbone) is raised here, and ends the others that are under way.
    """
    waiting, lost = deque(runs), Counter[str]()
    busy: dict[Ticket, Run] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < crew.workers:
                run = waiting.popleft()
                busy[crew.begin(run)] = run
            for ticket in crew.wait(list(busy)):
                run = busy.pop(ticket)
                try:
                    row = crew.result(ticket)
                except Lost as loss:
                    lost[run.key] += 1
                    if lost[run.key] == _ATTEMPTS:
                        yield _given_up(run, loss)
                    else:
                        waiting.append(run)
                else:
                    yield row
    finally:
        crew.drop(list(busy))


def _given_up(run: Run, loss: Lost) -> Row:
    return failed_row(
        run,
        f"it ended its worker {_ATTEMPTS} times ({loss}); mostly that is too little memory: use "
        "fewer workers or a smaller batch size",
    )
