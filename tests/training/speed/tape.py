"""Steps recorded on a CPU as a CUDA graph records them: which operations, on which tensors."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foldtune.training.speed.graphs import RECORDERS, Unrecorded


class Tape(TorchDispatchMode):
    """Operations noted while they run, and run again into the tensors that they gave.

    As in a graph, what Python decides is decided once: a number that a kernel was given is the same
    in every replay, tensors are those that were there, and a value cannot be read.
    """

    def __init__(self, device):
        super().__init__()
        assert device.type == "cpu"
        self.entries, self.own, self.replays = [], {}, 0

    def warm(self, step):
        return step()

    def record(self, step):
        draws = torch.get_rng_state()
        try:
            with self:
                return step()
        except Exception as error:
            raise Unrecorded(f"{type(error).__name__}: {error}") from error
        finally:  # recorded, not run
            torch.set_rng_state(draws)
            with torch.no_grad():
                for tensor, before in self.own.values():
                    tensor.copy_(before)

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for func, args, kwargs, results in self.entries:
                again = func(*args, **kwargs)
                for result, value in zip(results, tree_leaves(again), strict=True):
                    if result is not None:
                        result.copy_(value)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if torch.Tag.data_dependent_output in func.tags:
            raise RuntimeError("operation not permitted when stream is capturing")
        written = set()
        if "batch_norm" in func._schema.name:  # moves its statistics, of which no schema tells
            for tensor in args[3:5]:
                self.own.setdefault(id(tensor), (tensor, tensor.clone()))
        for argument, value in _given(func._schema, args, kwargs):
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in tree_leaves(value):
                    self.own.setdefault(id(tensor), (tensor, tensor.clone()))
                    written.add(id(tensor))
        found = func(*args, **kwargs)
        views = any(a.alias_info is not None for a in func._schema.returns) and not written
        if not views:
            results = [
                t if isinstance(t, torch.Tensor) and id(t) not in written else None
                for t in tree_leaves(found)
            ]
            self.entries.append((func, args, kwargs, results))
        return found


def _given(schema, args, kwargs):
    for number, argument in enumerate(schema.arguments):
        if number < len(args):
            yield argument, args[number]
        elif argument.name in kwargs:
            yield argument, kwargs[argument.name]


def recorded_on_the_cpu(monkeypatch):
    """Lets a training record its steps on a CPU; the tapes that it makes."""
    made = []

    def tape(device):
        made.append(Tape(device))
        return made[-1]

    monkeypatch.setitem(RECORDERS, "cpu", tape)
    return made
