"""How a worker elsewhere gets the very backbone and data of the driver."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import foldtune
from foldtune.backbones import Backbone
from foldtune.backbones.backbone import Transform
from foldtune.backbones.loading import known_by_name
from foldtune.backbones.tuning import backbone_of
from foldtune.data import ImageData, load_data
from foldtune.data.pictures.intensity import read_setting
from foldtune.data.pictures.opening import MAX_PIXELS
from foldtune.data.store.checked import CheckedPixels, DecodeAgain
from foldtune.data.store.decode import Fit
from foldtune.data.store.entries import open_entry
from foldtune.data.store.stored import default_cache
from foldtune.errors import InputError
from foldtune.study.bench.bench import Bench


@dataclass(frozen=True)
class Place:
    """A bench as it travels. Every part is checked against its identity where it arrives.

    backbone: travels itself only where no name leads to it (a weights file, a model of one's own).
    data: without its pixels where the pixel store has them: the worker opens the same entry, or
    one of its own, or decodes the source again. source: where, absolute if it is a path. cache: the
    driver's pixel store.
    """

    backbone: Backbone | None
    identity: Mapping[str, Any]
    data: ImageData
    source: str
    cache: Path | None
    device: str | None
    checkpoint_seconds: float
    version: str = foldtune.__version__

    @classmethod
    def of(cls, bench: Bench) -> Place:
        """The place of a bench whose backbone is plain."""
        backbone: Backbone | None = None
        if not known_by_name(str(bench.identity["weights"])):
            backbone = replace(bench.backbone, model=copy.deepcopy(bench.backbone.model).cpu())
        data, cache = bench.data, _store_of(bench.data)
        if cache is not None:
            data = replace(data, pixels=np.empty((0, *data.pixels.shape[1:]), data.pixels.dtype))
        source = _absolute(str(data.facts.get("source")))
        pace = bench.checkpoint_seconds
        return cls(backbone, bench.identity, data, source, cache, bench.device, pace)

    def bench(self, device: str | None = None) -> Bench:
        """The bench, rebuilt here. Raises InputError naming the first difference."""
        if self.version != foldtune.__version__:
            raise InputError(
                f"the driver has foldtune {self.version}, this worker {foldtune.__version__}; "
                "install the same version on both"
            )
        backbone = self.backbone or backbone_of(
            {"backbone": dict(self.identity)}, allowed=lambda _driver_has_it: True
        )
        # A protocol may prescribe another than the model's own.
        transform = Transform(**self.identity["transform"])
        backbone = replace(backbone, transform=transform)
        bench = Bench(backbone, self._with_pixels(), device or self.device)
        bench.checkpoint_seconds = self.checkpoint_seconds
        for name, value in self.identity.items():
            if bench.identity.get(name) != value:
                raise InputError(
                    f"the worker loads another {backbone.name} than the driver: its {name} is "
                    f"{bench.identity.get(name)!r}, not {value!r}; give both the same weights"
                )
        return bench

    def _with_pixels(self) -> ImageData:
        if self.cache is None:
            return self.data
        for cache in (self.cache, default_cache()):
            if (found := open_entry(cache / self.data.identity)) is not None:
                return replace(self.data, pixels=self._check_pixels(*found))
        facts = self.data.facts
        rebuilt = load_data(
            self.source, size=facts["size"], interpolation=facts["interpolation"],
            resize=facts["resize"], seed=facts["seed"], conflicts=facts["conflicts"],
            skip_broken=bool(facts["skipped"]), channels=self.data.pixels.shape[3],
            task=self.data.task,
            max_pixels=facts.get("max_pixels", MAX_PIXELS), range=read_setting(facts),
        )  # fmt: skip
        if rebuilt.identity != self.data.identity:
            raise InputError(
                f"the worker reads other images at {self.source} than the driver: identity "
                f"{rebuilt.identity}, not {self.data.identity}; copy the same data to both"
            )
        return replace(self.data, pixels=rebuilt.pixels)

    def _check_pixels(self, pixels: np.memmap, entry: Mapping[str, Any]) -> Any:
        """An entry's pixels, each hashed once in this worker, too."""
        facts, names = self.data.facts, self.data.names
        fit = Fit(
            facts["size"], facts["resize"], facts["interpolation"],
            facts.get("max_pixels", MAX_PIXELS), read_setting(facts), pixels.shape[3],
            pixels.dtype.name,
        )  # fmt: skip
        again = DecodeAgain(self.source, fit, names)
        return CheckedPixels(pixels, entry["hashes"], names, again)


def _store_of(data: ImageData) -> Path | None:
    """The pixel store that the data's pixels are mapped from; None where they are in memory."""
    name = getattr(data.pixels, "filename", None)
    entry = None if name is None else Path(name).parent
    if name is None or entry is None or entry.name != data.identity:
        return None
    whole = Path(name).exists() and Path(name).stat().st_size == data.pixels.nbytes
    return entry.parent.absolute() if whole and "source" in data.facts else None


def in_store(data: ImageData) -> bool:
    """Whether a worker of this machine opens the data's pixels rather than being sent them."""
    return _store_of(data) is not None


def _absolute(source: str) -> str:
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source
