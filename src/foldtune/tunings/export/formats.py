"""A model as a graph of another runtime: ONNX, ONNX in 8 bits, an exported program of torch."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from foldtune.backbones import Backbone
from foldtune.backbones.backbone import Transform
from foldtune.backbones.prepare import prepare_for
from foldtune.errors import InputError, NotInstalled
from foldtune.tasks.kinds import USUAL
from foldtune.tasks.task import Task
from foldtune.training.host import host_logits
from foldtune.tunings.outputs import Shares

ONNX, INT8, PROGRAM, AOTI = "onnx", "int8", "torch-export", "aoti"
FORMATS = (ONNX, INT8, PROGRAM, AOTI)
FILES = {
    ONNX: "model.onnx", INT8: "model.int8.onnx", PROGRAM: "model.pt2", AOTI: "model.aoti.pt2"
}  # fmt: skip
_LARGE = 3 << 29  # bytes of weights from which they lie beside the graph: it takes 2 GiB at most
_BATCH = 1 << 20  # images at most; torch 2.6 exports no batch without an end
_OF_WEIGHTS = ("Conv", "Gemm", "MatMul")

Answer = Callable[[np.ndarray], Tensor]


class Logits(nn.Module):
    """From normalised images (batch, channels, height, width) to logits (batch, classes)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return host_logits(self.model(images))


class Whole(nn.Module):
    """From pixels (batch, height, width, channels) uint8, resized already, to shares of names."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, transform: Transform, task: Task) -> None:
        super().__init__()
        self.logits, self.shares = Logits(model), Shares(task)
        mean, std = transform.mean, transform.std
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.permute(0, 3, 1, 2).float() / 255.0
        found: Tensor = self.shares(self.logits((images - self.mean) / self.std))
        return found


def graph_of(model: nn.Module, backbone: Backbone, whole: bool, task: Task = USUAL) -> nn.Module:
    """What is exported. whole: with normalisation inside, and what makes shares of outputs."""
    made = Whole(model, backbone.transform, task) if whole else Logits(model)
    return made.eval()


def inputs_of(backbone: Backbone, whole: bool) -> Callable[[np.ndarray], Tensor]:
    """From pixels to what the graph takes."""
    prepare = prepare_for(backbone)

    def take(pixels: np.ndarray) -> Tensor:
        batch = torch.from_numpy(np.ascontiguousarray(pixels))
        return batch if whole else prepare(batch, None)

    return take


def in_torch(graph: Callable[[Tensor], Tensor], taken: Callable[[np.ndarray], Tensor]) -> Answer:
    """The graph in this process."""

    def answer(pixels: np.ndarray) -> Tensor:
        with torch.no_grad():
            return graph(taken(pixels))

    return answer


def write_onnx(graph: nn.Module, example: Tensor, path: Path, whole: bool) -> None:
    """The graph for any number of images. Raises InputError where it cannot be written so."""
    for package in ("onnx", "onnxscript"):
        _need(package)
    weights = sum(p.numel() * p.element_size() for p in graph.parameters())
    names = (["pixels"], ["probabilities"]) if whole else (["images"], ["logits"])
    batch = torch.export.Dim("batch", min=1, max=_BATCH)
    with _quiet(), _refuse_failures("ONNX"), torch.no_grad():
        torch.onnx.export(
            graph, (example,), str(path), dynamo=True, verbose=False,
            input_names=names[0], output_names=names[1], dynamic_shapes=({0: batch},),
            external_data=weights > _LARGE,
        )  # fmt: skip


def write_int8(source: Path, path: Path, batches: Sequence[np.ndarray]) -> None:
    """An ONNX graph whose convolutions and products compute in 8 bits, with ranges found on
    `batches` of what the graph takes. Weights have a range for each output channel."""
    _need("onnxruntime")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    name = "pixels" if batches[0].dtype == np.uint8 else "images"
    with _quiet(), _refuse_failures("ONNX in 8 bits"):
        quantize_static(
            str(source), str(path), _Calibration(batches, name), quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OF_WEIGHTS), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip


def in_onnxruntime(path: Path, taken: Callable[[np.ndarray], Tensor]) -> tuple[Answer, str]:
    """The file in onnxruntime, on the CPU with as many threads as torch has; and its version."""
    runtime = _need("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answer(pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(session.run(None, {name: taken(pixels).numpy()})[0])

    return answer, f"onnxruntime {runtime.__version__}"


def write_program(graph: nn.Module, example: Tensor, path: Path) -> None:
    """A program that `torch.export.load` reads, for any number of images."""
    with _quiet(), _refuse_failures("an exported program"), torch.no_grad():
        torch.export.save(_program(graph, example), path)


def in_program(path: Path, taken: Callable[[np.ndarray], Tensor]) -> tuple[Answer, str]:
    """The program as its file tells it; and torch's version."""
    return in_torch(torch.export.load(path).module(), taken), f"torch {torch.__version__}"


def write_compiled(graph: nn.Module, example: Tensor, path: Path) -> None:
    """A package of AOTInductor, for any number of images: machine code for processors such as
    this one, which C++ loads without Python, too. Raises InputError where no compiler is."""
    from torch._inductor import aoti_compile_and_package

    with _quiet(), _refuse_failures("compiled code"), torch.no_grad():
        aoti_compile_and_package(_program(graph, example), package_path=str(path))


def in_compiled(path: Path, taken: Callable[[np.ndarray], Tensor]) -> tuple[Answer, str]:
    """The package as it runs; and torch's version."""
    from torch._inductor import aoti_load_package

    run = aoti_load_package(str(path))
    return in_torch(run, taken), f"torch {torch.__version__}, compiled"


def _program(graph: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=_BATCH)
    return torch.export.export(graph, (example,), dynamic_shapes=({0: batch},))


class _Calibration:
    """Batches, as onnxruntime asks for them."""

    def __init__(self, batches: Sequence[np.ndarray], name: str) -> None:
        self._batches, self._name = list(batches), name

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {self._name: self._batches.pop(0)} if self._batches else None


def _need(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise NotInstalled("an ONNX file", package, "onnx") from error


@contextlib.contextmanager
def _refuse_failures(what: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # exporters raise nearly every type there is
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"this model cannot be written as {what} ({why})") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell of every step, by print, by warning and by log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
