"""What a study keeps of each run and of itself, and what its leaderboard says of each method.

A `Row` is one line of `rows.jsonl`, a `Description` is `study.json`. Both were perhaps written by
an earlier version, so that what is read with `.get` may be missing.
"""

from __future__ import annotations

from typing import Any, Literal, Required, TypedDict

from foldtune.training.curve import Entry

# trial: judged on validation; rung: a short run that decides which trials are run; final: trained
# on train and validation, and tested; fit: watched on validation, and tested.
Stage = Literal["trial", "rung", "final", "fit"]
# How a method stands against the winner.
Against = Literal["chosen", "better", "worse", "alike"]


class Later(TypedDict, total=False):
    """What a row says where it is not as usual. task: what labels say, else one class an image;
    metric: whose score (0 to 1) its figures called accuracy are, else accuracy."""

    task: str
    metric: str


class Told(Later):
    """What a row says of its run, whatever came of it."""

    run: str
    stage: Stage
    label: str
    trial: int | None  # its number in the search of its method, from 0
    method: str
    recipe: dict[str, Any]
    seed: int
    head_start: str
    data_identity: str


class Solved(TypedDict):
    """How the classifier was solved. nll: of held-out images, None where the penalty was given."""

    C: float
    nll: float | None


class Validated(TypedDict, total=False):
    """What a row says of validation, where it was watched: at the last epoch, at the best, and at
    the start."""

    val_accuracy: float
    val_best_accuracy: float
    val_best_epoch: int
    val_loss: float
    val_start_accuracy: float
    below_start: bool


class Tested(TypedDict, total=False):
    """What a row says of the test split. test_trained_on: images left out, since they are in train
    too; test: further metrics by name."""

    test_accuracy: float
    test_images: int
    test_trained_on: int
    test: dict[str, Any]


class Row(Told, Validated, Tested, total=False):
    """One run of a study. trainable, head, total: numbers of parameters; None where it failed.
    verdict: "finished", "diverged: ..." or "failed: ..."; stacked: trials trained together; files:
    the SHA-256 of each file that the run left, by name."""

    verdict: Required[str]
    curve: Required[list[Entry]]
    trainable: Required[int | None]
    head: Required[int | None]
    total: Required[int | None]
    mergeable: Required[bool | None]
    seconds: float
    backbone: str
    pretrained: bool
    data: str
    classes: int
    probe: Solved
    stacked: int
    files: dict[str, str]


class Standing(TypedDict):
    """A method on the leaderboard, see `leaderboard`."""

    label: str
    run: str
    method: str
    recipe: dict[str, Any]
    trainable: int | None
    head: int | None
    total: int | None
    mergeable: bool | None
    val_accuracy: float | None
    val_best_accuracy: float | None
    val_best_epoch: int | None
    val_start_accuracy: float | None
    below_start: bool | None
    test_accuracy: float | None
    test_images: int | None
    seeds: int
    low: float | None
    high: float | None
    interval: str | None
    against: Against | None
    may_be_best: bool | None
    rank_low: int | None
    rank_high: int | None
    seconds: float
    trials: int
    epochs: int
    best_after: list[float | None]
    diverged: int
    failed: int
    failure: str | None
    winner: bool
    metric: str


class Description(TypedDict, total=False):
    """What was asked of a study. alike: rows of test images that count as one; left_out: methods
    that cannot stand, with the reason; workers: runs at once."""

    backbone: str
    backbone_hash: str
    pretrained: bool
    data: str
    data_identity: str
    images: dict[str, int]
    classes: list[str]
    pixels: str | None
    data_warnings: list[str]
    ledger: dict[str, Any]
    conflicts: str
    alike: list[list[int]] | None
    version: str
    methods: list[str]
    search: str
    trials: int | None
    halving: list[int] | None
    ties: str
    seeds: int
    head: str
    epochs: int
    left_out: dict[str, str]
    protocol: dict[str, Any]
    storage: str
    command: str | None
    task: str
    metric: str
    workers: int
