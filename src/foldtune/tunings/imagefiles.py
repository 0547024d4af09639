"""Image files as a backbone takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from foldtune.backbones import Backbone
from foldtune.data.pictures.intensity import depth_of, read_setting
from foldtune.data.sources.readers import regular_bytes
from foldtune.data.store.decode import Fit, decode
from foldtune.errors import InputError


def fit_of(backbone: Backbone, read_as: Mapping[str, Any] | None = None) -> Fit:
    """How image files are brought to what the backbone takes. read_as: what a tuning says of its
    data, by whose range and depth more than 8 bits are read."""
    transform, told = backbone.transform, read_as or {}
    return Fit(
        transform.size, transform.resize, transform.interpolation, range=read_setting(told),
        channels=transform.channels, depth=depth_of(told),
    )  # fmt: skip


def decode_files(
    paths: Sequence[Path], backbone: Backbone, read_as: Mapping[str, Any] | None = None
) -> np.ndarray:
    """Image files as the backbone's pixels, (images, size, size, channels), of the depth that
    it was trained at."""
    fit = fit_of(backbone, read_as)
    return np.stack([_decode_file(path, fit) for path in paths])


def name_classes(
    paths: Sequence[Path], shares: Tensor, classes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Each path with its most likely class of probabilities (images, classes)."""
    for path, share in zip(paths, shares, strict=True):
        best = int(share.argmax())
        yield {"image": str(path), "class": classes[best], "probability": float(share[best])}


def _decode_file(path: Path, fit: Fit) -> np.ndarray:
    try:
        return decode(regular_bytes(path), fit)
    except FileNotFoundError as error:
        raise InputError(f"no image at {path}") from error
    except Exception as error:  # damaged files raise nearly every type there is
        raise InputError(f"{path} is damaged or no image ({error})") from error
