"""The application and the options that verbs share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from foldtune import __version__
from foldtune.cli.places import SEED
from foldtune.console import say
from foldtune.startup import import_hosts

if TYPE_CHECKING:
    from foldtune.backbones import Backbone
    from foldtune.data import ImageData
    from foldtune.judging.shift import Target
    from foldtune.study.bench.execute import MakeExecutor
    from foldtune.tunings.judging import Known

app = App(
    name="foldtune",
    version=__version__,
    help_format="plaintext",
    help="Fine-tune a frozen vision backbone, compare methods fairly, fold the winner back in.",
    suppress_keyboard_interrupt=False,  # else it exits in silence (5.4); `main` says how to go on
)


def parse_size(_type: Any, tokens: Any) -> int | tuple[int, int]:
    """`64`, or `64x128`: height and width."""
    try:
        sides = [int(side) for side in tokens[0].value.lower().split("x")]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no size; write 64, or 64x128") from None
    return height if height == width else (height, width)


_SIZE = Parameter(converter=parse_size, n_tokens=1, negative="")


@Parameter(name="*")
@dataclass(frozen=True)
class ModelOptions:
    """Which weights the model has, and what images it takes."""

    weights: Path | None = None  #: A checkpoint (file or folder) in place of published weights.
    pretrained: bool = True  #: Published or embedded weights; --no-pretrained draws random ones.
    #: Side of the input in pixels, or HEIGHTxWIDTH, where the model takes another.
    size: Annotated[int | tuple[int, int] | None, _SIZE] = None
    channels: int | None = None  #: Of images that are not RGB; the first layer is adapted.

    def load(self, name: str) -> Backbone:
        import_hosts()
        from foldtune.backbones import load_backbone

        return load_backbone(
            name, weights=self.weights, pretrained=self.pretrained, size=self.size,
            channels=self.channels,
        )  # fmt: skip

    def at_size(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """What a tuning says of itself, with its backbone at the size that was asked for."""
        told = dict(header)
        if self.size is not None and told.get("backbone"):
            way = told["backbone"]["transform"] | {"size": self.size}
            told["backbone"] = told["backbone"] | {"transform": way}
        return told


@Parameter(name="*")
@dataclass(frozen=True)
class DataOptions:
    """How images are read."""

    #: What labels are: SingleLabel, MultiLabel, Ordinal or Regression; by default as they look.
    task: str | None = None
    skip_broken: bool = False  #: Leave unreadable images out instead of refusing the data.
    conflicts: str = "keep"  #: One picture with two labels or in two splits: keep, drop or refuse.
    resize: str | None = None  #: squash (to the square) or crop (the centre).
    shots: int | None = None  #: Images a class for training, and at most as many for validation.
    split_seed: SEED | None = None  #: Draws the splits that are not given; else --seed does.
    cache: Path | None = None  #: Folder of decoded images; by default the user's cache.
    #: How more than 8 bits are read: LOW HIGH, own (the set's range, usual), percentile or header.
    range: Annotated[tuple[str, ...] | None, Parameter(consume_multiple=True)] = None
    max_pixels: int | None = None  #: Pixels that a picture may have; by default 178,956,970.
    stream: bool = False  #: Begin at once and decode images as they are needed, for large sets.

    def load(self, spec: str, backbone: Backbone, seed: int = 0) -> ImageData:
        """Images to train on, with their splits."""
        seed = seed if self.split_seed is None else self.split_seed
        data = self._read(spec, backbone, seed)
        return data if self.shots is None else data.few_shot(self.shots, seed)

    def as_described(self, told: Mapping[str, Any], spec: str) -> DataOptions:
        """These options as the data was read that a tuning describes: samples of more than 8 bits
        by its range, whatever is judged; of its own data, what is broken left out as there."""
        found = self
        if self.range is None and (told.get("range") or told.get("wide")):
            ends = tuple(map(repr, told.get("range") or ()))
            found = replace(found, range=ends or ("header",))
        if spec == told.get("source"):
            found = replace(
                found, skip_broken=self.skip_broken or bool(told.get("skip_broken")),
                max_pixels=self.max_pixels or told.get("max_pixels"),
            )  # fmt: skip
        return found

    def of_task(self, told: str | None) -> DataOptions:
        """These options for data of the task that a tuning tells."""
        return replace(self, task=self.task or told)

    def parted(self) -> tuple[DataOptions, str | None]:
        """Without a task that is a protocol's, a data set's name, and that one."""
        from foldtune.tasks.parsing import is_task

        if self.task is None or is_task(self.task):
            return self, None
        return replace(self, task=None), self.task

    def judge(self, spec: str, backbone: Backbone) -> ImageData:
        """Images to judge on: no split is drawn, so one image will do."""
        return self._read(spec, backbone, None)

    def _read(self, spec: str, backbone: Backbone, seed: int | None) -> ImageData:
        from foldtune.data import load_data
        from foldtune.data.pictures.intensity import parse_setting
        from foldtune.data.pictures.opening import MAX_PIXELS
        from foldtune.data.streaming import stream_data

        transform = backbone.transform
        fit: dict[str, Any] = {
            "size": transform.size, "interpolation": transform.interpolation,
            "resize": self.resize or transform.resize, "seed": seed, "cache": self.cache,
            "conflicts": self.conflicts, "max_pixels": self.max_pixels or MAX_PIXELS,
            "range": parse_setting(self.range or ()), "channels": len(transform.mean),
            "task": self.task,
        }  # fmt: skip
        if self.stream:
            data = stream_data(spec, **fit)
        else:
            data = load_data(spec, skip_broken=self.skip_broken, **fit)
        for name, reason in data.facts["skipped"].items():
            say(f"skipped {name}: {reason}")
        for warning in data.facts["warnings"]:
            say(f"warning: {warning}")
        return data


@Parameter(name="*")
@dataclass(frozen=True)
class TrainOptions:
    """How to train."""

    epochs: int = 20  #: Passes over the training images.
    batch_size: int = 64  #: Images per step.
    head_lr: float | None = 0.3  #: The classifier's rate, times its inputs; none: as all else.
    augment: tuple[str, ...] = ()  #: flip, vflip, crop:0.08, jitter, randaugment:9, erase:0.25.
    drop_path: float = 0.0  #: Rate of the deepest block.
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_norm: float | None = None  #: Largest norm of the whole gradient.
    precision: str = "fp32"  #: fp32, tf32, bf16 or fp16.
    #: Of classes of unlike size: weighted, effective, sampler or adjusted; several are searched.
    imbalance: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ("none",)
    compile: bool = False  #: Through torch.compile: over a minute first; no faster on a CPU.
    channels_last: bool | None = None  #: Memory format of images; by default where it is faster.

    def changes(self) -> dict[str, Any]:
        from dataclasses import asdict

        from foldtune.training.recipe import warmup

        told = asdict(self) | {"warmup_epochs": warmup(self.epochs)}
        return told | {"imbalance": self.imbalance[0]}

    @property
    def remedies(self) -> tuple[str, ...]:
        """What a search is to try, where several are named."""
        return self.imbalance if len(self.imbalance) > 1 else ()


@Parameter(name="*")
@dataclass(frozen=True)
class HeadOptions:
    """Where classifiers start."""

    #: regularised (a probe that is kept weak; usual), probe (of chosen penalty; of LinearProbe,
    #: which is then solved, not trained), zero, default (random) or zero-shot.
    head: str | None = None
    templates: Path | None = None  #: Of zero-shot: a text file, a line with {} for the class each.
    words: Path | None = None  #: Of zero-shot: a CSV of 'class,its words' where names do not do.

    def start(self) -> str | None:
        from foldtune.backbones.clip_text import ZERO_SHOT, Prompts, read_templates
        from foldtune.errors import InputError

        if self.head != ZERO_SHOT:
            if self.templates or self.words:
                raise InputError(f"--templates and --words are of --head {ZERO_SHOT} only")
            return self.head
        from foldtune.tunings.shifts import read_mapping

        given: dict[str, Any] = {}
        if self.templates:
            given["templates"] = read_templates(self.templates)
        if self.words:
            given["words"] = tuple(sorted(read_mapping(self.words).items()))
        return Prompts(**given).head


@Parameter(name="*")
@dataclass(frozen=True)
class ShiftOptions:
    """Where else to judge."""

    #: Other images of the same classes, NAME=PATH each.
    shift: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    #: all, or corruptions such as jpeg or jpeg:3, of the images at home.
    corrupt: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    map: Path | None = None  #: A CSV of 'their class,our class'; nothing after the comma: left out.

    def mapping(self) -> dict[str, str]:
        from foldtune.tunings.shifts import read_mapping

        return read_mapping(self.map) if self.map else {}

    def targets(
        self, home: Target, backbone: Backbone, known: Known, reading: DataOptions
    ) -> list[Target]:
        from foldtune.augment.corruptions import parse_corruptions
        from foldtune.tunings.judging import trained_line
        from foldtune.tunings.shifts import shifted

        others = shifted(
            self.shift, lambda spec: reading.judge(spec, backbone), known.header["classes"],
            self.mapping(), known,
        )  # fmt: skip
        for one in others:
            if one.trained_on:
                asked = one.trained_on + len(one.rows)
                say(f"{one.name}: {trained_line(one.trained_on, asked)}")
        return others + [home.corrupted(*which) for which in parse_corruptions(self.corrupt)]


@Parameter(name="*")
@dataclass(frozen=True)
class ExecutorOptions:
    """Who executes the runs."""

    executor: str | None = None  #: in-process, stacked, processes or ray; default: see --workers.
    workers: int | None = (
        None  #: Runs at a time; by default one a GPU, or one a core, four at most.
    )
    threads: int | None = None  #: CPU threads of each run; by default the cores shared out.
    address: str | None = None  #: A Ray cluster's address, or auto; none starts one here.

    def make(self) -> AbstractContextManager[MakeExecutor]:
        from foldtune.study.executors import chosen

        return chosen(
            self.executor, workers=self.workers, threads=self.threads, address=self.address
        )


@Parameter(name="*")
@dataclass(frozen=True)
class TrustOptions:
    """What a file that somebody else may have written may make this machine do."""

    #: Fetch the model that the file names from the hub, where it is not in the cache.
    allow_hub: Annotated[bool, Parameter(negative="")] = False

    def hub(self, name: str) -> bool:
        """Whether the hub may be asked for a name out of a file: said, or answered to."""
        if self.allow_hub or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return self.allow_hub
        say(f"The file names {name}, which is not in the cache. Fetch it from the hub? [y/N]")
        return input().strip().lower() in ("y", "yes")


_NAMES = "micro, lite0 to lite2 (extra imagenet), a timm name, hf:NAME, open_clip:MODEL/TAG."
MODEL_NAME = Annotated[str, Parameter(help=_NAMES)]
JSON = Annotated[bool, Parameter(name="--json", negative="")]
MODEL, DATA, TRAIN = ModelOptions(), DataOptions(), TrainOptions()
SHIFTS, HEAD = ShiftOptions(), HeadOptions()
EXECUTOR, TRUST = ExecutorOptions(), TrustOptions()
