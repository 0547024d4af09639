"""The options of all verbs, in groups: name, type, default and words, each said here alone.

The command line reads them as they stand, Python's verbs take their fields as arguments (see
`takes`), and docs/reference.md is written from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelOptions:
    """Which weights the model has, and what images it takes."""

    weights: Path | None = None
    """A checkpoint, file or folder, in place of the published weights."""
    pretrained: bool = True
    """Published or embedded weights; without, random ones."""
    size: int | tuple[int, int] | None = None
    """Side of the input in pixels, or height and width, where the model takes another than its
    own."""
    channels: int | None = None
    """Channels of images that are not RGB; the first layer is adapted."""


@dataclass(frozen=True)
class DataOptions:
    """How images are read."""

    task: str | None = None
    """What labels are: SingleLabel, MultiLabel, Ordinal or Regression, by default as they look; of
    a protocol one of its tasks, where the data's name does not tell."""
    skip_broken: bool = False
    """Leave unreadable images out instead of refusing the data."""
    conflicts: str = "keep"
    """What becomes of a picture under two labels or in two splits: keep, drop or refuse."""
    resize: str | None = None
    """squash (to the square) or crop (the centre); by default as the model was trained."""
    shots: int | None = None
    """Images a class for training, and at most as many for validation; by default all."""
    split_seed: int | None = None
    """Draws the splits that are not given; by default the seed does."""
    cache: Path | None = None
    """Folder of decoded images; by default the user's cache."""
    range: tuple[str, ...] | None = None
    """How samples of more than 8 bits are read: LOW HIGH, own (the set's range, the default),
    percentile or header."""
    max_pixels: int | None = None
    """Pixels that one picture may have; by default 178,956,970."""
    stream: bool = False
    """Begin at once and decode images as they are needed, for large sets."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train."""

    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 64
    """Images per step."""
    head_lr: float | None = 0.3
    """The classifier's learning rate, times its inputs; none: the rate of all else."""
    augment: tuple[str, ...] = ()
    """Changes of training images: flip, vflip, crop:0.08, jitter, randaugment:9, erase:0.25."""
    drop_path: float = 0.0
    """Drop path's rate of the deepest block, from 0 to 1."""
    label_smoothing: float = 0.0
    """Share of each label that is spread over all classes, from 0 to 1."""
    mixup: float = 0.0
    """Mixup's alpha; 0 is off."""
    cutmix: float = 0.0
    """CutMix's alpha; 0 is off."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient; by default unbounded."""
    precision: str = "fp32"
    """Of computing: fp32, tf32, bf16, bf16-kept or fp16."""
    imbalance: tuple[str, ...] = ("none",)
    """Against classes of unlike size: none, weighted, effective, sampler or adjusted; of several a
    search tries each."""
    compile: bool = False
    """Through torch.compile: some seconds first; no faster on a CPU."""
    recompute: bool = False
    """Keep of each block its input alone: less memory, more time."""
    cuda_graphs: bool = False
    """Whole steps launched at once on an NVIDIA GPU: for small networks and batches."""
    channels_last: bool | None = None
    """That memory format of images; by default where it is faster."""


@dataclass(frozen=True)
class HeadOptions:
    """Where classifiers start."""

    head: str | None = None
    """regularised (a probe that is kept weak; usual), probe (of chosen penalty), zero, default
    (random) or zero-shot; by default each method's own. Or attentive: AttentiveProbe stands on top
    of every method, and in the place of LinearProbe."""
    templates: Path | None = None
    """Of zero-shot: a text file, a line with {} for the class each."""
    words: Path | None = None
    """Of zero-shot: a CSV of 'class,its words' where names do not do."""


@dataclass(frozen=True)
class FitOptions:
    """How the one method is trained."""

    lr: float | None = None
    """The peak learning rate; by default the method's usual one."""
    weight_decay: float | None = None
    """Decay of weights; by default the recipe's, 1e-4."""
    train_on: tuple[str, ...] = ("train",)
    """Splits to train on: train, or train val, where validation is then not watched."""
    seed: int = 0
    """Of splits that are drawn and of all else."""
    device: str | None = None
    """cpu, cuda, cuda:1 or mps; by default the accelerator where there is one."""
    overwrite: bool = False
    """Replace another run's tuning in OUT."""
    select: str | None = None
    """The metric of validation and test: accuracy, balanced_accuracy, macro_f1, kappa, auroc, map,
    mae, ...; by default the task's first."""


