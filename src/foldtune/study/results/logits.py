"""The logits that runs leave: of the test split (finals) and of validation (trials)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foldtune.core.tensorfile import write_tensors
from foldtune.errors import InputError
from foldtune.study.results.artefacts import VALIDATION

# Validation logits beyond this many bytes are not kept: one file for each trial adds up.
KEPT = 16 << 20


@dataclass(frozen=True, eq=False)
class Logits:
    """logits: (images, classes) float32; labels: (images,); rows: which images of the data."""

    logits: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


def write_logits(logits: Tensor, labels: np.ndarray, rows: np.ndarray, path: Path) -> None:
    stored = {"logits": logits, "labels": torch.from_numpy(labels), "rows": torch.from_numpy(rows)}
    write_tensors(stored, path, {})


def keep_validation(logits: Tensor, labels: np.ndarray, rows: np.ndarray, folder: Path) -> None:
    """The last epoch's validation logits of a run that did not train on validation: what an
    ensemble may be chosen on. Not kept where they are large."""
    if logits.nbytes <= KEPT:
        write_logits(logits, labels, rows, folder / VALIDATION)


def read_logits(path: Path) -> Logits:
    """Raises InputError for a missing or damaged file."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        stored = load_file(path)
        return Logits(stored["logits"], stored["labels"], stored["rows"])
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the run's logits were moved or deleted") from None
    except (SafetensorError, OSError, KeyError) as error:
        raise InputError(f"{path} is damaged or holds no logits ({error})") from error
