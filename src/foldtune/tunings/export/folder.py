"""From a tuning to a folder that describes itself, with a certificate for every file in it."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from foldtune.backbones import Backbone
from foldtune.backbones.tuning import load
from foldtune.core.attachment import Attachment
from foldtune.core.tuningfile import EXPORTED, TuningFile
from foldtune.data import ImageData
from foldtune.errors import InputError, unknown_name
from foldtune.files import filling, refuse_full
from foldtune.tunings.answers import task_of
from foldtune.tunings.export import formats, hosts
from foldtune.tunings.export.about import write_about
from foldtune.tunings.export.card import card
from foldtune.tunings.export.certificate import FormatCertificate, Witnesses, certify
from foldtune.tunings.export.images import calibrating, temperature_of, witnesses_of
from foldtune.tunings.outputs import in_unit, output_names
from foldtune.tunings.tuning import header_of


@dataclass(frozen=True)
class Exported:
    """folder: what was written; kind: which library loads it, timm, transformers or (live) none but
    foldtune; certificates: one a file."""

    folder: Path
    kind: str
    certificates: tuple[FormatCertificate, ...]


@dataclass(frozen=True)
class Asked:
    """What to write. forms: of `formats.FORMATS`; dtype: of the stored weights, fp32, fp16 or bf16;
    whole: normalisation and softmax inside of graphs; images: to certify on, at most."""

    forms: tuple[str, ...] = ()
    dtype: str = "fp32"
    whole: bool = False
    images: int = 512

    def __post_init__(self) -> None:
        for form in self.forms:
            if form not in formats.FORMATS:
                raise unknown_name("format", form, formats.FORMATS)
        if self.dtype not in hosts.DTYPES:
            raise unknown_name("dtype", self.dtype, hosts.DTYPES)
        if self.images < 1:
            raise InputError(f"a certificate needs images, at least one, not {self.images}")


def export_tuning(
    path: Path,
    out: Path,
    backbone: Backbone,
    data: ImageData,
    asked: Asked | None = None,
    row: Mapping[str, Any] | None = None,
    temperature: float | None = None,
) -> Exported:
    """Write the tuning, folded in where it can be, as a folder; the caller's model stays as it is.

    data: images for the certificates, as `merge_tuning` takes them; 8-bit graphs are calibrated on
    its training images. row: of the run, whose figures the card tells. temperature: for calibrated
    confidences, where `data` has no validation image that was not trained on. A method that does
    not fold in leaves a folder that foldtune alone reads, with the graphs that were asked for, in
    which its side networks are. Raises InputError, with nothing written, where a format cannot be
    written.
    """
    asked = asked or Asked()
    if asked.whole and data.pixels.dtype != np.uint8:
        raise InputError("graphs with preprocessing take 8 bits, and these images have more")
    refuse_full(out, _bytes_of(backbone.model) * (1 + len(asked.forms)))
    own = replace(backbone, model=copy.deepcopy(backbone.model))
    tuning = TuningFile(path)
    header = header_of(tuning)
    attachment = load(tuning, own)
    task = in_unit(attachment, task_of(header))
    names = output_names(task, header["classes"])
    counts = {"trainable": attachment.trainable, "head": attachment.head_size}
    licence = hosts.licence_of(own.model)
    seen = witnesses_of(tuning, attachment, own, data, header["classes"], asked.images, task)
    temperature = temperature_of(tuning, header, attachment.model, own, data) or temperature
    graph = formats.graph_of(copy.deepcopy(own.model), own, whole=False)  # stays as it is
    before = formats.in_torch(graph, formats.inputs_of(own, whole=False))
    kind, model = _fold_in(attachment, own)
    if asked.dtype != "fp32" and kind != hosts.LIVE:
        # Rounded, and computed as before.
        model.load_state_dict(hosts.cast_state(model, asked.dtype))
    with filling(out) as folder:
        (folder / EXPORTED).parent.mkdir()
        shutil.copyfile(tuning.path, folder / EXPORTED)
        made = []
        if kind != hosts.LIVE:
            made.append(_plain(kind, model, own, names, folder, asked, seen, before))
        made += _graphs(tuning, model, own, data, folder, asked, seen, before)
        told = {
            "kind": kind, "foldtune": header["foldtune"], "method": header["method"],
            "classes": header["classes"], **({} if task.usual else {"task": repr(task)}),
            "transform": asdict(own.transform),
            "backbone": header.get("backbone") or {"name": own.name}, **counts,
            "data": header.get("data") or {}, "training": header.get("training") or {},
            "pictures": {name: len(keys) for name, keys in tuning.pictures.items()},
            "dtype": asked.dtype, "licence": licence, "temperature": temperature,
            "inexpressible": list(hosts.inexpressible(own.transform)),
            "certificates": [one.as_json() for one in made], "row": _figures(row),
        }  # fmt: skip
        (folder / "README.md").write_text(card(told))
        write_about(folder, told)
    return Exported(out, kind, tuple(made))


def _bytes_of(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def _fold_in(attachment: Attachment, backbone: Backbone) -> tuple[str, nn.Module]:
    """Which library loads it, and the model: folded in, or as it is where it cannot be."""
    kind, retained = hosts.kind_of(backbone), attachment.retained
    if not attachment.mergeable:
        return hosts.LIVE, attachment.model
    known = set(attachment.base_state())
    head = tuple(f"{p}." for p in attachment.head)
    model = attachment.merge()
    added = [n for n in model.state_dict() if n not in known and not n.startswith(head)]
    return (hosts.LIVE if retained or added else kind), model


def _plain(
    kind: str,
    model: nn.Module,
    backbone: Backbone,
    names: Sequence[str],
    folder: Path,
    asked: Asked,
    seen: Witnesses,
    before: formats.Answer,
) -> FormatCertificate:
    """Write weights and configuration, and certify what the library makes of them."""
    hosts.write_weights(hosts.cast_state(model, asked.dtype), folder, {})
    if kind == hosts.TIMM:
        hosts.write_timm(model, backbone, names, folder)
    else:
        hosts.write_transformers(model, backbone, names, folder, seen.task)
    try:
        again = hosts.reload(kind, folder)
    except Exception as error:  # the library's builders raise nearly every type there is
        why = " ".join(str(error).split())[:300]
        raise InputError(
            f"{backbone.name} cannot be written as a folder that {kind} loads ({why}); merge it "
            "into a file, or export it with --torch-export or --onnx"
        ) from error
    taken = formats.inputs_of(backbone, whole=False)
    answer = formats.in_torch(formats.Logits(again).eval(), taken)
    library = __import__(kind)
    return certify(
        kind, folder / hosts.WEIGHTS, f"{kind} {library.__version__}", seen, answer, before
    )


def _graphs(
    tuning: TuningFile,
    model: nn.Module,
    backbone: Backbone,
    data: ImageData,
    folder: Path,
    asked: Asked,
    seen: Witnesses,
    before: formats.Answer,
) -> list[FormatCertificate]:
    graph = formats.graph_of(model, backbone, asked.whole, seen.task)
    taken = formats.inputs_of(backbone, asked.whole)
    example, made = taken(seen.pixels[:2] if len(seen.pixels) > 1 else seen.pixels[[0, 0]]), []
    with tempfile.TemporaryDirectory() as spare:
        for form in dict.fromkeys(asked.forms):
            file = folder / formats.FILES[form]
            if form == formats.PROGRAM:
                formats.write_program(graph, example, file)
                answer, runtime = formats.in_program(file, taken)
            elif form == formats.AOTI:
                formats.write_compiled(graph, example, file)
                answer, runtime = formats.in_compiled(file, taken)
            else:
                source = folder / formats.FILES[formats.ONNX]
                if form == formats.INT8 and not source.exists():
                    source = Path(spare) / source.name
                if not source.exists():
                    formats.write_onnx(graph, example, source, asked.whole)
                if form == formats.INT8:
                    formats.write_int8(source, file, calibrating(tuning, data, taken))
                answer, runtime = formats.in_onnxruntime(file, taken)
            made.append(certify(form, file, runtime, seen, answer, before, shares=asked.whole))
    return made


_OF_A_ROW = (
    *("test_accuracy", "test_images", "val_accuracy", "low", "high", "seeds", "label"),
    *("trials", "run"),
)


def _figures(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the card tells of a run."""
    if row is None:
        return None
    found = {name: row[name] for name in _OF_A_ROW if row.get(name) is not None}
    tests = {k: v for k, v in (row.get("test") or {}).items() if isinstance(v, int | float)}
    return found | ({"test": tests} if tests else {})