@dataclass(frozen=True)
class SearchOptions:
    """How configurations are searched and winners tested, alike for every method."""

    trials: int | None = None
    """Configurations of each method; by default 4, or the whole grid."""
    seeds: int | None = None
    """Final runs of each method's best, which are tested; by default 3."""
    search: str | None = None
    """sobol, grid, tpe or random; by default sobol."""
    halving: tuple[int, int] | None = None
    """Rungs and factor: 3 3 keeps a third twice; by default none."""
    ties: str | None = None
    """Which of two trials of equal accuracy wins: small, loss, lr or last; by default small."""
    search_seed: int | None = None
    """Of the search alone, to repeat it on the same splits; by default the seed."""
    start_from: str | None = None
    """published: try first what the unifying study chose for the task."""
    storage: str | None = None
    """Where Optuna keeps the trials: a database URL or a file; by default in OUT."""
    protocol: str | None = None
    """A paper's recipe, grids and rules by name; `foldtune protocols` lists them."""
    approximate: bool = False
    """Run a protocol without what cannot be done here."""


@dataclass(frozen=True)
class StudyOptions:
    """How the study runs."""

    seed: int = 0
    """Of splits that are drawn and of all else."""
    device: str | None = None
    """cpu, cuda, cuda:1 or mps; by default the accelerator where there is one."""
    retry_failed: bool = False
    """Run again what failed in an earlier call."""
    select: str | None = None
    """The metric that chooses: accuracy, balanced_accuracy, macro_f1, kappa, auroc, map, mae, ...;
    by default the task's first."""


@dataclass(frozen=True)
class ExecutorOptions:
    """Who executes the runs."""

    executor: str | None = None
    """in-process, stacked, processes or ray; by default processes where there are several workers
    or where a long study on a CPU has room for them."""
    workers: int | None = None
    """Runs at a time; by default one a GPU, or one a core, four at most."""
    threads: int | None = None
    """CPU threads of each run; by default the cores shared out."""
    address: str | None = None
    """A Ray cluster's address, or auto; by default one is started here."""


@dataclass(frozen=True)
class ShiftOptions:
    """Where else to judge."""

    shift: tuple[str, ...] = ()
    """Other images of the same classes, NAME=PATH each."""
    corrupt: tuple[str, ...] = ()
    """all, or corruptions such as jpeg or jpeg:3, of the images at home."""
    map: Path | None = None
    """A CSV of 'their class,our class'; a class with nothing after the comma is left out."""


@dataclass(frozen=True)
class FileOptions:
    """What a tuning's file needs and may do."""

    weights: Path | None = None
    """The backbone's checkpoint, where the tuning was trained on a file."""
    allow_hub: bool = False
    """Fetch the model that the file names from the hub, where it is not in the cache."""


@dataclass(frozen=True)
class JudgeOptions:
    """Which images are judged."""

    split: str | None = None
    """train, val, test or all; by default the tuning's own test images, of other data all."""
    include_trained: bool = False
    """Judge images that were trained on, too; the figures' names then say so."""


@dataclass(frozen=True)
class AnswerOptions:
    """How the tuned model answers."""

    tta: str | None = None
    """flip answers by the mean over each image and its mirror image."""
    threshold: float | None = None
    """Of several labels: the probability from which on each is answered; by default 0.5."""
    at_precision: float | None = None
    """Of several labels: answer each from where validation reaches that precision, such as 0.9."""
    cost: Path | None = None
    """Of classes or grades: a CSV of what answers cost, rows true, columns predicted; the class of
    the least expected cost is answered."""


@dataclass(frozen=True)
class LikelyOptions:
    """Which classes of an image are told."""

    top: int = 1
    """How many of the likeliest classes of each image."""
    calibrated: bool = False
    """Probabilities as right as they say, by a temperature from validation images, which an
    exported folder keeps."""


@dataclass(frozen=True)
class PointOptions:
    """Which model between the start and the tuned one."""

    alpha: float = 1.0
    """0 is the start, 1 the tuned model; `foldtune wise` chooses one."""
    part: str = "all"
    """What moves, while the rest stays tuned: all, body or head."""


@dataclass(frozen=True)
class AdviceOptions:
    """What the advice rests on."""

    studies: tuple[Path, ...] = ()
    """Your own STUDY folders, which count as further tasks."""
    suggestions: int = 3
    """How many methods to suggest."""
    seed: int = 0
    """Of splits that are drawn and of the look at features."""
