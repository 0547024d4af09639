"""Steps recorded on a CPU as a CUDA graph records them: which operations, on which tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foldtune.training.speed.graphs import RECORDERS, Unrecorded


class Tape(TorchDispatchMode):
    """Operations noted while they run, and run again into the tensors that they gave: a recorder.

    As in a graph, what Python decides is decided once: a number that a kernel was given is the same
    in every replay, tensors are those that were there, and a value cannot be read. What ran while
    it was noted is undone. replays: how often it was run again.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        assert device.type == "cpu"
        self.replays = 0
        self._entries: list[tuple[Any, Any, Any, list[Tensor | None]]] = []
        self._own: dict[int, tuple[Tensor, Tensor]] = {}  # what was written to, and what it held

    def warm(self, step: Callable[[], Any]) -> Any:
        """Run it."""
        return step()

    def record(self, step: Callable[[], Tensor]) -> Tensor:
        """Note it. Raises Unrecorded where it fails."""
        draws = torch.get_rng_state()
        try:
            with self:
                return step()
        except Exception as error:
            raise Unrecorded(f"{type(error).__name__}: {error}") from error
        finally:
            torch.set_rng_state(draws)
            with torch.no_grad():
                for tensor, before in self._own.values():
                    tensor.copy_(before)

    @torch.no_grad()
    def replay(self) -> None:
        """Run what was noted, in its order."""
        self.replays += 1
        for func, args, kwargs, results in self._entries:
            again = tree_leaves(func(*args, **kwargs))
            for result, value in zip(results, again, strict=True):
                if result is not None:
                    result.copy_(value)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.data_dependent_output in func.tags:
            raise RuntimeError("operation not permitted when stream is capturing")
        written = list(_written(func._schema, args, kwargs))
        hidden = args[3:5] if "batch_norm" in func._schema.name else ()  # its moving statistics
        for tensor in (*written, *hidden):
            self._own.setdefault(id(tensor), (tensor, tensor.clone()))
        found = func(*args, **kwargs)
        if written or all(answer.alias_info is None for answer in func._schema.returns):
            given = {id(tensor) for tensor in written}
            results = [
                t if isinstance(t, Tensor) and id(t) not in given else None
                for t in tree_leaves(found)
            ]
            self._entries.append((func, args, kwargs, results))
        return found


def _written(schema: Any, args: Any, kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    for number, argument in enumerate(schema.arguments):
        value = args[number] if number < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tree_leaves(value)


@contextmanager
def recorded_on_the_cpu() -> Iterator[list[Tape]]:
    """Inside, trainings with cuda_graphs record their steps on a CPU; the tapes that they make."""
    made: list[Tape] = []

    def tape(device: torch.device) -> Tape:
        made.append(Tape(device))
        return made[-1]

    RECORDERS["cpu"] = tape
    try:
        yield made
    finally:
        del RECORDERS["cpu"]
