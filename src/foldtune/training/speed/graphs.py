"""Whole steps of a training as one CUDA graph: recorded once, then launched at once.

A step of a small network is hundreds of small kernels, and launching each from Python takes longer
than it runs. A graph holds them all, from the forward pass to the optimizer, with the addresses
that they read and write: so batches and rates are copied into tensors that stay, and whatever
Python decided while it was recorded is decided for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from foldtune.core.compute.lean import forget, recorded_formulas
from foldtune.core.container import Container
from foldtune.errors import InputError
from foldtune.training.recipe import Recipe
from foldtune.training.speed.step import See, Step
from foldtune.training.speed.witness import witnessed

WARM = 3  # steps before one is recorded, in which libraries choose and compile their kernels
_log = logging.getLogger(__name__)


class Unrecorded(Exception):
    """A step could not be recorded, and nothing is left of the attempt."""


class Recorder(Protocol):
    """How a device records a step, and runs it again."""

    def warm(self, step: Callable[[], Any]) -> Any:
        """Run a step, or a part of one, as it will be recorded."""

    def record(self, step: Callable[[], Tensor]) -> Tensor:
        """Record a step without running it; the tensor that will hold what it returns."""

    def replay(self) -> None:
        """Run the recorded step on what its tensors hold now."""


class CudaGraph:
    """A step on an NVIDIA GPU. Draws of torch's own generator go on from one replay to the next."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._graph = device, torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream()

    def warm(self, step: Callable[[], Any]) -> Any:
        """Run it on the stream on which it will be recorded."""
        with torch.cuda.device(self.device):
            own = torch.cuda.current_stream()
            self._stream.wait_stream(own)
            with torch.cuda.stream(self._stream):
                found = step()
            own.wait_stream(self._stream)
        return found

    def record(self, step: Callable[[], Tensor]) -> Tensor:
        """Record it. Raises Unrecorded where Python refused, and InputError where CUDA did: torch's
        allocator and generator are then in the middle of a recording, and no step should follow."""
        failed: Exception | None = None
        with torch.cuda.device(self.device):
            own = torch.cuda.current_stream()
            # Of this thread alone: another may take pinned memory meanwhile.
            recording = torch.cuda.graph(
                self._graph, stream=self._stream, capture_error_mode="thread_local"
            )
            recording.__enter__()
            try:
                found = step()
            except Exception as error:
                failed = error
            try:
                recording.__exit__(None, None, None)
            except RuntimeError as error:
                torch.cuda.set_stream(own)
                raise InputError(
                    f"cuda_graphs: CUDA refuses to record a step of this model ({_line(failed)}"
                    f"{_line(error)}); train without"
                ) from (failed or error)
        if failed is not None:
            raise Unrecorded(_line(failed)) from failed
        return found

    def replay(self) -> None:
        """Launch it."""
        self._graph.replay()


# By type of device: of no other one is there anything to record.
RECORDERS: dict[str, Callable[[torch.device], Recorder]] = {"cuda": CudaGraph}


