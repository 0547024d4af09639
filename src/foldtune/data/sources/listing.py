"""What a source of labelled images holds, before any image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from foldtune.data.sources.ledger import Ledger
from foldtune.tasks.task import Task

Reader = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a source, before decoding."""

    name: str  # path inside the source, with '/'
    label: int
    split: str | None = None  # 'train', 'val', 'test'; None where the source does not say


@dataclass(frozen=True)
class Listing:
    """The labelled images of a source. `open` reads one item's bytes by name; it is picklable."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    open: Reader
    # Of each item, what changes when its bytes change, known without reading them. Empty: unknown,
    # so nothing is reused.
    stamps: tuple[str, ...] = ()
    origin: str = ""  # the folder that names and stamps refer to; empty if they tell the content
    ignored: Mapping[str, int] = field(default_factory=dict)  # files that are no images, by suffix
    # Of each item, what must not be parted by drawn splits: a patient, a burst. Empty: nothing.
    groups: tuple[str, ...] = ()
    # The splits are a benchmark's: taken as they are, also where a class has no training image or
    # where there is a test split alone.
    published: bool = False
    warnings: tuple[str, ...] = ()  # what the reader found odd, one line each
    ledger: Ledger = field(default_factory=Ledger)  # what the source holds and does not give
    # What the labels are where that leaves no doubt, None for one class an image; `classes` are
    # then the distinct texts of labels, which the task reads.
    task: Task | None = None
    doubt: str = ""  # what is asked where they may be of two tasks
