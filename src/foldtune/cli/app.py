"""The application, and the options that verbs share, as a terminal gives them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from cyclopts import App, Group, Parameter

from foldtune import __version__
from foldtune.cli.places import SEED_CHECK
from foldtune.console import say
from foldtune.options import groups
from foldtune.options.taken import words as said_of

app = App(
    name="foldtune",
    version=__version__,
    help_format="plaintext",
    help="Fine-tune a frozen vision backbone, compare methods fairly, fold the winner back in.",
    group_parameters=Group("Others", sort_key=97),
    suppress_keyboard_interrupt=False,  # else it exits in silence (5.4); `main` says how to go on
    # Of a list all words that follow; no --no-X for what is off by default.
    default_parameter=Parameter(consume_multiple=True, negative=()),
)


def parse_size(_type: Any, tokens: Any) -> int | tuple[int, int]:
    """`64`, or `64x128`: height and width."""
    try:
        sides = [int(side) for side in tokens[0].value.lower().split("x")]
        height, width = sides * 2 if len(sides) == 1 else sides
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is no size; write 64, or 64x128") from None
    return height if height == width else (height, width)


MAIN = Group("Most used", sort_key=0)
# What a terminal gives otherwise than by the type alone, and what most people say.
_READ: dict[str, Any] = {
    "size": Parameter(converter=parse_size, n_tokens=1, group=MAIN),
    **dict.fromkeys(("epochs", "shots", "trials", "seeds", "lr", "top"), Parameter(group=MAIN)),
    "pretrained": Parameter(negative="--no-pretrained"),
    "channels_last": Parameter(negative="--no-channels-last"),
    **dict.fromkeys(("seed", "split_seed", "search_seed"), SEED_CHECK),
}
# The titles of groups in a verb's help, in their order.
_TITLES = {
    groups.FitOptions: "Training",
    groups.JudgeOptions: "Judging",
    groups.PointOptions: "Which model",
    groups.AnswerOptions: "Answers",
    groups.LikelyOptions: "Answers",
    groups.AdviceOptions: "Advice",
    groups.SearchOptions: "Search",
    groups.StudyOptions: "Running",
    groups.TrainOptions: "Training",
    groups.HeadOptions: "Start of the classifier",
    groups.ModelOptions: "Model",
    groups.DataOptions: "Data",
    groups.ShiftOptions: "Shifts",
    groups.FileOptions: "The tuning's file",
    groups.ExecutorOptions: "Running",
}


def words(text: str, **more: Any) -> Parameter:
    """What an argument is."""
    return Parameter(help=text, **more)


def _offer(kind: type, group: Group) -> None:
    """Have cyclopts read the fields of a group of options as they are said on a terminal."""
    hints, told = get_type_hints(kind), said_of()[kind.__name__]
    for field in fields(kind):
        how = [words(told[field.name], show_default=_show_default(field.default))]
        how += [_READ[field.name]] if field.name in _READ else []
        kind.__annotations__[field.name] = Annotated[hints[field.name], *how]
    Parameter(name="*", group=group)(kind)


def _show_default(default: Any) -> bool | Callable[[Any], str]:
    """How a default is shown: not where the words say it, or where there is none."""
    if default in (None, False, True, ()):
        return False
    return lambda value: " ".join(value) if isinstance(value, tuple) else str(value)


for place, title in enumerate(dict.fromkeys(_TITLES.values())):
    shown = Group(title, sort_key=place + 1)
    for one in (kind for kind, said in _TITLES.items() if said == title):
        _offer(one, shown)

_NAMES = "micro, lite0 to lite2 (extra imagenet), a timm name, hf:NAME, open_clip:MODEL/TAG."
MODEL_NAME = Annotated[str, Parameter(help=_NAMES, group=MAIN)]
OUTPUT = Group("Output", sort_key=98)
_AS_JSON = "Print one JSON value in place of text."
JSON = Annotated[bool, words(_AS_JSON, name="--json", group=OUTPUT, show_default=False)]
_OF_FULL = "Print every table, and every column."
FULL = Annotated[bool, words(_OF_FULL, group=OUTPUT, show_default=False)]


_DATA = (
    "A folder of class folders (or of train, val and test folders of them), the same in a .zip; a "
    ".csv, .jsonl or .parquet with columns path and label; a set by name (foldtune data sets); or "
    "digits, shapes/count, shapes/position, shapes/orientation."
)
DATA = Annotated[str, words(_DATA, group=MAIN)]
TUNING = Annotated[Path, words("A tuning's file, as fit writes it.", group=MAIN)]

_OF_TUNED = (
    "A tuning's file, the folder of a run, an exported or merged one, a saved ensemble's folder, "
    "or hf-hub:OWNER/NAME."
)
_OF_FILES = (
    "Picture files, folders of them, or patterns; by default a list on standard input, a path a "
    "line."
)
FILES = Annotated[list[Path], words(_OF_FILES, group=MAIN)]
TUNED = Annotated[Path, words(_OF_TUNED, group=MAIN)]


def hub(allowed: bool) -> Callable[[str], bool]:
    """Whether the hub may be asked for a name out of a file: said, or answered to."""

    def may(name: str) -> bool:
        if allowed or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return allowed
        say(f"The file names {name}, which is not in the cache. Fetch it from the hub? [y/N]")
        return input().strip().lower() in ("y", "yes")

    return may
