"""Going on from a tuning: its values, the rows of its classes, and what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foldtune.backbones import Backbone
from foldtune.backbones.tuning import backbone_of
from foldtune.core.attachment import Attachment
from foldtune.core.method import Method
from foldtune.core.tuningfile import TuningFile, check_base, tuning_in
from foldtune.data import ImageData
from foldtune.data.membership import Membership
from foldtune.errors import InputError
from foldtune.files import hash_of
from foldtune.methods.catalogue import parse
from foldtune.options.groups import ModelOptions
from foldtune.study.bench.bench import Bench
from foldtune.study.bench.ground import Ground
from foldtune.study.bench.run import FROM, Run
from foldtune.tunings.judging import Known
from foldtune.tunings.tuning import header_of


@dataclass(frozen=True, eq=False)
class Earlier:
    """A tuning that another goes on from. mark: tells it from others, in a run's description."""

    path: Path
    header: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    known: Known
    mark: str

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """Of a tuning, the folder of a run or an exported folder. Raises InputError for others."""
        file = tuning_in(path) if path.is_dir() else path
        tuning = TuningFile(file)
        header = header_of(tuning)
        known = Known.of([tuning], [header])
        return cls(file, header, tuning.tensors, known, hash_of(file)[:16])

    @property
    def method(self) -> Method:
        return parse(self.header["method"])

    @property
    def start(self) -> str:
        """As a run names where its classifier starts."""
        return f"{FROM} {self.mark}"


def backbone_before(
    earlier: Earlier, asked: ModelOptions, allowed: Callable[[str], bool]
) -> Backbone:
    """The tuning's backbone, at the size that was asked for."""
    told = dict(earlier.header)
    if asked.size is not None and told.get("backbone"):
        way = told["backbone"]["transform"] | {"size": asked.size}
        told["backbone"] = told["backbone"] | {"transform": way}
    return backbone_of(told, asked.weights, allowed)


class Onward(Bench):
    """A bench whose runs start where a tuning ended, perhaps with more classes or at another size.

    Raises InputError where a class of the tuning is none of the data's: it would be forgotten.
    """

    def __init__(
        self, earlier: Earlier, backbone: Backbone, data: ImageData, device: str | None = None,
        metric: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(backbone, data, device, metric)
        self.earlier = earlier
        gone = [name for name in earlier.header["classes"] if name not in data.outputs]
        if gone:
            raise InputError(
                f"{data.name} has no class {gone[0]!r}, which {earlier.path} was trained on; going "
                "on takes the same classes or more"
            )
        if repr(data.task) != (earlier.header.get("task") or repr(data.task)):
            raise InputError(f"{earlier.path} is of the task {earlier.header['task']}, not "
                             f"{data.task!r}")  # fmt: skip

    def attach(self, method: Method, run: Run) -> Attachment:
        """The tuning on the backbone; rows of classes that it did not have start at the probe."""
        probe = self.starts.of("regularised", run.train_on, None, run.seed)
        attachment = super().attach(method, run)
        try:
            if probe is not None:
                attachment.classifier.start_from(*probe)
            self._put_back(attachment)
        except BaseException:
            attachment.detach()
            raise
        return attachment

    def known_pictures(self, run: Run) -> Membership:
        """What this run is trained on, and what the tuning was, validation included where it was
        trained on that."""
        own, before = super().known_pictures(run), self._before()
        trained = np.concatenate([own.parts["train"], *(before.parts[s] for s in before.trained)])
        union = Membership.union([own, before])
        parts = {**union.parts, "train": np.unique(trained, axis=0)}
        return Membership(parts, own.trained)

    def ground(self, attachment: Attachment, run: Run) -> Ground:
        """Validation watches no image that the tuning was trained on."""
        found = super().ground(attachment, run)
        return replace(found, watched=found.watched[~self._is_seen(found.watched)])

    def left_out(self) -> str | None:
        """What to know of validation images that the tuning was trained on."""
        seen = self._is_seen(self.data.split("val"))
        if not seen.any():
            return None
        left = "no other is there to watch" if seen.all() else "the others are watched"
        return (
            f"{self.earlier.path} was trained on {seen.sum():,} of {len(seen):,} validation "
            f"images: they are left out, and {left}"
        )

    def _before(self) -> Membership:
        if (before := self.earlier.known.membership) is None:
            raise InputError(
                f"{self.earlier.path} keeps no membership, so what it was trained on cannot be "
                "carried along; train it again"
            )
        return before

    def _is_seen(self, rows: np.ndarray) -> np.ndarray:
        return self._before().is_seen(self.data.keys[rows])

    def _put_back(self, attachment: Attachment) -> None:
        header, kept = self.earlier.header, dict(self.earlier.tensors)
        told = (header.get("backbone") or {}).get("transform", {}).get("size")
        size = self.backbone.transform.size
        if told is None or told == (size if isinstance(size, int) else list(size)):
            check_base(header, attachment)
        places = [self.data.outputs.index(name) for name in header["classes"]]
        mine = attachment.named_tensors()
        for name in attachment.head_names:
            before, now = kept.get(name), mine[name].detach()
            if before is None or before.shape[1:] != now.shape[1:]:
                continue  # load_tensors says what is wrong
            if len(before) == len(places) and len(now) == len(self.data.outputs):
                kept[name] = now.clone()
                kept[name][places] = before.to(now)
        attachment.load_tensors(kept)
