"""Hostile files of tensors: tunings, weights of a backbone, PEFT's adapter folders."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from _hostile import (
    NAMES,
    VALUES,
    Payload,
    bytes_mutated,
    tensors_mutated,
    text_of,
    value_mutated,
)
from _seeds import SIZE, adapter, image, tunings
from safetensors import safe_open
from safetensors.torch import save_file

from foldtune.backbones import load_backbone
from foldtune.core.tensorfile import hash_tensors
from foldtune.files import digest

_VERBS = ("predict", "predict", "predict", "check", "merge", "export-peft")


def tuning(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """A tuning whose header, tensors or bytes are another's than foldtune writes."""
    source, path = draw.choice(tunings(home)), folder / "t.safetensors"
    what = draw.random()
    if what < 0.25:
        path.write_bytes(bytes_mutated(source.read_bytes(), draw))
    else:
        with safe_open(source, "pt") as file:
            header = json.loads(file.metadata()["foldtune"])
            del header["hash"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if what < 0.8:
            header = value_mutated(_kind(header, draw), draw, draw.choice((1, 1, 2, 4)))
        else:
            tensors = tensors_mutated(tensors, draw)
        sealed = draw.random() < 0.5
        if not sealed and isinstance(header, dict) and header.get("format") == 4:
            header["format"] = 3  # of which nobody asks a hash
        _write(path, text_of(header), tensors, sealed)
    verb = draw.choice(_VERBS)
    more = {
        "predict": (image(home),), "check": (), "merge": ("--out", folder / "m.safetensors"),
        "export-peft": ("--out", folder / "adapter"),
    }[verb]  # fmt: skip
    return (verb, path, *more)


def _kind(header: dict[str, object], draw: random.Random) -> dict[str, object]:
    """The header, sometimes with a field that matters most replaced at once."""
    if draw.random() < 0.3:
        return {**header, draw.choice(sorted(header)): draw.choice(VALUES)}
    if draw.random() < 0.3 and isinstance(header["backbone"], dict):
        return {**header, "backbone": value_mutated(header["backbone"], draw)}
    return header


def _write(path: Path, header: str, tensors: dict[str, torch.Tensor], sealed: bool) -> None:
    header, named = _text(header), {_text(name): t.contiguous() for name, t in tensors.items()}
    if sealed and header.endswith("}"):  # a stranger can hash, too
        header = f'{header[:-1]}, "hash": "{digest([header, hash_tensors(named)])}"}}'
    save_file(named, path, {"foldtune": header})


def _text(name: str) -> str:
    """The name without lone surrogates, which the writing library cannot store."""
    return name.encode("utf-8", "replace").decode()


def weights(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """A checkpoint as somebody might share it: pickled orders, arrays of objects, cut archives."""
    state = dict(load_backbone("micro", size=SIZE).model.state_dict())
    kind = draw.choice(("pth", "pth", "safetensors", "npz", "index"))
    path = folder / f"w.{kind}"
    if kind == "pth":
        _pickled(path, state, draw, folder)
    elif kind == "safetensors":
        found = tensors_mutated(state, draw)
        save_file({_text(n): t.contiguous() for n, t in found.items()}, path)
    elif kind == "npz":
        arrays = {name.replace(".", "/"): t.numpy() for name, t in list(state.items())[:5]}
        arrays["x"] = np.array([Payload(folder)], dtype=object)
        np.savez(path, **arrays)
        if draw.random() < 0.2:  # a few bytes that unfold to a hundred million
            np.savez_compressed(path, x=np.zeros(96 << 20, np.uint8))
    else:
        path = folder / "model.safetensors.index.json"
        path.write_text(text_of(value_mutated({"weight_map": {"a": "../x", "b": "c"}}, draw)))
    if draw.random() < 0.4:
        path.write_bytes(bytes_mutated(path.read_bytes(), draw))
    return ("sites", "micro", "--size", SIZE, "--weights", path)


def _pickled(path: Path, state: dict[str, torch.Tensor], draw: random.Random, folder: Path) -> None:
    what = draw.randrange(5)
    wrapped: object = tensors_mutated(state, draw)
    if what == 1:
        wrapped = {"state_dict": wrapped, "more": Payload(folder)}
    elif what == 2:
        wrapped = Payload(folder)
    elif what == 3:
        wrapped = {"model": draw.choice(VALUES), draw.choice(NAMES): wrapped}
    elif what == 4:
        wrapped = [wrapped, draw.choice(VALUES)]
    torch.save(wrapped, path, _use_new_zipfile_serialization=draw.random() < 0.7)


def peft(home: Path, folder: Path, draw: random.Random) -> Sequence[object]:
    """An adapter folder whose configuration, note, tensors or bytes are another's."""
    place = shutil.copytree(adapter(home), folder / "adapter")
    config, tensors = place / "adapter_config.json", place / "adapter_model.safetensors"
    what = draw.random()
    if what < 0.45:
        told = json.loads(config.read_text())
        told |= {"rank_pattern": {"blocks": 2}, "alpha_pattern": {}} if draw.random() < 0.2 else {}
        config.write_text(text_of(value_mutated(told, draw, draw.choice((1, 1, 2)))))
    elif what < 0.75:
        with safe_open(tensors, "pt") as file:
            metadata = file.metadata()
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        note = next(name for name in metadata if name != "format")
        if draw.random() < 0.5:
            changed = text_of(value_mutated(json.loads(metadata[note]), draw))
            metadata[note] = _text(changed)
        else:
            found = tensors_mutated(found, draw)
            metadata.pop(note)
        save_file({_text(n): t.contiguous() for n, t in found.items()}, tensors, metadata)
    else:
        path = draw.choice((config, tensors))
        path.write_bytes(bytes_mutated(path.read_bytes(), draw))
    model = ("--model", "micro") if draw.random() < 0.7 else ()
    return ("import-peft", place, *model, "--size", SIZE, "--out", folder / "t.safetensors")