class GraphedStep:
    """`Step`, recorded after some steps of the usual batch and run again for the later ones.

    images: of the usual batch; others, such as an epoch's last, are stepped as they are. Equal to
    `Step` within rounding. What cannot be recorded
    is told once, and stepped as it is. Raises InputError for a device that records nothing.
    """

    def __init__(self, step: Step, recipe: Recipe, device: torch.device, images: int) -> None:
        check_graphs(device)
        self.step, self.device, self.images = step, device, images
        self.off = False
        self._kind: object = None
        self._warmed = 0
        self._graph: _Graph | None = None
        # What a scale may be divided by is asked before a step, which is recorded with the answer.
        modules = step.passes.model.modules()
        self._containers = [m for m in modules if isinstance(m, Container)]
        accelerator = step.passes.at.accelerator
        if accelerator.num_processes > 1:
            self._give_up("several processes wait for each other within a step")
        elif accelerator.scaler is not None:
            self._give_up("the loss is scaled, and the scale is read in every step")
        elif recipe.recompute:
            self._give_up("blocks that are computed again (recompute) ask for the state of draws")

    def __call__(self, images: Tensor, targets: Tensor, lr: float, see: See) -> None:
        """One step at this rate. Where it is run again, `see` is called after it, not before."""
        if self.off or not self._usual(images):
            self.step(images, targets, lr, see)
            return
        divides = tuple(container.ask() for container in self._containers)
        forget()
        kind = (images.shape, images.dtype, images.stride(), targets.shape, targets.dtype, divides)
        if kind != self._kind or self._graph is None:  # also a phase's other size of images
            self._kind, self._warmed = kind, 0
            self._graph = _Graph(self.step, self.device)
        if self._warmed < WARM:
            self._warmed += 1
            why = self._graph.warm(images, targets, lr, see, self._warmed == WARM)
            if why is not None:
                self._give_up(why)
            return
        try:
            loss = self._graph.run(images, targets, lr)
        except Unrecorded as error:
            self._give_up(str(error))
            self.step(images, targets, lr, see)
            return
        see(loss)

    def _usual(self, images: Tensor) -> bool:
        if len(images) > 1 and images.stride(0) == 0:
            self._give_up("what is frozen below the first change is computed once, outside")
        elif self.step.passes.most is not None:
            self._give_up("a step is several passes here, for want of memory")
        return not self.off and len(images) == self.images

    def _give_up(self, why: str) -> None:
        self.off, self._graph = True, None
        _log.warning("cuda_graphs: %s; steps are launched operation by operation", why)


def check_graphs(device: torch.device) -> None:
    """Refuse to record on a device that cannot; InputError names it."""
    if device.type not in RECORDERS:
        raise InputError(f"cuda_graphs needs an NVIDIA GPU, not {device.type}; train without")


class _Graph:
    """A step on batches of one kind, with the tensors that it reads."""

    def __init__(self, step: Step, device: torch.device) -> None:
        self.step, self._device = step, device
        self._recorder = RECORDERS[device.type](device)
        self._rates = [torch.zeros((), device=device) for _ in step.optimizer.param_groups]
        self._images: Tensor | None = None

    def warm(
        self, images: Tensor, targets: Tensor, lr: float, see: See, looked_at: bool
    ) -> str | None:
        """A step as it will be recorded; of one that is looked at, why it cannot be, if so."""
        self._set(lr)
        clear, passes = self.step.optimizer.zero_grad, self.step.passes
        with self._as_recorded(), witnessed(self._device, looked_at) as told:
            loss = self._recorder.warm(lambda: passes.gradients(images, targets, clear))
        see(loss)
        with self._as_recorded():
            self._recorder.warm(self.step.update)
        return told[0] if told else None

    def run(self, images: Tensor, targets: Tensor, lr: float) -> Tensor:
        """A step on this batch, which is recorded first where it is not yet; its loss. Raises
        Unrecorded, and then makes none."""
        if self._images is None:
            self._images, self._targets = images.clone(), targets.clone()
            with self._as_recorded(), _capturable(self.step.optimizer):
                self._loss = self._recorder.record(self._whole)
        self._images.copy_(images)
        self._targets.copy_(targets)
        self._set(lr)
        self._recorder.replay()
        return self._loss.clone()

    def _whole(self) -> Tensor:
        assert self._images is not None
        self.step.optimizer.zero_grad()  # so that gradients lie in the graph's own memory
        loss = self.step.passes.summed(self._images, self._targets)
        self.step.update()
        return loss

    def _set(self, lr: float) -> None:
        groups = self.step.optimizer.param_groups
        for rate, group in zip(self._rates, groups, strict=True):
            rate.fill_(lr * group["rate"])

    @contextmanager
    def _as_recorded(self) -> Iterator[None]:
        """Inside, the optimizer's rates are the tensors, and formulas such as can be recorded."""
        groups = self.step.optimizer.param_groups
        before = [group["lr"] for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate
        try:
            with recorded_formulas():
                yield
        finally:
            for group, own in zip(groups, before, strict=True):
                group["lr"] = own


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Inside, torch's optimizer allows itself to be recorded. It could always, since it is fused,
    but where it is told so for good it warns of each step that is not recorded."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False


def _line(error: Exception | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {str(error).partition(chr(10))[0]} "
