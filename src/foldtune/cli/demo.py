"""The verb that shows all of it on embedded images: demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from foldtune.cli.app import JSON, MAIN, app, words
from foldtune.cli.places import STUDY_OUT
from foldtune.cli.studies import compare_with_table, tell_comparison
from foldtune.console import percent, write
from foldtune.startup import import_hosts

if TYPE_CHECKING:
    from foldtune.study.conclusion import Comparison

# Of a size and length at which a search of four methods takes some minutes of two cores.
METHODS = ("LinearProbe", "BitFit", "SSF", "LoRA")
FULL = "Full"
SIZE, SHOTS, EPOCHS = 24, 40, 12
_OF_DEMO = "A set in the package: digits, shapes/count, shapes/position, shapes/orientation."
_FULL = "Full fine-tuning as well; of an earlier call all finished runs are kept."


@app.command
def demo(
    *,
    out: Annotated[STUDY_OUT, words("The study's folder.", group=MAIN)] = Path("foldtune-demo"),
    data: Annotated[str, words(_OF_DEMO, group=MAIN)] = "digits",
    with_full: Annotated[bool, words(_FULL, group=MAIN)] = False,
    json: JSON = False,
) -> None:
    """Compare a probe and three parameter-efficient methods on embedded images with the embedded
    backbone, fold the winner in, and name a picture with it; needs no network.

    40 images a class train, 40 choose, all others test: so many that the figures tell methods
    apart. The budget of trials and seeds is that of every study.
    """
    import_hosts()
    from foldtune.data import load_data

    images = load_data(data, size=SIZE).few_shot(SHOTS).testing_the_rest()
    methods = (*METHODS, FULL) if with_full else METHODS
    found = compare_with_table(images, "micro", methods, out, {"size": SIZE, "epochs": EPOCHS})
    tell_comparison(found, False, json)
    if not json and found.tuning is not None:
        _name_one(found, out)
    if not json and not with_full:
        write("Full fine-tuning takes as long as all of these: --with-full sets it beside them.")


def _name_one(found: Comparison, out: Path) -> None:
    """A picture of the test split, and what the winner says of it."""
    from foldtune.data.tools.card import write_picture

    images = found.data
    row = int(images.splits["test"][0])
    picture = write_picture(images, row, out / "example.png")
    (said_of,) = found.predict([picture])
    write(
        f"\n{picture} is a test image of {images.classes[images.labels[row]]}; the winner says "
        f"{said_of['class']} ({percent(said_of['probability'])} sure)."
    )
