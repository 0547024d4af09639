"""Many tasks over one backbone in one batch: every image with the tuning of its own task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from foldtune.backbones.backbone import Backbone
from foldtune.backbones.tuning import load
from foldtune.core.attachment import Attachment
from foldtune.core.compute.mapped import Mapped
from foldtune.errors import InputError
from foldtune.training.host import host_logits


class Mixed:
    """A backbone that serves several tunings of one method at once.

    The frozen layers see one batch; what a tuning adds (scales, shifts, biases, low-rank factors,
    adapters) is gathered for each image from a stack over the tasks. Equal, within rounding, to a
    model per task, at the memory of one backbone and the tunings.

    tunings: a file for each task, by name, all of the same method and settings over `backbone`;
    the classes may differ. The backbone carries the method until `close()`. Raises InputError for
    tunings that do not go together, and for methods that train whole matrices (Full, LastBlocks):
    each image would need weights of its own.
    """

    def __init__(self, backbone: Backbone, tunings: Mapping[str, str | Path]) -> None:
        if not tunings:
            raise InputError("no tunings to serve; give at least one, by the name of its task")
        values: dict[str, dict[str, Tensor]] = {}
        attachment: Attachment | None = None
        try:
            for task, path in tunings.items():
                if attachment is not None:
                    attachment.detach()
                    attachment = None
                attachment = load(Path(path), backbone)
                values[task] = _own(attachment, task)
                _check_alike(values, attachment.head_names)
        except BaseException:
            if attachment is not None:
                attachment.detach()
            raise
        assert attachment is not None
        self._attachment = attachment
        self._model = attachment.model.eval()
        heads = attachment.head_names
        self.tasks = {task: i for i, task in enumerate(values)}
        self.classes = {t: int(v[heads[-1]].shape[0]) for t, v in values.items()}
        names = next(iter(values.values()))
        self._stacks = {n: _stack([v[n] for v in values.values()]) for n in names}

    def __call__(self, images: Tensor, tasks: Sequence[str]) -> list[Tensor]:
        """The logits (classes of its task,) of each image.

        images: (batch, 3, height, width), as the backbone's transform makes them; tasks: a name for
        each. Raises InputError for a task that has no tuning here.
        """
        for task in tasks:
            if task not in self.tasks:
                raise InputError(f"no tuning for the task {task!r}; there are {list(self.tasks)}")
        if len(tasks) != len(images):
            raise InputError(f"{len(images)} images and {len(tasks)} tasks; give one for each")
        rows = torch.tensor([self.tasks[t] for t in tasks], device=images.device)
        own = {name: stack.index_select(0, rows) for name, stack in self._stacks.items()}
        with torch.no_grad(), Mapped():
            logits = vmap(self._one)(own, images)
        return [logits[i, : self.classes[t]] for i, t in enumerate(tasks)]

    def _one(self, own: dict[str, Tensor], image: Tensor) -> Tensor:
        return host_logits(functional_call(self._model, own, (image[None],)))[0]

    def close(self) -> None:
        """Take the method off the backbone, which is bitwise what it was."""
        self._attachment.detach()


def _own(attachment: Attachment, task: str) -> dict[str, Tensor]:
    """What the tuning brings, by full name in the model, as it is trained."""
    head = set(attachment.head_names)
    named = dict(attachment.model.named_parameters())
    for name in attachment.base_names:
        if name not in named or named[name].ndim > 1:
            raise InputError(
                f"{task}: {attachment.method!r} trains {name} itself; an image of a mixed batch "
                "would need a copy of it. Merge this tuning and serve it alone, or serve SSF, "
                "BitFit, LayerNorm, LoRA or adapters"
            )
    trained = {n: p for n, p in named.items() if p.requires_grad or n in head}
    return {n: p.detach().clone() for n, p in trained.items()}


def _check_alike(values: Mapping[str, Mapping[str, Tensor]], head: Sequence[str]) -> None:
    """Refuse the last tuning where its tensors differ from the first's, but in their classes."""
    (first, reference), (task, mine) = next(iter(values.items())), [*values.items()][-1]
    for name in {**reference, **mine}:
        shapes = [
            tuple(v[name].shape[name in head :]) if name in v else None for v in (reference, mine)
        ]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{task} and {first} cannot share a batch: they differ at {name}; serve tunings of "
                "one method with the same settings"
            )


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """(tasks, ...), short ones filled up with zeros along the first axis (fewer classes)."""
    longest = max(t.shape[0] for t in tensors)
    return torch.stack(
        [F.pad(t, (0, 0) * (t.ndim - 1) + (0, longest - t.shape[0])) for t in tensors]
    )
